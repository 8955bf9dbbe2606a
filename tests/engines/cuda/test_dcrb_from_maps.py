"""The real source of the fused block, run on the CPU and compared with ONNX Runtime's DeformConv.

Launches go through :class:`FromMapsKernels` with the driver replaced, so the order of arguments, the grids and the
sizes of shared memory are the real ones too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from emulated import EmulatedGpu
from numpy.typing import NDArray

from dcdr_deploy.engines.cuda.dcrb_from_maps import FromMapsArguments, FromMapsKernels
from dcdr_deploy.engines.cuda.packing import pack_weight, plain_weight
from dcdr_deploy.errors import EngineError
from dcdr_deploy.modelfile.names import WIDTH

PADDED = 24
"""Offset channels in TensorRT's HWC8 layout."""

# Relative error (RMS) against FP32 of the same rounded inputs. In FP16 gathered features are blended, and the result of
# the first convolution is kept, in 11 bits.
TOLERANCE = {True: 5e-4, False: 1e-6}

PATHS = [
    pytest.param(80, True, id="fp16-sm80"),
    pytest.param(75, True, id="fp16-sm75"),
    pytest.param(80, False, id="fp32"),
]
SIZES = [(1, 16, 16), (2, 17, 23), (1, 9, 5), (1, 1, 1), (1, 3, 66), (3, 33, 2)]


@dataclass(frozen=True)
class Block:
    """The arguments of a DCRB in ONNX's order: features (N, C, H, W), weights (out, in, 3, 3)."""

    z: NDArray
    offset: NDArray
    s1: NDArray
    t1: NDArray
    s2: NDArray
    t2: NDArray
    w1: NDArray
    b1: NDArray
    w2: NDArray
    b2: NDArray

    def inputs(self) -> tuple[NDArray, ...]:
        return tuple(vars(self).values())


def block(size: tuple[int, int, int], fp16: bool, spread: float = 2.0, seed: int = 0) -> Block:
    """Return random arguments; ``spread`` is the standard deviation of the offsets in pixels."""
    rng = np.random.default_rng(seed)
    count, height, width = size
    kind = np.float16 if fp16 else np.float32

    def normal(*shape: int, scale: float = 1.0) -> NDArray:
        return (rng.standard_normal(shape) * scale).astype(kind)

    def feature(scale: float) -> NDArray:
        return normal(count, WIDTH, height, width, scale=scale)

    weights = [normal(WIDTH, WIDTH, 3, 3, scale=1 / 24) for _ in range(2)]
    biases = [rng.standard_normal(WIDTH).astype(np.float32) for _ in range(2)]
    offset = normal(count, 18, height, width, scale=spread)
    maps = [feature(0.3) for _ in range(4)]
    return Block(feature(1.0), offset, *maps, weights[0], biases[0], weights[1], biases[1])


def arguments(gpu: EmulatedGpu, inputs: Block, fp16: bool, padded_offsets: bool) -> tuple[FromMapsArguments, NDArray]:
    """Put a block's inputs on the emulated GPU; return the arguments of the launch and the array of the result."""
    count, _, height, width = inputs.z.shape
    kind = inputs.z.dtype

    def feature(values: NDArray) -> int:
        return gpu.put(values.transpose(0, 2, 3, 1) if fp16 else values).ctypes.data

    offset, strides = inputs.offset, (18 * height * width, height * width, 1)
    if padded_offsets:
        offset = np.full((count, height, width, PADDED), np.nan, kind)
        offset[..., :18] = inputs.offset.transpose(0, 2, 3, 1)
        strides = (PADDED * height * width, 1, PADDED)
    pack = pack_weight if fp16 else plain_weight
    weights = {name: gpu.put(pack(getattr(inputs, name))).ctypes.data for name in ("w1", "w2")}
    biases = {name: gpu.put(getattr(inputs, name)).ctypes.data for name in ("b1", "b2")}
    features = {name: feature(getattr(inputs, name)) for name in ("z", "s1", "t1", "s2", "t2")}
    out = gpu.empty((count, height, width, WIDTH) if fp16 else inputs.z.shape, kind)
    workspace = gpu.empty((FromMapsKernels.workspace_bytes(count, height, width, fp16),), np.uint8)
    pointers = {"offset": gpu.put(offset).ctypes.data, "out": out.ctypes.data, "workspace": workspace.ctypes.data}
    sizes = {"batch": count, "height": height, "width": width, "fp16": fp16, "offset_strides": strides}
    return FromMapsArguments(**sizes, **features, **weights, **biases, **pointers), out


