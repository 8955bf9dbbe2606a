"""The real source of the convolutions, run on the CPU and compared with PyTorch in FP32.

Launches go through :class:`ConvolutionKernels` with the driver replaced, so the order of arguments, the grids and the
sizes of shared memory are the real ones too. Each generation of multiprocessors has kernels of other measures.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from emulated import EmulatedGpu
from numpy.typing import NDArray

from dcdr_deploy.engines.cuda.convolution import ConvolutionArguments, ConvolutionKernels, SftLayer
from dcdr_deploy.engines.cuda.convolution_packing import pack_bias, pack_sft_bias, pack_sft_weight, pack_weight
from dcdr_deploy.engines.cuda.convolution_table import variants
from dcdr_deploy.errors import EngineError

torch = pytest.importorskip("torch")
functional = torch.nn.functional

# Relative error (RMS) against FP32 of the same rounded inputs: results are rounded to 11 bits once, in FP32 not at all.
TOLERANCE = {np.float16: 4e-4, np.float32: 1e-6}
SMS = [75, 80, 86, 90]
"""One of each row of the table of measures."""


@dataclass(frozen=True)
class Case:
    """A convolution as the network has it: channels, and what belongs to it besides weights."""

    channels_in: int
    channels_out: int
    options: dict[str, Any] = field(default_factory=dict)
    sft: bool = False
    second: bool = False
    residual: bool = False
    tone: bool = False
    real_in: int = 0
    real_out: int = 0


CASES = {
    "trunk from the image": Case(4, 32, {"activation": "leaky"}, real_in=3),
    "tone from the image": Case(4, 64, {"activation": "relu"}, real_in=3),
    "first": Case(4, 64, {"activation": "relu"}, sft=True, real_in=3),
    "trunk": Case(32, 32, {"activation": "leaky"}),
    "end of a head": Case(32, 32),
    "head at a half": Case(32, 32, {"activation": "leaky", "upsample": 2}),
    "head at the whole": Case(32, 32, {"activation": "leaky", "upsample": 4}),
    "hidden maps of one layer": Case(32, 16, {"activation": "leaky"}),
    "hidden maps of eight layers": Case(32, 128, {"activation": "leaky"}),
    "offsets": Case(64, 24, real_out=18),
    "hr": Case(64, 64, {"activation": "relu"}),
    "down alone": Case(64, 64, {"activation": "relu", "stride": 2}),
    "down": Case(64, 64, {"activation": "relu", "stride": 2}, sft=True, second=True),
    "down without the first": Case(64, 64, {"activation": "relu", "stride": 2}, sft=True),
    "up alone": Case(64, 256, {"activation": "relu", "shuffle": True}),
    "up into blocks": Case(64, 256, {"activation": "relu", "shuffle": True}, sft=True, second=True, residual=True),
    "up into hr": Case(64, 256, {"activation": "relu", "shuffle": True}, sft=True, residual=True),
    "tone's gain": Case(64, 8, {"end": "product"}, real_out=3),
    "small tone's gain": Case(32, 8, {"end": "product"}, real_out=3),
    "last": Case(64, 8, {"end": "planar"}, tone=True, real_out=3),
    "last without a tone net": Case(64, 8, {"end": "planar"}, real_out=3),
    "last, interleaved": Case(64, 8, {"end": "interleaved"}, tone=True, real_out=3),
}
SIZES = [(1, 1, 1), (2, 17, 19), (1, 5, 67), (1, 34, 3)]


@dataclass
class Problem:
    """A case with numbers: inputs in NCHW, already rounded to what the kernels get."""

    case: Case
    x: NDArray
    weight: NDArray
    bias: NDArray
    hidden: NDArray
    sft: dict[str, NDArray]
    residual: NDArray
    image: NDArray
    tone: NDArray
    first: int = 8


def problem(case: Case, size: tuple[int, int, int], seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    count, height, width = size

    def normal(*shape: int, scale: float = 1.0, kind: Any = np.float16) -> NDArray:
        return (rng.standard_normal(shape) * scale).astype(kind)

    channels_in, channels_out = case.real_in or case.channels_in, case.real_out or case.channels_out
    x = np.zeros((count, case.channels_in, height, width), np.float16)
    x[:, :channels_in] = normal(count, channels_in, height, width)
    probe = arguments_without_pointers(case, size)
    rows, columns = probe.output_size
    sft = {
        "gain": normal(64, 8, 3, 3, scale=0.03),
        "gain_bias": normal(64, scale=0.3, kind=np.float32),
        "shift": normal(64, 8, 3, 3, scale=0.1),
        "shift_bias": normal(64, kind=np.float32),
    }
    return Problem(
        case,
        x,
        normal(channels_out, channels_in, 3, 3, scale=1 / np.sqrt(9 * channels_in)),
        normal(channels_out, scale=0.5, kind=np.float32),
        normal(count, 32, rows, columns),
        sft,
        normal(count, 64, rows, columns),
        normal(count, 4, rows, columns),
        normal(count, 4, rows, columns, kind=np.float32),
    )


def arguments_without_pointers(case: Case, size: tuple[int, int, int]) -> ConvolutionArguments:
    image = 16 if case.options.get("end") == "product" else 0
    sizes = dict(zip(("batch", "height", "width"), size, strict=True))
    channels = {"channels_in": case.channels_in, "channels_out": case.channels_out}
    return ConvolutionArguments(**sizes, **channels, x=0, weight=0, bias=0, out=0, image=image, **case.options)


def reference(given: Problem) -> tuple[NDArray, NDArray]:
    """Return the result, (N, C, H, W), before and after the SFT layer, in FP64."""
    options = given.case.options

    def tensor(values: NDArray) -> Any:
        return torch.from_numpy(values.astype(np.float64))

    x = tensor(given.x[:, : given.weight.shape[1]])
    if (factor := options.get("upsample", 1)) > 1:
        x = functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    v = functional.conv2d(x, tensor(given.weight), tensor(given.bias), options.get("stride", 1), 1)
    slope = {"none": 1.0, "relu": 0.0, "leaky": 0.1}[options.get("activation", "none")]
    v = functional.leaky_relu(v, slope)
    if options.get("shuffle"):
        v = functional.pixel_shuffle(v, 2)
    if given.case.residual:
        v = v + tensor(given.residual)
    if options.get("end") == "product":
        v = v * tensor(given.image[:, :3])
    if given.case.tone:
        v = v + tensor(given.tone[:, :3])
    hidden, sft = tensor(given.hidden), {name: tensor(values) for name, values in given.sft.items()}
    after = v
    if given.case.sft:
        first = given.first
        gain = functional.conv2d(hidden[:, first : first + 8], sft["gain"], sft["gain_bias"], 1, 1)
        shift = functional.conv2d(hidden[:, first + 8 : first + 16], sft["shift"], sft["shift_bias"], 1, 1)
        after = v + gain * v + shift
    return v.numpy(), after.numpy()


def pixels(values: NDArray) -> NDArray:
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1))


def prepared(gpu: EmulatedGpu, given: Problem) -> tuple[ConvolutionArguments, NDArray, NDArray | None]:
    """Put a problem on the emulated GPU; return arguments and the arrays of the results."""
    case = given.case
    size = (given.x.shape[0], *given.x.shape[2:])
    call = arguments_without_pointers(case, size)
    rows, columns = call.output_size
    end = case.options.get("end", "features")
    shuffle = case.options.get("shuffle", False)
    shape, kind = {
        "features": ((size[0], rows, columns, 64 if shuffle else case.channels_out), np.float16),
        "product": ((size[0], rows, columns, 4), np.float32),
        "planar": ((size[0], 3, rows, columns), np.float16),
        "interleaved": ((size[0], rows, columns, 3), np.float32),
    }[end]
    out = gpu.empty(shape, kind)
    second = gpu.empty(shape, kind) if case.second else None
    packed = pack_weight(given.weight, case.channels_in, case.channels_out, shuffle)

    def put(values: NDArray) -> int:
        return gpu.put(values).ctypes.data

    layer = None
    if case.sft:
        weight = put(pack_sft_weight(given.sft["gain"], given.sft["shift"]))
        bias = put(pack_sft_bias(given.sft["gain_bias"], given.sft["shift_bias"]))
        layer = SftLayer(put(pixels(given.hidden)), given.hidden.shape[1], given.first, weight, bias)
    call = replace(
        call,
        x=put(pixels(given.x)),
        weight=put(packed),
        bias=put(pack_bias(given.bias, case.channels_out, shuffle)),
        out=out.ctypes.data,
        second=second.ctypes.data if second is not None else 0,
        residual=put(pixels(given.residual)) if case.residual else 0,
        sft=layer,
        image=put(pixels(given.image)) if end == "product" else 0,
        tone=put(pixels(given.tone)) if case.tone else 0,
    )
    return call, out, second


def launch(gpu: EmulatedGpu, call: ConvolutionArguments) -> None:
    ConvolutionKernels(dict.fromkeys(SMS, b"cubin"), driver=gpu.driver).launch(call, stream=0)


def compute(gpu: EmulatedGpu, given: Problem) -> tuple[NDArray, ...]:
    """Return the one or two results in (N, C, H, W), all channels that are stored."""
    call, out, second = prepared(gpu, given)
    launch(gpu, call)
    if given.case.options.get("end") == "planar":
        return (out,)
    return tuple(each.transpose(0, 3, 1, 2) for each in (out, second) if each is not None)


def expected(given: Problem) -> tuple[NDArray, ...]:
    before, after = reference(given)
    return (before, after) if given.case.second else (after,)


def relative_error(result: NDArray, wanted: NDArray) -> float:
    """RMS of the difference by the RMS of the reference."""
    assert result.shape == wanted.shape
    return float(np.sqrt(np.mean((result.astype(np.float64) - wanted) ** 2) / np.mean(wanted**2)))


@pytest.mark.parametrize("sm", SMS)
@pytest.mark.parametrize("name", CASES)
def test_a_convolution_is_what_pytorch_computes(convolution_emulator, sm, name):
    for size in SIZES:
        given = problem(CASES[name], size)
        results = compute(EmulatedGpu(convolution_emulator(sm), sm), given)
        for result, wanted in zip(results, expected(given), strict=True):
            channels = wanted.shape[1]
            assert relative_error(result[:, :channels], wanted) < TOLERANCE[result.dtype.type]
            np.testing.assert_array_equal(result[:, channels:], 0)  # channels that are there for their alignment only


@pytest.mark.parametrize("sm", SMS)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("at_end", [True, False], ids=["buffers-end-at-a-guard", "buffers-begin-at-a-guard"])
def test_every_access_is_inside_the_buffers_and_the_order_of_threads_changes_nothing(
    convolution_emulator, sm, name, at_end
):
    given = problem(CASES[name], (2, 18, 7))
    first, second = (
        compute(EmulatedGpu(convolution_emulator(sm), sm, at_end=at_end, backwards=backwards), given)
        for backwards in (False, True)
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sm", SMS)
@pytest.mark.parametrize("name", ["first", "head at the whole", "hidden maps of eight layers", "hr", "up into blocks"])
def test_blocks_that_take_several_tiles_compute_the_same(convolution_emulator, sm, name):
    given = problem(CASES[name], (2, 37, 21))
    gpu = EmulatedGpu(convolution_emulator(sm), sm)
    results = []
    for multiprocessors in (1, 5, 200):
        gpu.driver.attributes["multiprocessors"] = multiprocessors
        results.append(compute(gpu, given))
    grids = [launch.grid[0] for launch in gpu.driver.launches]
    assert grids[0] < grids[1] < grids[2] < 200
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sm", SMS)
def test_the_residual_may_be_the_output(convolution_emulator, sm):
    given = problem(CASES["up into hr"], (1, 19, 18))
    gpu = EmulatedGpu(convolution_emulator(sm), sm)
    call, out, _ = prepared(gpu, given)
    out[...] = pixels(given.residual)
    launch(gpu, replace(call, residual=call.out))
    np.testing.assert_array_equal(out.transpose(0, 3, 1, 2), compute(gpu, given)[0])


@pytest.mark.parametrize("name", ["tone from the image", "tone's gain"])
def test_tone_nets_of_other_widths_are_padded_with_zeros(convolution_emulator, name):
    case = CASES[name]
    width = {"real_out": 48} if case.channels_in == 4 else {"real_in": 48}
    given = problem(replace(case, **width), (1, 9, 20))
    (result,) = compute(EmulatedGpu(convolution_emulator(90), 90), given)
    (wanted,) = expected(given)
    assert relative_error(result[:, : wanted.shape[1]], wanted) < TOLERANCE[result.dtype.type]
    np.testing.assert_array_equal(result[:, wanted.shape[1] :], 0)


@pytest.mark.parametrize("name", ["x", "weight", "bias", "out", "second", "residual"])
def test_the_emulator_notices_an_access_outside_a_buffer(convolution_emulator, name):
    """Not the kernels are on trial here but the tests above: they would notice."""
    gpu = EmulatedGpu(convolution_emulator(90), 90)
    call, *_ = prepared(gpu, problem(CASES["up into blocks"], (1, 6, 6)))
    with pytest.raises(EngineError, match=r"illegal address \(700\)"):
        launch(gpu, replace(call, **{name: getattr(call, name) + 16}))


@pytest.mark.parametrize(
    "change",
    [
        {"channels_in": 16},
        {"channels_out": 48},
        {"stride": 2, "channels_out": 24},
        {"stride": 3},
        {"upsample": 2},
        {"shuffle": True},
        {"residual": 16},
        {"second": 16},
        {"end": "planar"},
        {"activation": "tanh"},
        {"image": 16},
        {"tone": 16},
        {"sft": SftLayer(0, 32, 0, 0, 0)},
    ],
    ids=str,
)
def test_a_convolution_without_a_kernel_is_refused(change):
    call = arguments_without_pointers(CASES["hr"], (1, 4, 4))
    with pytest.raises(ValueError, match="no kernel convolves"):
        replace(call, **change)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"x": 8, "second": 4, "stride": 2, "sft": SftLayer(8, 32, 0, 0, 0)},
            "x to 16, second to 16, sft.hidden to 16",
        ),
        ({"height": 0}, "cannot be 1 x 0 x 4 pixels"),
        ({"height": 2**17, "width": 2**15}, "cannot be 1 x 131072 x 32768 pixels"),
        ({"stride": 2, "sft": SftLayer(0, 32, 24, 0, 0)}, "16 hidden channels from 24 on do not lie in a map of 32"),
    ],
    ids=str,
)
def test_arguments_that_kernels_cannot_take_are_refused(change, complaint):
    call = arguments_without_pointers(CASES["hr"], (1, 4, 4))
    with pytest.raises(ValueError, match=complaint):
        replace(call, **change)


def test_every_generation_has_the_same_kernels():
    names = [list(variants(sm)) for sm in (75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121, 999)]
    assert all(each == names[0] for each in names)
