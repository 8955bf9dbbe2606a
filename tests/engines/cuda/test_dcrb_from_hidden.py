"""The real source of the block that takes hidden maps, run on the CPU and compared with ONNX Runtime's DeformConv."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from emulated import KERNELS, EmulatedGpu, Race, build_file
from made_once import made_once
from numpy.typing import NDArray
from products_with_mistakes import WITH_MISTAKES, with_mistake

from dcdr_deploy.engines.cuda.dcrb_from_hidden import FromHiddenArguments, FromHiddenKernels, SftArguments
from dcdr_deploy.engines.cuda.packing import SFT_HIDDEN, WIDTH, pack_sft_bias, pack_sft_weight, pack_weight
from dcdr_deploy.engines.cuda.sft import SftLayer
from dcdr_deploy.errors import EngineError

# Relative error (RMS) against FP32 of the same rounded inputs: gathered features are blended, and the result of the
# first convolution is kept, in 11 bits.
TOLERANCE = 5e-4
SMS = (75, 80)
"""Streamed weights and 256 threads; 384 threads with all weights in shared memory."""

ALL_SMS = (*SMS, 86, 90)
"""And 256 threads with the weights of the SFT layer outside of shared memory; products of four warps."""

DEFINES = {90: ("DCRB_WGMMA=1",)}
"""SM90 in its other form: the table's is that of SM80."""

SIZES = [(1, 16, 24), (2, 17, 27), (1, 1, 1), (1, 5, 50), (3, 33, 2)]
STRIDE, SECOND, NEXT = 64, 16, 40
"""Channels of the hidden map, where the second SFT layer of the block and the first one of the next begin."""


@dataclass(frozen=True)
class Sft:
    """Weights of an SFT layer's second convolutions."""

    gain: NDArray
    gain_bias: NDArray
    shift: NDArray
    shift_bias: NDArray


@dataclass(frozen=True)
class Inputs:
    """A block's inputs, maps (N, C, H, W)."""

    u: NDArray
    offset: NDArray
    z: NDArray
    skip: NDArray
    hidden: NDArray
    second: Sft
    following: Sft
    w1: NDArray
    b1: NDArray
    w2: NDArray
    b2: NDArray


def make_inputs(size: tuple[int, int, int], spread: float = 2.0, seed: int = 0) -> Inputs:
    """Return random inputs; ``spread`` is the standard deviation of the offsets in pixels."""
    rng = np.random.default_rng(seed)
    count, height, width = size

    def normal(*shape: int, scale: float = 1.0) -> NDArray:
        return (rng.standard_normal(shape) * scale).astype(np.float16)

    def bias() -> NDArray:
        return rng.standard_normal(WIDTH).astype(np.float32)

    def sft() -> Sft:
        gain, shift = (normal(WIDTH, SFT_HIDDEN, 3, 3, scale=0.05) for _ in range(2))
        return Sft(gain, 0.3 * bias(), shift, 0.3 * bias())

    u, z, skip = (normal(count, WIDTH, height, width) for _ in range(3))
    offset = normal(count, 18, height, width, scale=spread)
    hidden = normal(count, STRIDE, height, width)
    w1, w2 = (normal(WIDTH, WIDTH, 3, 3, scale=1 / 24) for _ in range(2))
    return Inputs(u, offset, z, skip, hidden, sft(), sft(), w1, bias(), w2, bias())


def maps(hidden: NDArray, first: int, sft: Sft) -> tuple[NDArray, NDArray]:
    """Gain and shift maps (N, 64, H, W) in FP32, tap by tap."""
    height, width = hidden.shape[2:]
    padded = np.pad(hidden.astype(np.float32), ((0, 0), (0, 0), (1, 1), (1, 1)))

    def convolved(start: int, weight: NDArray, bias: NDArray) -> NDArray:
        total = bias[:, None, None].astype(np.float32)
        for y, x in np.ndindex(3, 3):
            part = padded[:, start : start + SFT_HIDDEN, y : y + height, x : x + width]
            total = total + np.einsum("oc,nchw->nohw", weight[:, :, y, x].astype(np.float32), part)
        return total

    return (
        convolved(first, sft.gain, sft.gain_bias),
        convolved(first + SFT_HIDDEN, sft.shift, sft.shift_bias),
    )


