"""The real source of the convolutions, run on the CPU and compared with PyTorch in FP32.

Launches go through :class:`ConvolutionKernels` with the driver replaced, so the order of arguments, the grids and the
sizes of shared memory are the real ones too. Each generation of multiprocessors has kernels of other measures.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from emulated import EmulatedGpu
from numpy.typing import NDArray

from dcdr_deploy.engines.cuda.convolution import ConvolutionArguments, ConvolutionKernels, SecondConvolution
from dcdr_deploy.engines.cuda.convolution_table import RINGS, variants
from dcdr_deploy.engines.cuda.sft import SftLayer
from dcdr_deploy.errors import EngineError

torch = pytest.importorskip("torch")
from convolution_cases import (  # noqa: E402 - needs torch
    CASES,
    TOLERANCE,
    TOLERANCE_OF_TWO,
    Case,
    Problem,
    filled,
    in_planes,
    inputs,
    output_shape,
    packed,
    problem,
    reference,
    relative_error,
    rings,
)

SMS = [90, 100, 80, 86, 75]
"""One of each row of the table of measures."""


def kernels_to_run() -> list:
    """Each case on each SM whose kernel is not the same as on one before; SM75 multiplies otherwise."""
    seen, chosen = set(), []
    for sm in SMS:
        for name, case in CASES.items():
            variant = variants(sm)[with_layer(case).key]
            if (name, variant, sm == 75) not in seen:
                seen.add((name, variant, sm == 75))
                chosen.append(pytest.param(sm, name, id=f"{name}-sm{sm}"))
    return chosen


def with_layer(case: Case) -> ConvolutionArguments:
    call = case.arguments((1, 4, 4))
    return replace(call, sft=SftLayer(0, 32, 0, 0, 0)) if case.sft else call


def pixels(values: NDArray) -> NDArray:
    return np.ascontiguousarray(np.moveaxis(values, 1, 3))


def prepared(gpu: EmulatedGpu, given: Problem) -> tuple[ConvolutionArguments, list[NDArray]]:
    """Put a problem on the emulated GPU; return arguments and the arrays of the results."""
    shape, dtype = output_shape(given.case, given.size)
    variant = variants(gpu.driver.sms[0])[with_layer(given.case).key]
    kind = np.float16 if dtype == torch.float16 else np.float32
    results = [gpu.empty(shape, kind) for _ in range(1 + given.case.second)]
    arrays = {name: pixels(getattr(given, name).numpy()) for name in inputs(given.case)} | packed(given)
    pointers = {name: gpu.put(values).ctypes.data for name, values in arrays.items()}
    pointers["rings"] = gpu.empty((rings(given, variant),), np.uint8).ctypes.data
    pointers |= {name: each.ctypes.data for name, each in zip(("out", "second"), results, strict=False)}
    return filled(given, pointers), results


def launch(gpu: EmulatedGpu, call: ConvolutionArguments) -> None:
    ConvolutionKernels(dict.fromkeys(SMS, b"cubin"), driver=gpu.driver).launch(call, stream=0)


def compute(gpu: EmulatedGpu, given: Problem) -> list[NDArray]:
    """Return the one or two results in (N, C, H, W), all channels that are stored."""
    call, results = prepared(gpu, given)
    launch(gpu, call)
    return [in_planes(given.case, each) for each in results]


def assert_right(results: list[NDArray], given: Problem) -> None:
    for result, wanted in zip(results, reference(given), strict=True):
        tensor = torch.from_numpy(np.ascontiguousarray(result))
        bounds = TOLERANCE_OF_TWO if given.case.then else TOLERANCE
        assert relative_error(tensor, wanted) < bounds[tensor.dtype]


@pytest.mark.parametrize(("sm", "name"), kernels_to_run())
def test_a_convolution_is_what_pytorch_computes_and_stays_inside_its_buffers(convolution_emulator, sm, name):
    """Once with buffers that end at a guard, once with buffers that begin at one and threads in the opposite order."""
    for size, at_end in (((1, 17, 18), True), ((2, 3, 5), False)):
        given = problem(CASES[name], size)
        gpu = EmulatedGpu(convolution_emulator(sm), sm, at_end=at_end, backwards=not at_end)
        assert_right(compute(gpu, given), given)


@pytest.mark.parametrize("name", CASES)
def test_a_single_pixel_is_a_picture(convolution_emulator, name):
    given = problem(CASES[name], (1, 1, 1))
    assert_right(compute(EmulatedGpu(convolution_emulator(90), 90), given), given)


@pytest.mark.parametrize("sm", [90, 80])  # several workers in a block, and one
@pytest.mark.parametrize(
    "name", ["first", "head at a half", "hidden maps of eight layers", "hr", "hr and last", "up into blocks"]
)
def test_blocks_that_take_several_tiles_compute_the_same(convolution_emulator, sm, name):
    given = problem(CASES[name], (1, 26, 17))
    gpu = EmulatedGpu(convolution_emulator(sm), sm)
    results = []
    for multiprocessors in (1, 200):
        gpu.driver.multiprocessors = multiprocessors
        results.append(compute(gpu, given))
    one, all_at_once = (each.grid[0] for each in gpu.driver.launches if each.kernel != RINGS)
    assert one < all_at_once < 200
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["hr and last", "up into blocks"])  # products of four warps
def test_the_turns_in_which_warps_run_change_nothing(convolution_emulator, name):
    given = problem(CASES[name], (1, 17, 18))
    in_order, in_turns = (compute(EmulatedGpu(convolution_emulator(90), 90, seed=seed), given) for seed in (None, 0))
    for one, other in zip(in_order, in_turns, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_residual_may_be_the_output(convolution_emulator):
    given = problem(CASES["up into hr"], (1, 9, 18))
    gpu = EmulatedGpu(convolution_emulator(90), 90)
    call, (out,) = prepared(gpu, given)
    out[...] = pixels(given.residual.numpy())
    launch(gpu, replace(call, residual=call.out))
    np.testing.assert_array_equal(in_planes(given.case, out), compute(gpu, given)[0])


@pytest.mark.parametrize("name", ["tone from the image", "tone's gain"])
def test_tone_nets_of_other_widths_are_padded_with_zeros(convolution_emulator, name):
    case = CASES[name]
    width = {"real_out": 48} if case.channels_in == 4 else {"real_in": 48}
    given = problem(replace(case, **width), (1, 9, 20))
    assert_right(compute(EmulatedGpu(convolution_emulator(90), 90), given), given)


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
        {"then": SecondConvolution(0, 0, 0)},
        {"then": SecondConvolution(0, 0, 0), "end": "planar", "stride": 2},
        {"sft": SftLayer(0, 32, 0, 0, 0)},
    ],
    ids=str,
)
def test_a_convolution_without_a_kernel_is_refused(change):
    call = CASES["hr"].arguments((1, 4, 4))
    with pytest.raises(ValueError, match="no kernel convolves"):
        replace(call, **change)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"x": 8, "second": 4, "stride": 2, "sft": SftLayer(0, 32, 0, 0, 8)},
            "x to 16, second to 16, sft.bias to 16",
        ),
        ({"then": SecondConvolution(8, 2, 8), "end": "planar"}, "then.weight to 16, then.bias to 4, then.rings to 16"),
        ({"height": 0}, "cannot be 1 x 0 x 4 pixels"),
        ({"height": 2**17, "width": 2**15}, "cannot be 1 x 131072 x 32768 pixels"),
    ],
    ids=str,
)
def test_arguments_that_kernels_cannot_take_are_refused(change, complaint):
    call = CASES["hr"].arguments((1, 4, 4))
    with pytest.raises(ValueError, match=complaint):
        replace(call, **change)


def test_every_generation_has_the_same_kernels():
    names = [list(variants(sm)) for sm in (75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121, 999)]
    assert all(each == names[0] for each in names)
