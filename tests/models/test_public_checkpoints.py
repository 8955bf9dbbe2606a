"""Public checkpoints are recognised by names and shapes, and compute what their publications define."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import public_definitions as define
import public_layouts as layouts
import pytest
import torch
from click.testing import CliRunner, Result
from public_layouts import Layout, random_weights, under
from torch import Tensor, nn

from dcdr_deploy.cli import main
from dcdr_deploy.errors import CheckpointError, InputError
from dcdr_deploy.models import ARCHITECTURES, Architecture, HdrNetwork, load_checkpoint
from dcdr_deploy.models.encodings import Encoding
from dcdr_deploy.models.recognition import Wanted


@dataclass(frozen=True)
class Public:
    """One kind of public checkpoint.

    Attributes:
        layout: its names and shapes.
        parameters: trainable values of the published network.
        define: its definition.
        network: what it is called.
        output: encoding of what its layers give.
    """

    layout: Layout
    parameters: int
    define: Callable[[dict[str, Tensor], Tensor], Tensor]
    network: str
    output: str


PUBLIC = {
    "fhdr": Public(layouts.fhdr(), 571_267, define.fhdr, "FHDR", "linear"),
    "kunet": Public(layouts.kunet(), 1_136_643, define.kunet, "KUNet", "gamma:2.24"),
    "kunet with heads": Public(layouts.kunet(heads=True), 2_160_911, define.kunet, "KUNet", "gamma:2.24"),
    "agcm": Public(layouts.agcm(), 35_251, define.agcm, "AGCM of HDRTVNet", "pq-bt2020"),
    "ensemble": Public(layouts.ensemble(), 591_158, define.ensemble, "HDRTVNet++", "pq-bt2020"),
    "lsn of 2023": Public(layouts.lsn(0.5), 325_421, define.lsn_2023, "LSN of HDRTVDM", "pq-bt2020"),
    "lsn of 2024": Public(layouts.lsn(2), 401_741, define.lsn_2024, "LSN of HDRTVDM", "pq-bt2020"),
    "expandnet": Public(layouts.expandnet(), 456_899, define.expandnet, "ExpandNet", "linear"),
    "lhdr": Public(layouts.lhdr(), 271_112, define.lhdr, "LHDR", "gamma:2.22222"),
}

NOISE = (torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(5)) * 1.3 - 0.15).clamp(0, 1)
"""A picture of which a part is clipped, at a size from which AGCM's condition has more than one pixel left."""

PICTURE = NOISE[..., :32, :32]
"""A smaller one for the others."""


def saved(folder: Path, state: Any, name: str = "m.pth") -> Path:
    torch.save(state, folder / name)
    return folder / name


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert expected.std() > 1e-3
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_checkpoint_computes_what_its_publication_defines(name: str, tmp_path: Path) -> None:
    public = PUBLIC[name]
    assert layouts.count(public.layout) == public.parameters
    state = random_weights(public.layout)
    loaded = load_checkpoint(saved(tmp_path, {"state_dict": under_prefix("module.", state)}))
    entry = next(entry for entry in ARCHITECTURES.values() if isinstance(loaded.network, entry.network))
    assert entry.name_of(loaded.network) == public.network
    assert loaded.network.config.output == public.output
    picture = NOISE if name in ("agcm", "ensemble") else PICTURE
    with torch.no_grad():
        expected = public.define(state, picture)
        assert_same(loaded.network.coded(picture), expected)
        light = loaded.network(picture)
    assert torch.allclose(light, Encoding.parse(public.output).decode(expected), rtol=1e-3, atol=1e-4)


