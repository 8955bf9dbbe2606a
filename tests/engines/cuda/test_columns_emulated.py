"""The training kernels of ``columns.cu``, run by the emulator, against torchvision's operator and its gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from cubin import resource_usage  # noqa: E402 - needs torch
from emulated import EmulatedGpu  # noqa: E402
from torch import Tensor  # noqa: E402

from dcdr_deploy.engines.cuda import compiler  # noqa: E402
from dcdr_deploy.engines.cuda.columns import ColumnKernels, Features  # noqa: E402
from dcdr_deploy.errors import EngineError  # noqa: E402
from dcdr_deploy.models.deform import deform_conv2d  # noqa: E402
from dcdr_deploy.training import deformable  # noqa: E402

BOUNDS = {torch.float32: 2e-6, torch.float16: 6e-4, torch.bfloat16: 5e-3}
"""Relative, root of the mean square: rounding of features and gradients in their types."""

Problem = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def same_gradients_every_time() -> None:
    torch.manual_seed(1)


@pytest.fixture(scope="module")
def library(emulator: Callable[..., Path]) -> Callable[[int], Path]:
    """``library(sm)``: the emulated kernels for SM 75 or 80."""
    return functools.partial(emulator, kernel="columns")


@pytest.fixture(autouse=True)
def shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator runs kernels in a process of their own: what they write must lie in memory that both share."""
    for owner, names in ((torch, ("empty", "zeros")), (Tensor, ("new_empty", "__matmul__", "clone", "contiguous"))):
        for name in names:
            make = getattr(owner, name)
            monkeypatch.setattr(owner, name, lambda *a, make=make, **k: make(*a, **k).share_memory_())


def make_problem(size: tuple[int, int, int], dtype: torch.dtype, reach: float, channels: int, outputs: int) -> Problem:
    """Random features, offsets, weights and biases; weights and biases are exact in ``dtype``."""
    batch, height, width = size
    generator = torch.Generator().manual_seed(height * width + channels)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    # Sixty-fourths of a pixel: positions are exact, so that none lies on another side of a pixel than in FP64.
    offset = (normal(batch, 18, height, width) * reach * 64).round() / 64
    weight = (normal(outputs, channels, 3, 3) / 24).to(dtype).float()
    return normal(batch, channels, height, width).to(dtype), offset, weight, normal(outputs).to(dtype).float()


def emulated(
    library: Path, problem: Problem, grad: Tensor, sm: int = 80, tiled: bool = True, backwards: bool = False
) -> list[Tensor]:
    """Result, and gradients by features, offsets, weights and biases."""
    kernels = ColumnKernels({sm: b"the emulator has them"}, EmulatedGpu(library, sm, True, backwards).driver, tiled)
    x, offset, weight, bias = problem
    x, offset, grad = (each.clone(memory_format=torch.channels_last) for each in (x, offset, grad))
    result = deformable.convolve(kernels, x, offset, weight, bias, 0)
    return [result, *deformable.gradients(kernels, grad, x, offset, weight, 0)]


def by_torchvision(problem: Problem, grad: Tensor) -> list[Tensor]:
    """The same in FP64."""
    leaves = [each.double().requires_grad_() for each in problem]
    result = deform_conv2d(*leaves)
    return [result.detach(), *torch.autograd.grad(result, leaves, grad.double())]


def largest_error(found: list[Tensor], expected: list[Tensor]) -> float:
    return max(
        float((ours.double() - theirs).norm() / theirs.norm().clamp(min=1e-9))
        for ours, theirs in zip(found, expected, strict=True)
    )


SIZES = ((1, 1, 1), (1, 9, 5), (2, 17, 19))


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(("size", "reach"), [*zip(SIZES, (0.5, 1.5, 3.0), strict=True), ((1, 8, 8), 0.0)])
@pytest.mark.parametrize("tiled", [True, False])
def test_result_and_gradients_are_those_of_torchvision(
    library: Callable[[int], Path], dtype: torch.dtype, size: tuple[int, int, int], reach: float, tiled: bool
):
    problem = make_problem(size, dtype, reach, 64, 64)
    grad = torch.randn_like(problem[0])
    # A single pixel's gradients of offsets are a few dot products, of which some nearly cancel.
    bound = BOUNDS[dtype] * (4 if size == (1, 1, 1) else 1)
    assert largest_error(emulated(library(80), problem, grad, tiled=tiled), by_torchvision(problem, grad)) < bound


@pytest.mark.parametrize(("channels", "outputs"), [(8, 16), (72, 64), (128, 32)])
def test_widths_other_than_64_are_taken(library: Callable[[int], Path], channels: int, outputs: int):
    problem = make_problem((2, 5, 7), torch.float32, 1.0, channels, outputs)
    grad = torch.randn(2, outputs, 5, 7)
    assert largest_error(emulated(library(80), problem, grad), by_torchvision(problem, grad)) < BOUNDS[torch.float32]