def compute(gpu: EmulatedGpu, inputs: Block, fp16: bool, padded_offsets: bool = False) -> NDArray[np.float32]:
    """Return the block's result, (N, C, H, W)."""
    call, out = arguments(gpu, inputs, fp16, padded_offsets)
    FromMapsKernels({75: b"sm75", 80: b"sm80"}, driver=gpu.driver).launch(call, stream=0)
    return (out.transpose(0, 3, 1, 2) if fp16 else out).astype(np.float32)


def relative_error(result: NDArray, reference: NDArray) -> float:
    """RMS of the difference by the RMS of the reference."""
    assert result.shape == reference.shape
    return float(np.sqrt(np.mean((result - reference) ** 2) / np.mean(reference**2)))


@pytest.mark.parametrize(("sm", "fp16"), PATHS)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_a_block_is_what_the_exported_definition_computes(emulator, by_onnxruntime, sm, fp16, size):
    inputs = block(size, fp16)
    result = compute(EmulatedGpu(emulator(sm), sm), inputs, fp16)
    assert relative_error(result, by_onnxruntime("DCRB", *inputs.inputs())) < TOLERANCE[fp16]


@pytest.mark.parametrize(("sm", "fp16"), PATHS)
def test_offsets_may_lie_in_planes_or_in_padded_pixels(emulator, sm, fp16):
    inputs = block((2, 11, 19), fp16)
    gpu = EmulatedGpu(emulator(sm), sm)
    planes, pixels = (compute(gpu, inputs, fp16, padded_offsets=padded) for padded in (False, True))
    np.testing.assert_array_equal(planes, pixels)


@pytest.mark.parametrize(("sm", "fp16"), PATHS)
@pytest.mark.parametrize("spread", [0.0, 30.0, 3000.0])
def test_offsets_may_point_nowhere_or_far_outside(emulator, by_onnxruntime, sm, fp16, spread):
    inputs = block((1, 9, 13), fp16, spread=spread)
    result = compute(EmulatedGpu(emulator(sm), sm), inputs, fp16)
    assert relative_error(result, by_onnxruntime("DCRB", *inputs.inputs())) < TOLERANCE[fp16]


@pytest.mark.parametrize(("sm", "fp16"), PATHS)
def test_whole_pixel_offsets_hit_the_pixels_exactly(emulator, by_onnxruntime, sm, fp16):
    inputs = block((1, 9, 13), fp16)
    inputs = replace(inputs, offset=np.round(inputs.offset))
    result = compute(EmulatedGpu(emulator(sm), sm), inputs, fp16)
    assert relative_error(result, by_onnxruntime("DCRB", *inputs.inputs())) < TOLERANCE[fp16]


@pytest.mark.parametrize(("sm", "fp16"), PATHS)
@pytest.mark.parametrize("at_end", [True, False], ids=["buffers-end-at-a-guard", "buffers-begin-at-a-guard"])
def test_offsets_that_are_no_numbers_stay_inside_the_buffers_and_count_as_outside(emulator, sm, fp16, at_end):
    inputs = block((2, 17, 5), fp16)
    broken, outside = inputs.offset.copy(), inputs.offset.copy()
    largest = np.finfo(broken.dtype).max
    # Planes alternate between y and x: a step of 3 meets both.
    for start, value in enumerate((np.nan, np.inf, -np.inf, largest, -largest)):
        broken[:, start::7] = value
        outside[:, start::7] = 1000
    gpu = EmulatedGpu(emulator(sm), sm, at_end=at_end)
    result = compute(gpu, replace(inputs, offset=broken), fp16)
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(result, compute(gpu, replace(inputs, offset=outside), fp16))


@pytest.mark.parametrize(("sm", "fp16"), PATHS)
@pytest.mark.parametrize("at_end", [True, False])
def test_every_access_is_inside_the_buffers_at_odd_sizes(emulator, sm, fp16, at_end):
    gpu = EmulatedGpu(emulator(sm), sm, at_end=at_end)
    for size in ((1, 5, 17), (2, 17, 3)):
        for padded in (False, True):
            assert np.isfinite(compute(gpu, block(size, fp16, spread=10), fp16, padded_offsets=padded)).all()


@pytest.mark.parametrize(("sm", "fp16"), PATHS)
def test_the_order_in_which_threads_run_changes_nothing(emulator, sm, fp16):
    inputs = block((1, 17, 9), fp16)
    forwards, backwards = (
        compute(EmulatedGpu(emulator(sm), sm, backwards=backwards), inputs, fp16) for backwards in (False, True)
    )
    np.testing.assert_array_equal(forwards, backwards)