def expected(by_onnxruntime, inputs: Inputs, with_skip: bool = True) -> tuple[NDArray, NDArray]:
    """z' and u' by the exported definition of a block."""
    gain, shift = maps(inputs.hidden, SECOND, inputs.second)
    zero = np.zeros_like(inputs.u)
    weights = (inputs.w1, inputs.b1, inputs.w2, inputs.b2)
    whole = by_onnxruntime("DCRB", inputs.u, inputs.offset, zero, zero, gain, shift, *weights)
    z = whole - inputs.u.astype(np.float32) + inputs.z.astype(np.float32)
    if with_skip:
        z = z + inputs.skip.astype(np.float32)
    gain, shift = maps(inputs.hidden, NEXT, inputs.following)
    return z, z + gain * z + shift


def pixels(values: NDArray) -> NDArray:
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1))


def planes(values: NDArray) -> NDArray[np.float32]:
    return values.transpose(0, 3, 1, 2).astype(np.float32)


@dataclass
class Placed:
    """A block on the emulated GPU."""

    arguments: FromHiddenArguments
    z: NDArray
    u: NDArray
    out: NDArray
    next_out: NDArray

    def run(self, gpu: EmulatedGpu, **changes: object) -> None:
        kernels(gpu).launch(replace(self.arguments, **changes), stream=0)


def kernels(gpu: EmulatedGpu) -> FromHiddenKernels:
    return FromHiddenKernels(dict.fromkeys(ALL_SMS, b"emulated"), driver=gpu.driver)


def layer(gpu: EmulatedGpu, hidden: int, first: int, sft: Sft) -> SftLayer:
    weight = gpu.put(pack_sft_weight(sft.gain, sft.shift)).ctypes.data
    bias = gpu.put(pack_sft_bias(sft.gain_bias, sft.shift_bias)).ctypes.data
    return SftLayer(hidden, STRIDE, first, weight, bias)


def place(gpu: EmulatedGpu, inputs: Inputs) -> Placed:
    count, _, height, width = inputs.z.shape
    hidden = gpu.put(pixels(inputs.hidden)).ctypes.data
    offset = np.full((count, height, width, 24), np.nan, np.float16)
    offset[..., :18] = pixels(inputs.offset)
    z, u = gpu.put(pixels(inputs.z)), gpu.put(pixels(inputs.u))
    out, next_out = (gpu.empty((count, height, width, WIDTH), np.float16) for _ in range(2))
    arguments = FromHiddenArguments(
        count,
        height,
        width,
        u=u.ctypes.data,
        offset=gpu.put(offset).ctypes.data,
        z=z.ctypes.data,
        sft2=layer(gpu, hidden, SECOND, inputs.second),
        w1=gpu.put(pack_weight(inputs.w1)).ctypes.data,
        b1=gpu.put(inputs.b1).ctypes.data,
        w2=gpu.put(pack_weight(inputs.w2)).ctypes.data,
        b2=gpu.put(inputs.b2).ctypes.data,
        out=out.ctypes.data,
        workspace=gpu.empty((FromHiddenKernels.workspace_bytes(count, height, width),), np.uint8).ctypes.data,
        skip=gpu.put(pixels(inputs.skip)).ctypes.data,
        next_sft=layer(gpu, hidden, NEXT, inputs.following),
        next_out=next_out.ctypes.data,
    )
    return Placed(arguments, z, u, out, next_out)


def compute(gpu: EmulatedGpu, inputs: Inputs, **changes: object) -> tuple[NDArray, NDArray]:
    """z' and u', (N, C, H, W)."""
    block = place(gpu, inputs)
    block.run(gpu, **changes)
    return planes(block.out), planes(block.next_out)