def under_prefix(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def narrow_parts() -> dict[str, dict[str, Tensor]]:
    """The three files of HDRTVNet, a few channels wide."""
    three = {"agcm": layouts.agcm(8), "le": layouts.hdrtvnet_le(6, 2), "hg": layouts.hdrtvnet_hg(2)}
    return {name: random_weights(layout, seed) for seed, (name, layout) in enumerate(three.items())}


def test_hdrtvnets_three_files_have_the_published_shapes() -> None:
    three = [layouts.agcm(), layouts.hdrtvnet_le(), layouts.hdrtvnet_hg()]
    merged = layouts.merged(*(under(name, layout) for name, layout in zip(("agcm", "le", "hg"), three, strict=True)))
    entry = ARCHITECTURES["hdrtvnet"]
    with torch.device("meta"):
        ours = {name: tuple(tensor.shape) for name, tensor in entry.network(entry.config()).state_dict().items()}
    assert ours == merged


@pytest.mark.parametrize("order", [("agcm", "le", "hg"), ("hg", "agcm", "le")])
def test_the_files_of_parts_make_one_network_in_any_order(order: tuple[str, ...], tmp_path: Path) -> None:
    parts = narrow_parts()
    first, *others = (saved(tmp_path, parts[name], f"{name}.pth") for name in order)
    network = load_checkpoint(first, part=others).network
    with torch.no_grad():
        assert_same(network.coded(NOISE), define.hdrtvnet(parts, NOISE))


def test_agcm_alone_and_agcm_with_le_are_networks(tmp_path: Path) -> None:
    parts = narrow_parts()
    agcm, le = (saved(tmp_path, parts[name], f"{name}.pth") for name in ("agcm", "le"))
    two = load_checkpoint(agcm, part=[le]).network
    with torch.no_grad():
        assert_same(load_checkpoint(agcm).network.coded(NOISE), define.agcm(parts["agcm"], NOISE))
        assert_same(two.coded(NOISE), define.hdrtvnet_le(parts["le"], define.agcm(parts["agcm"], NOISE)))
    assert (load_checkpoint(agcm).network.receptive_field(), two.receptive_field()) == (0, 6 + 4 * 2)


def test_hdrtvnet_plus_is_made_of_agcm_and_its_own_le(tmp_path: Path) -> None:
    states = [random_weights(layouts.agcm(8), 1), random_weights(layouts.plus_le(8, 4), 2)]
    agcm, le = (saved(tmp_path, state, f"{number}.pth") for number, state in enumerate(states))
    network = load_checkpoint(agcm, part=[le]).network
    assert ARCHITECTURES["hdrtvnet++"].name_of(network) == "HDRTVNet++"
    with torch.no_grad():
        assert_same(network.coded(NOISE), define.plus_le(states[1], define.agcm(states[0], NOISE)))


ALONE = {
    "le": ("LE of HDRTVNet", "AGCM and HG"),
    "hg": ("HG of HDRTVNet", "AGCM and LE"),
    "plus": ("LE of HDRTVNet++", "AGCM"),
}


@pytest.mark.parametrize("name", ALONE)
def test_a_part_that_is_no_network_is_described_and_asks_for_the_others(name: str, tmp_path: Path) -> None:
    title, others = ALONE[name]
    state = random_weights(layouts.plus_le(8, 4)) if name == "plus" else narrow_parts()[name]
    path = saved(tmp_path, {"params": state})
    done = call("inspect", path, "--json")
    assert done.exit_code == 0, done.output
    described = json.loads(done.stdout)
    assert (described["network"], described["needs"]) == (title, f"{others}, by --part")
    assert described["parameters"] == sum(t.numel() for n, t in state.items() if not n.endswith("tracked"))
    assert described["licence"].startswith("MIT")
    assert "PQ" in described["output"]
    refused = call("export", path, "-o", tmp_path / "m.onnx")
    assert refused.exit_code == 2
    assert f"{path} is {title} alone: add the file of {others} by --part" in refused.stderr
    assert not (tmp_path / "m.onnx").exists()


def test_files_that_make_no_network_together_are_refused(tmp_path: Path) -> None:
    parts = narrow_parts()
    le, hg = (saved(tmp_path, parts[name], f"{name}.pth") for name in ("le", "hg"))
    known = r"do not make one network; networks in parts are HDRTVNet: AGCM, LE and HG; HDRTVNet\+\+: AGCM and LE"
    for files in ([hg], [le, hg], [saved(tmp_path, random_weights(layouts.lhdr(8)), "x.pth")]):
        with pytest.raises(CheckpointError, match=known):
            load_checkpoint(le, part=files)


def test_inspect_says_meaning_and_licence_of_what_other_tools_made(tmp_path: Path) -> None:
    licences = {}
    for name in ("lsn of 2024", "expandnet", "fhdr"):
        path = saved(tmp_path, random_weights(PUBLIC[name].layout), "m.ckpt")
        described = json.loads(call("inspect", path, "--json").stdout)
        licences[name] = described["licence"]
        assert described["published"].startswith("github.com/")
        assert described["output"] == Encoding.parse(PUBLIC[name].output).words
        assert described.get("assumed", {}) == dict(ARCHITECTURES[name.split()[0]].unseen)
    assert licences == {
        "lsn of 2024": "MPL-2.0, of the authors' weights",
        "expandnet": "BSD-3-Clause-Clear, of the authors' weights",
        "fhdr": "BSD-3-Clause, of the authors' weights",
    }


def test_what_no_tensor_shows_is_assumed_aloud_and_can_be_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = random_weights(layouts.fhdr(8, 4))
    path = saved(tmp_path, state, "latest.ckpt")  # as its authors' training calls them
    with torch.no_grad():
        assert_same(load_checkpoint(path).network.coded(PICTURE), define.fhdr(state, PICTURE, 2))
        assert "no tensor shows whether FHDR was trained with iterations=2 and bgr=True" in caplog.text
        caplog.clear()
        said = load_checkpoint(path, architecture="fhdr:iterations=1,bgr=no")
        assert_same(said.network.coded(PICTURE), define.fhdr(state, PICTURE, 1).flip(1))
    assert not caplog.text
    assert not said.assumed


def test_kunets_weights_for_video_are_told_apart_by_what_is_said(tmp_path: Path) -> None:
    path = saved(tmp_path, random_weights(layouts.kunet(4)))
    assert load_checkpoint(path).network.config.output == "gamma:2.24"
    assert load_checkpoint(path, architecture="kunet:output=pq-bt2020").network.config.output == "pq-bt2020"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("unet", "'unet' is not known; known: dcdrunet, hdrunet"),
        ("fhdr:width=3", "no field 'width' that tensors leave open; it has iterations=2, bgr=True"),
        ("fhdr:iterations=many", "iterations cannot be 'many'; such as iterations=2"),
        ("fhdr:bgr=2", "bgr cannot be '2'"),
    ],
)
def test_what_is_said_wrongly_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match="`architecture` .*" + words):
        Wanted.parse(text)


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> Architecture:
    """Another architecture whose tensors are just those of ExpandNet."""
    entry = ARCHITECTURES["expandnet"]

    class TwinConfig(entry.config):  # type: ignore[name-defined,misc]
        pass

    class TwinNet(entry.network):  # type: ignore[name-defined,misc]
        def layers(self, image: Tensor) -> Tensor:
            return 0.5 * super().layers(image)

    def deduce(shapes: Any) -> Any:
        return TwinConfig(entry.deduce(shapes).width)  # type: ignore[attr-defined]

    twin = Architecture("twin", "TwinNet", TwinConfig, TwinNet, deduce, {}, 1)
    monkeypatch.setitem(ARCHITECTURES, "twin", twin)
    return twin