@pytest.mark.parametrize("sm", [75, 80])
def test_blocks_that_take_several_tiles_compute_the_same(emulator, sm):
    inputs = block((2, 17, 5), fp16=True)
    gpu = EmulatedGpu(emulator(sm), sm)
    results = []
    for multiprocessors in (1, 3, 100):
        gpu.driver.multiprocessors = multiprocessors
        results.append(compute(gpu, inputs, fp16=True))
    assert [launch.grid[0] for launch in gpu.driver.launches if "first" in launch.kernel] == [1, 3, 4]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize(("sm", "fp16"), PATHS)
def test_a_single_convolution_is_onnxruntimes_deformconv(emulator, by_onnxruntime, sm, fp16):
    """Without SFT, residual and first convolution's negative half, what is left of a block is one convolution."""
    inputs = block((2, 13, 17), fp16)
    zero = np.zeros_like(inputs.z)
    # relu(dc1) = z where dc1 only copies the centre and z >= 0: the second convolution gets z itself.
    copy = np.zeros_like(inputs.w1)
    copy[np.arange(WIDTH), np.arange(WIDTH), 1, 1] = 1
    offset = inputs.offset.copy()
    offset[:, 8:10] = 0
    alone = replace(
        inputs, z=np.abs(inputs.z), offset=offset, s1=zero, t1=zero, s2=zero, t2=zero, w1=copy, b1=0 * inputs.b1
    )
    result = compute(EmulatedGpu(emulator(sm), sm), alone, fp16) - alone.z
    reference = by_onnxruntime("DeformConv2d", alone.z, offset, inputs.w2, inputs.b2)
    assert relative_error(result, reference) < TOLERANCE[fp16]


@pytest.mark.parametrize(("sm", "fp16"), PATHS)
def test_the_first_convolution_alone_is_onnxruntimes_deformconv_with_relu(emulator, by_onnxruntime, sm, fp16):
    inputs = block((2, 13, 17), fp16)
    zero, copy = np.zeros_like(inputs.z), np.zeros_like(inputs.w2)
    copy[np.arange(WIDTH), np.arange(WIDTH), 1, 1] = 1
    offset = inputs.offset.copy()
    offset[:, 8:10] = 0
    alone = replace(inputs, offset=offset, s1=zero, t1=zero, s2=zero, t2=zero, w2=copy, b2=0 * inputs.b2)
    result = compute(EmulatedGpu(emulator(sm), sm), alone, fp16) - alone.z
    reference = np.maximum(by_onnxruntime("DeformConv2d", alone.z, offset, inputs.w1, inputs.b1), 0)
    assert relative_error(result, reference) < TOLERANCE[fp16]


def test_the_sft_kernel_rounds_once(emulator):
    gpu = EmulatedGpu(emulator(80), 80)
    inputs = block((1, 7, 9), fp16=True)
    compute(gpu, inputs, fp16=True)
    x, gain, shift, _, elements = gpu.driver.launches[0].values
    count = inputs.z.size
    assert elements == count
    wide = inputs.z.astype(np.float32)
    expected = (wide + inputs.s1.astype(np.float32) * wide + inputs.t1.astype(np.float32)).astype(np.float16)
    again = gpu.empty((1, 7, 9, WIDTH), np.float16)
    assert gpu.run(replace(gpu.driver.launches[0], values=(x, gain, shift, again.ctypes.data, elements))) == 0
    np.testing.assert_array_equal(again.transpose(0, 3, 1, 2), expected)


def test_the_emulated_half_has_all_finite_numbers(emulator):
    gpu = EmulatedGpu(emulator(80), 80)
    codes = np.arange(2**16, dtype=np.uint16).view(np.float16)
    values = gpu.put(np.where(np.isfinite(codes), codes, np.float16(0)))
    zero, out = gpu.put(np.zeros_like(values)), gpu.empty(values.shape, np.float16)
    compute(gpu, block((1, 1, 1), fp16=True), fp16=True)
    pointers = tuple(array.ctypes.data for array in (values, zero, zero, out))
    launch = replace(gpu.driver.launches[0], grid=(32, 1, 1), values=(*pointers, values.size))
    assert gpu.run(launch) == 0
    np.testing.assert_array_equal(out, values)


@pytest.mark.parametrize(("sm", "fp16"), PATHS)
@pytest.mark.parametrize("name", ["z", "offset", "w1", "b2", "out"])
def test_the_emulator_notices_an_access_outside_a_buffer(emulator, sm, fp16, name):
    """Not the kernels are on trial here but the tests above: they would notice."""
    gpu = EmulatedGpu(emulator(sm), sm)
    call, _ = arguments(gpu, block((1, 6, 6), fp16), fp16, padded_offsets=False)
    late = replace(call, **{name: getattr(call, name) + 16})
    with pytest.raises(EngineError, match=r"illegal address \(700\)"):
        FromMapsKernels({75: b"sm75", 80: b"sm80"}, driver=gpu.driver).launch(late, stream=0)
