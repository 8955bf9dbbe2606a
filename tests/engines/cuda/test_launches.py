"""A frame as a list of launches: complete, in an order that works, and in as little memory as its order allows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcdr_deploy.engines.cuda import launches
from dcdr_deploy.engines.cuda.arena import ALIGNMENT, Lifetime, plan_memory
from dcdr_deploy.engines.cuda.dcdr_unet import describe
from dcdr_deploy.engines.cuda.launches import Block, Form, Frame, Launch, Map, Rings, Sft, Shape, lifetimes
from dcdr_deploy.engines.cuda.packing import SFT_HIDDEN
from dcdr_deploy.engines.cuda.weights import WIDTH, Structure, layers, read_onnx

DEMO = Path(launches.__file__).parents[2] / "weights" / "dcdr-unet-demo.onnx"
RESULT = Map("result", 1, 3, 4)
STRUCTURES = st.builds(Structure, st.tuples(*[st.integers(1, 9)] * 3), st.sampled_from([16, 32, 48, 64]))
UHD = (1, 2160, 3840)
FORMS = [Form(), Form((12, 16)), Form(hidden_together=True), Form((8, 32), hidden_together=True)]


def least_size(lives: Mapping[str, Lifetime]) -> int:
    """The bytes that no plan can do without: the most that is alive at one step."""
    alive_at_starts = (
        [other.size for other in lives.values() if other.first <= start.first <= other.last] for start in lives.values()
    )
    return max(map(sum, alive_at_starts), default=0)


def applied(launch: Launch) -> list[Sft]:
    """SFT layers that a launch applies."""
    sfts = (launch.sft2, launch.next_sft) if isinstance(launch, Block) else (launch.sft,)
    return [sft for sft in sfts if sft is not None]


def used_layers(launch: Launch) -> list[str]:
    """Names of all layers that a launch computes."""
    names = [f"{sft.layer}.{part}1" for sft in applied(launch) for part in ("gain", "shift")]
    if isinstance(launch, Block):
        return [f"{launch.name}.dcv{number}" for number in (1, 2)] + names
    return [*launch.layers, *filter(None, [launch.then]), *names]


@given(STRUCTURES, st.sampled_from(FORMS))
@settings(max_examples=40, deadline=None)
def test_every_layer_of_the_network_is_computed_once(structure: Structure, form: Form):
    frame = describe(structure, RESULT, form)
    used = [name for launch in frame.launches for name in used_layers(launch)]
    assert sorted(used) == sorted(layer.name for layer in layers(structure))


@given(STRUCTURES, st.sampled_from(FORMS))
@settings(max_examples=40, deadline=None)
def test_a_map_is_written_before_it_is_read_and_every_map_is_used(structure: Structure, form: Form):
    frame = describe(structure, RESULT, form)
    there, read = {"image", "small"}, set()
    for launch in frame.launches:
        before = set(launch.reads)
        assert before <= there, launch.name
        there |= set(launch.writes)
        read |= before
    assert "result" in there
    within = {"rings", "tone.rings", *(f"{place}.v" for place in ("encoder", "middle", "decoder"))}
    assert set(frame.maps) - read <= {"result", *within}
    assert set(frame.maps) == there


@given(STRUCTURES, st.sampled_from(FORMS))
@settings(max_examples=40, deadline=None)
def test_hidden_maps_have_a_place_for_each_of_their_layers(structure: Structure, form: Form):
    frame = describe(structure, RESULT, form)
    orders = {}
    for launch in frame.launches:
        if not isinstance(launch, Block):
            half = len(launch.layers) // 2 if launch.second and launch.sft is None else len(launch.layers)
            orders |= {launch.second: launch.layers[half:], launch.target: launch.layers[:half]}
    for launch in frame.launches:
        for sft in applied(launch):
            order = orders[sft.hidden]
            assert order[sft.first // 8 :][:2] == (f"{sft.layer}.gain0", f"{sft.layer}.shift0")
            assert frame.maps[sft.hidden].channels == 8 * len(order)
            assert frame.maps[sft.hidden].channels in (16, 32, 64, 128)


def test_a_block_reads_the_skip_only_at_the_end_of_its_scale():
    frame = describe(Structure((2, 4, 2)), RESULT, Form())
    skips = {launch.name: launch.skip for launch in frame.launches if isinstance(launch, Block) and launch.skip}
    assert skips == {"restoration.middle.3": "features4"}


def multiplications(launch: Launch, frame: Frame, shape: Shape, widths: dict[str, tuple[int, int]]) -> int:
    """Return how many multiply-add operations a launch takes that a network of plain convolutions would take too.

    Args:
        launch: the launch.
        frame: its frame.
        shape: of the frame.
        widths: (out, in) channels of every layer.
    """
    if isinstance(launch, Block):
        names, pixels = [f"{launch.name}.dcv1", f"{launch.name}.dcv2"], frame.maps[launch.z].pixels(shape)
    else:
        names = [*launch.layers, *filter(None, [launch.then])]
        pixels = frame.maps[launch.target].pixels(shape) // (4 if launch.shuffle else 1)
    taps = sum(widths[name][0] * widths[name][1] for name in names) * pixels * 9
    steered = sum(frame.maps[sft.hidden].pixels(shape) for sft in applied(launch))
    return taps + 9 * 2 * SFT_HIDDEN * WIDTH * steered


def traffic(launch: Launch, frame: Frame, shape: Shape) -> int:
    """Return the bytes of a launch's maps, each counted once for reading and once for writing.

    What is stored between the two convolutions of a block, or between tiles, is written and read.
    """
    hidden = {sft.hidden for sft in applied(launch)}
    again = (launch.between,) if isinstance(launch, Block) else tuple(filter(None, [launch.rings]))
    maps = (name for name in (*launch.reads, *launch.writes, *again) if name not in hidden)
    steering = sum(frame.maps[sft.hidden].pixels(shape) * 4 * SFT_HIDDEN for sft in applied(launch))
    return steering + sum(frame.maps[name].size(shape) for name in maps)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_work_is_that_of_the_network(form: Form):
    """404,694 multiply-adds a pixel: 3.357 e12 for 3840 x 2160."""
    structure = Structure()
    frame = describe(structure, RESULT, form)
    widths = {layer.name: (layer.channels_out, layer.channels_in) for layer in layers(structure)}
    total = sum(multiplications(launch, frame, UHD, widths) for launch in frame.launches)
    assert total / (2160 * 3840) == pytest.approx(404_694, rel=1e-5)
    assert 29e9 < sum(traffic(launch, frame, UHD) for launch in frame.launches) < 40e9


def test_two_convolutions_in_one_launch_save_a_map_that_is_written_and_read():
    traffics = [sum(traffic(launch, frame, UHD) for launch in frame.launches) for frame in map(described, FORMS[:3])]
    features, hidden = described(FORMS[0]).maps["hr2"], described(FORMS[0]).maps["condition1"]
    saved = [traffics[0] - each for each in traffics]
    assert saved[1] > 0.9 * 2 * 2 * features.size(UHD)  # the tone net's too, each written and read
    assert saved[2] == hidden.size(UHD)


def described(form: Form) -> Frame:
    return describe(Structure(), RESULT, form)


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 360, 644), UHD], ids=str)
def test_there_is_a_ring_for_every_tile(shape):
    images, rows, columns = shape
    tiles = images * len(range(0, rows, 12)) * len(range(0, columns, 16))
    ring = 14 * 18 - 10 * 14  # pixels that a tile adds to, without those that no other tile adds to
    rings = described(Form((12, 16))).maps["rings"]
    assert isinstance(rings, Rings)
    assert rings.size(shape) == tiles * ring * 16


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_4k_frame_takes_less_than_three_gigabytes(form: Form):
    frame = describe(Structure(), RESULT, form)
    lives = lifetimes(frame, UHD)
    plan = plan_memory(lives)
    assert plan.size < 2.9e9
    assert plan.size < 1.01 * least_size(lives)


LIFETIME = st.builds(
    lambda size, first, more: Lifetime(size, first, first + more),
    st.integers(1, 5000),
    st.integers(0, 9),
    st.integers(0, 5),
)
LIFETIMES = st.lists(LIFETIME, max_size=20).map(lambda lives: {f"map{n}": life for n, life in enumerate(lives)})


@given(LIFETIMES)
def test_what_is_alive_at_the_same_time_does_not_overlap(lives: dict[str, Lifetime]):
    plan = plan_memory(lives)
    assert set(plan.offsets) == set(lives)
    assert all(
        offset % ALIGNMENT == 0 and offset + lives[name].size <= plan.size for name, offset in plan.offsets.items()
    )
    for one, other in itertools.combinations(lives, 2):
        if lives[one].meets(lives[other]):
            low, high = sorted((one, other), key=plan.offsets.__getitem__)
            assert plan.offsets[low] + lives[low].size <= plan.offsets[high]


@given(LIFETIMES)
def test_the_least_size_is_a_bound(lives: dict[str, Lifetime]):
    assert least_size(lives) <= plan_memory(lives).size


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_launches_compute_the_network(form: Form):
    """Step by step in torch, they give what ONNX Runtime gives for the exported file."""
    torch = pytest.importorskip("torch")
    runtime = pytest.importorskip("onnxruntime")
    frame_reference = pytest.importorskip("frame_reference")
    weights = read_onnx(DEMO)
    picture = np.random.default_rng(3).random((2, 3, 32, 48), np.float32)
    with torch.no_grad():
        frame = describe(weights.structure, RESULT, form)
        walk = frame_reference.walk(frame, frame_reference.parameters(weights), torch.from_numpy(picture))
        *_, (_, written) = walk
    expected = runtime.InferenceSession(str(DEMO), providers=["CPUExecutionProvider"]).run(None, {"sdr": picture})[0]
    np.testing.assert_allclose(written["result"].numpy(), expected, atol=2e-6)