def test_a_checkpoint_that_two_architectures_fit_names_both_and_the_option(twin: Architecture, tmp_path: Path) -> None:
    path = saved(tmp_path, random_weights(layouts.expandnet(4)))
    done = call("inspect", path)
    assert done.exit_code == 2
    line = f"error: {path} fits ExpandNet and TwinNet alike: say by --architecture at its export which it is, "
    assert done.stderr == line + "expandnet or twin\n"
    ours, theirs = (load_checkpoint(path, architecture=name).network for name in ("expandnet", "twin"))
    assert isinstance(theirs, twin.network)
    with torch.no_grad():
        assert torch.equal(0.5 * ours(PICTURE), theirs(PICTURE))


def test_a_damaged_one_that_two_architectures_resemble_names_both(twin: Architecture, tmp_path: Path) -> None:
    state = random_weights(layouts.expandnet(4))
    del state["mid_net.3.bias"]
    path = saved(tmp_path, state)
    with pytest.raises(CheckpointError, match=r"is whole as neither ExpandNet and TwinNet, .* expandnet or twin"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"is no TwinNet: it lacks mid_net\.3\.bias"):
        load_checkpoint(path, architecture="twin")


@pytest.mark.parametrize("name", PUBLIC)
def test_a_missing_tensor_is_named_with_the_architecture(name: str, tmp_path: Path) -> None:
    state = random_weights(PUBLIC[name].layout)
    lost = list(state)[-1]
    del state[lost]
    asked = None if name != "agcm" else "hdrtvnet"  # HDRTVNet++ has the same part
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(saved(tmp_path, state), architecture=asked)
    assert lost.rpartition(".")[2] in str(caught.value)
    assert PUBLIC[name].network in str(caught.value)