def test_gpus_without_bf16_round_alike(library: Callable[[int], Path]):
    problem = make_problem((1, 6, 7), torch.bfloat16, 1.0, 64, 64)
    grad = torch.randn_like(problem[0])
    old, new = (emulated(library(sm), problem, grad, sm) for sm in (75, 80))
    assert largest_error(old, new) == 0


@pytest.mark.parametrize("tiled", [True, False])
def test_the_order_of_threads_does_not_matter(library: Callable[[int], Path], tiled: bool):
    problem = make_problem((1, 9, 10), torch.float32, 2.0, 64, 64)
    grad = torch.randn_like(problem[0])
    there, back = (emulated(library(80), problem, grad, tiled=tiled, backwards=way) for way in (False, True))
    assert largest_error(there, back) < 1e-6


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e30])
@pytest.mark.parametrize("tiled", [True, False])
def test_offsets_without_sense_read_and_write_inside_the_picture(
    library: Callable[[int], Path], value: float, tiled: bool
):
    problem = make_problem((1, 5, 6), torch.float16, 1.0, 64, 64)
    problem[1][:, ::4] = value
    found = emulated(library(80), problem, torch.randn_like(problem[0]), tiled=tiled)
    assert all(bool(each.isfinite().all()) for each in found)


def test_images_that_do_not_fit_together_are_taken_one_after_the_other(
    library: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
):
    problem = make_problem((3, 4, 5), torch.float32, 1.0, 64, 64)
    grad = torch.randn_like(problem[0])
    monkeypatch.setattr(deformable, "MOST_COLUMN_BYTES", 2 * 4 * 5 * 9 * 64 * 4)  # two images, then one
    assert largest_error(emulated(library(80), problem, grad), by_torchvision(problem, grad)) < BOUNDS[torch.float32]


def test_nothing_but_the_result_is_written(library: Callable[[int], Path]):
    """Features and offsets lie between pages that cannot be touched, and keep their values."""
    gpu = EmulatedGpu(library(80), 80, at_end=False)
    kernels = ColumnKernels({80: b"the emulator has them"}, gpu.driver)
    generator = torch.Generator().manual_seed(1)
    x = gpu.put(torch.randn(1, 3, 5, 64, generator=generator).numpy())
    offset = gpu.put(torch.randn(1, 3, 5, 18, generator=generator).numpy())
    before = x.copy(), offset.copy()
    columns = gpu.empty((15, 9, 64), "float32")
    grad_x, grad_offset = gpu.empty(x.shape, "float32"), gpu.empty(offset.shape, "float32")
    grad_x[...] = 0
    features = Features("float32", 1, 3, 5, 64)
    kernels.columns(features, x.ctypes.data, offset.ctypes.data, columns.ctypes.data, 0)
    made = columns.copy()
    columns[...] = 1
    kernels.spread(features, *(each.ctypes.data for each in (x, offset, columns, grad_x, grad_offset)), 0)
    assert (x == before[0]).all()
    assert (offset == before[1]).all()
    assert (columns == made).all(), "the way back leaves the columns of the way there"


@pytest.mark.parametrize(
    "wrong", [{"dtype": "float64"}, {"height": 0}, {"channels": 12}, {"channels": 0}, {"batch": 2**31}]
)
def test_features_that_the_kernels_cannot_take_are_refused(wrong: dict):
    with pytest.raises(ValueError, match="features cannot"):
        Features(**{"dtype": "float16", "batch": 1, "height": 2, "width": 2, "channels": 64, **wrong})


@pytest.mark.parametrize("sm", [75, 80, 86, 90, 100, 120])
def test_the_kernels_compile_without_spills(sm: int):
    pytest.importorskip("cuda.bindings.nvrtc")
    usage = resource_usage(compiler.compile_cubin("columns", sm))
    parts, types = ("columns", "spread", "scatter", "turn"), ("half", "bfloat", "float")
    assert usage.keys() == {f"{part}_{kind}" for part in parts for kind in types}
    assert all(each.local_bytes == 0 for each in usage.values())
    assert all(8 <= each.registers <= 128 for each in usage.values())


def test_the_trial_of_a_gpu_passes_right_kernels_and_no_others(library: Callable[[int], Path]):
    gpu = EmulatedGpu(library(80), 80)
    kernels = ColumnKernels({80: b"the emulator has them"}, gpu.driver)
    right = deformable.largest_error(kernels, torch.device("cpu"), 0)
    kernels.columns = kernels.spread = lambda *arguments: None  # type: ignore[method-assign]
    assert right < 1e-5
    assert not deformable.largest_error(kernels, torch.device("cpu"), 0) < deformable.LARGEST_ERROR


def test_a_gpu_without_a_fitting_cubin_is_named(library: Callable[[int], Path]):
    kernels = ColumnKernels({90: b"another"}, EmulatedGpu(library(80), 80).driver)
    with pytest.raises(EngineError, match="SM80"):
        kernels.prepare()