def relative_error(result: NDArray, reference: NDArray) -> float:
    """RMS of the difference by the RMS of the reference."""
    assert result.shape == reference.shape
    return float(np.sqrt(np.mean((result - reference) ** 2) / np.mean(reference**2)))


@pytest.fixture
def gpu_of(emulator):
    return lambda sm, **how: EmulatedGpu(emulator(sm, "dcrb_from_hidden", *DEFINES.get(sm, ())), sm, **how)


@pytest.mark.parametrize("sm", ALL_SMS)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_a_block_and_what_follows_are_what_the_exported_definition_computes(gpu_of, by_onnxruntime, sm, size):
    inputs = make_inputs(size)
    for result, reference in zip(compute(gpu_of(sm), inputs), expected(by_onnxruntime, inputs), strict=True):
        assert relative_error(result, reference) < TOLERANCE


@pytest.mark.parametrize("sm", SMS)
def test_without_skip_and_without_a_next_layer_only_the_block_is_written(gpu_of, by_onnxruntime, sm):
    inputs = make_inputs((1, 9, 13))
    z, untouched = compute(gpu_of(sm), inputs, skip=0, next_sft=None, next_out=0)
    assert relative_error(z, expected(by_onnxruntime, inputs, with_skip=False)[0]) < TOLERANCE
    assert np.isnan(untouched).all()


@pytest.mark.parametrize("sm", SMS)
def test_results_may_take_the_place_of_inputs(gpu_of, sm):
    inputs, gpu = make_inputs((2, 17, 26)), gpu_of(sm)
    elsewhere = compute(gpu, inputs)
    block = place(gpu, inputs)
    block.run(gpu, out=block.arguments.z, next_out=block.arguments.u)
    np.testing.assert_array_equal(planes(block.z), elsewhere[0])
    np.testing.assert_array_equal(planes(block.u), elsewhere[1])


@pytest.mark.parametrize("sm", [*SMS, 90])
@pytest.mark.parametrize("spread", [0.0, 30.0])
def test_offsets_may_point_nowhere_or_far_outside(gpu_of, by_onnxruntime, sm, spread):
    inputs = make_inputs((1, 9, 13), spread=spread)
    for result, reference in zip(compute(gpu_of(sm), inputs), expected(by_onnxruntime, inputs), strict=True):
        assert relative_error(result, reference) < TOLERANCE


@pytest.mark.parametrize("sm", SMS)
@pytest.mark.parametrize("at_end", [True, False], ids=["buffers-end-at-a-guard", "buffers-begin-at-a-guard"])
def test_offsets_that_are_no_numbers_stay_inside_the_buffers_and_count_as_outside(gpu_of, sm, at_end):
    inputs = make_inputs((2, 17, 5))
    broken, outside = inputs.offset.copy(), inputs.offset.copy()
    for start, value in enumerate((np.nan, np.inf, -np.inf, 65504, -65504)):
        broken[:, start::7] = value
        outside[:, start::7] = 1000
    gpu = gpu_of(sm, at_end=at_end)
    results, references = (compute(gpu, replace(inputs, offset=offset)) for offset in (broken, outside))
    for result, reference in zip(results, references, strict=True):
        assert np.isfinite(result).all()
        np.testing.assert_array_equal(result, reference)


@pytest.mark.parametrize("sm", [*SMS, 90])
def test_the_order_in_which_threads_run_changes_nothing(gpu_of, sm):
    inputs = make_inputs((1, 17, 27))
    forwards, *others = (compute(gpu_of(sm, **how), inputs) for how in ({}, {"backwards": True}, {"seed": 0}))
    for other in others:
        np.testing.assert_array_equal(forwards, other)


def test_products_of_four_warps_are_those_of_each_alone(gpu_of):
    inputs = make_inputs((2, 17, 27))
    np.testing.assert_array_equal(compute(gpu_of(90), inputs), compute(gpu_of(80), inputs))