def test_a_named_architecture_that_does_not_fit_says_what_it_lacks(tmp_path: Path) -> None:
    path = saved(tmp_path, random_weights(layouts.kunet(4)))
    with pytest.raises(CheckpointError, match=r"is no HDRUNet: it lacks 'cond_first\.0\.weight'"):
        load_checkpoint(path, architecture="hdrunet")


def test_a_count_that_no_tensors_stand_behind_is_refused_without_building_it(tmp_path: Path) -> None:
    state = random_weights(layouts.hdrtvnet_le(4, 2) | under("recon_trunk.99999999", layouts.conv("conv1", 4, 4)))
    merged = {f"agcm.{key}": tensor for key, tensor in random_weights(layouts.agcm(4)).items()}
    merged |= {f"le.{key}": tensor for key, tensor in state.items()}
    with pytest.raises(CheckpointError, match=r"is no HDRTVNet: it numbers le\.recon_trunk up to 99999999"):
        load_checkpoint(saved(tmp_path, merged))


def test_a_network_in_parts_exports(tmp_path: Path) -> None:
    states = [random_weights(layouts.agcm(4), 1), random_weights(layouts.hdrtvnet_le(4, 1), 2)]
    agcm, le = (saved(tmp_path, state, f"{number}.pth") for number, state in enumerate(states))
    done = call("export", agcm, "--part", le, "-o", tmp_path / "m.onnx", "--static", "64x96", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["network"], report["light"], report["output"]) == ("hdrtvnet", "absolute", "pq-bt2020")
    assert report["peak"] == pytest.approx(10_000 / 203)
    same = call("export", agcm, "--part", le, "-o", le.with_suffix(".onnx"), "--architecture", "hdrtvnet++")
    assert same.exit_code == 2
    assert "do not make one network" in same.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lsn", "expandnet"])
def test_it_exports_with_dynamic_sizes(name: str, tmp_path: Path) -> None:
    import onnx

    from dcdr_deploy.export.onnx_export import to_onnx
    from dcdr_deploy.export.verify import verify

    layout = {"lsn": layouts.lsn(2, 8), "expandnet": layouts.expandnet(4)}[name]
    network = load_checkpoint(saved(tmp_path, random_weights(layout))).network
    if name == "lsn":
        # Next to nothing: it is like the other one, and so are blocks that another scale's stand for.
        network.dark_branch = nn.Hardtanh(0, 1e-3)
        network.bright_branch.decoder_level1 = network.bright_branch.decoder_level2 = nn.Identity()
        with torch.no_grad():
            # PQ multiplies errors by a hundred near its end, which weights that are not trained may reach.
            network.bright_branch.output.weight.mul_(0.5)
    onnx.save(to_onnx(network), tmp_path / "m.onnx")
    assert all(each.max_abs_error <= 1e-4 for each in verify(tmp_path / "m.onnx", network, False))


def test_every_network_has_an_untrained_start_and_a_published_loss() -> None:
    from dcdr_deploy.training.losses import WeightedLoss

    for name in ("hdrtvnet++", "lsn", "expandnet", "lhdr"):
        entry = ARCHITECTURES[name]
        (config,) = entry.presets.values()
        network: HdrNetwork = entry.network(config)
        WeightedLoss(entry.losses, encoding=network.encoding)