@pytest.mark.parametrize("sm", SMS)
def test_blocks_that_take_several_tiles_compute_the_same(gpu_of, sm):
    inputs, gpu = make_inputs((2, 17, 27)), gpu_of(sm)
    results = []
    for multiprocessors in (1, 100):
        gpu.driver.multiprocessors = multiprocessors
        results.append(compute(gpu, inputs))
    assert [launch.grid[0] for launch in gpu.driver.launches if "first" in launch.kernel] == [1, 8]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("sm", ALL_SMS)
@pytest.mark.parametrize("at_end", [True, False])
def test_an_sft_layer_alone_is_what_its_maps_say(gpu_of, sm, at_end):
    inputs, gpu = make_inputs((2, 7, 37)), gpu_of(sm, at_end=at_end)
    block = place(gpu, inputs)
    a = block.arguments
    arguments = SftArguments(a.batch, a.height, a.width, z=a.z, sft=a.sft2, out=a.out)
    kernels(gpu).launch_sft(arguments, stream=0)
    gain, shift = maps(inputs.hidden, SECOND, inputs.second)
    z = inputs.z.astype(np.float32)
    assert relative_error(planes(block.out), z + gain * z + shift) < 2**-11


@pytest.mark.parametrize("mistake", WITH_MISTAKES)
def test_products_that_are_waited_for_too_late_and_weights_that_are_not_shown_are_told(tmp_path_factory, mistake):
    """As the first blocks by products of four warps were, and wrong on a GPU: right where products are made at once."""

    def make(target) -> None:
        source = target.with_suffix(".cu")
        source.write_text(with_mistake(mistake))
        build_file(target, 90, source, KERNELS["dcrb_from_hidden"], defines=DEFINES[90])

    library = made_once(tmp_path_factory, f"{mistake.replace(' ', '-')}.so", make)
    with pytest.raises(Race, match=WITH_MISTAKES[mistake]):
        compute(EmulatedGpu(library, 90), make_inputs((1, 4, 8)))


@pytest.mark.parametrize("name", ["u", "offset", "z", "skip", "w1", "b2", "out", "next_out"])
def test_the_emulator_notices_an_access_outside_a_buffer(gpu_of, name):
    """Not the kernels are on trial here but the tests above: they would notice."""
    gpu = gpu_of(80)
    block = place(gpu, make_inputs((1, 6, 6)))
    with pytest.raises(EngineError, match=r"illegal address \(700\)"):
        block.run(gpu, **{name: getattr(block.arguments, name) + 256})


@pytest.mark.parametrize("name", ["hidden", "weight", "bias"])
@pytest.mark.parametrize("which", ["sft2", "next_sft"])
def test_the_emulator_notices_an_access_outside_an_sft_layer(gpu_of, which, name):
    gpu = gpu_of(80)
    block = place(gpu, make_inputs((1, 6, 6)))
    sft = getattr(block.arguments, which)
    with pytest.raises(EngineError, match=r"illegal address \(700\)"):
        block.run(gpu, **{which: replace(sft, **{name: getattr(sft, name) + 512})})


PLACES = {field.name: 256 for field in fields(FromHiddenArguments)} | {"batch": 1, "height": 4, "width": 4}
LAYER = SftLayer(256, 32, 16, 256, 256)
BLOCK = FromHiddenArguments(**PLACES | {"sft2": LAYER, "next_sft": LAYER})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"height": 0}, "1 x 0 x 4 pixels"),
        ({"batch": 8, "height": 2**14, "width": 2**14}, "the kernels take 1 to 2147483647 in all"),
        ({"height": 2**15, "width": 2**15}, "at most 536870912 an image"),
        ({"z": 264, "out": 260}, "not aligned to 16 bytes: z, out"),
        ({"next_sft": None}, "next_sft and next_out belong together"),
    ],
)
def test_what_the_kernels_cannot_take_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(BLOCK, **changes)
