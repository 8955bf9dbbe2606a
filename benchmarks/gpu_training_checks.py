"""The training form of the deformable convolution against torchvision's in FP64, for gpu_training_step.py."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from dcdr_deploy.engines.cuda.columns import ColumnKernels
from dcdr_deploy.models.deform import deform_conv2d
from dcdr_deploy.training import deformable

GPU = torch.device("cuda")

BOUNDS = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 6e-3}
"""Largest relative error |result - reference| / |reference| of a result and of each gradient."""

CASES = (
    ((2, 67, 93), 2.0, True),
    ((1, 1, 1), 0.5, True),
    ((4, 128, 128), 0.0, True),
    ((3, 35, 44), 9.0, False),
)
"""What is checked: size (N, H, W), spread of the offsets in pixels, and whether gradients are summed in tiles."""

NAMES = ("result", "x", "offset", "weight", "bias")

STARTED = time.perf_counter()


def say(text: str) -> None:
    print(f"[{time.perf_counter() - STARTED:4.0f} s] {text}", flush=True)


def problem(
    size: tuple[int, int, int], dtype: torch.dtype, reach: float, channels: int = 64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random features, offsets, weights and biases on the GPU."""
    batch, height, width = size
    generator = torch.Generator(GPU).manual_seed(height * width)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device=GPU, generator=generator)

    x = normal(batch, channels, height, width).to(dtype, memory_format=torch.channels_last)
    # In steps of 1/64 px positions are exact in FP32: none falls on the other side of a pixel's centre than in FP64.
    offset = (normal(batch, 18, height, width) * reach * 64).round() / 64
    offset = offset.contiguous(memory_format=torch.channels_last)
    return x, offset, normal(64, channels, 3, 3) / (9 * channels) ** 0.5, normal(64)


def differentiate(function: Callable[..., Tensor], inputs: tuple[Tensor, ...], grad: Tensor) -> list[Tensor]:
    """A function's result and its gradients by all inputs."""
    leaves = [each.detach().clone().requires_grad_() for each in inputs]
    result = function(*leaves)
    return [result.detach(), *torch.autograd.grad(result, leaves, grad.to(result.dtype))]


def relative_error(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|; infinite where a value is no number, which a maximum would pass over."""
    error = float((found.double() - expected).norm() / expected.norm().clamp(min=1e-9))
    return math.inf if math.isnan(error) else error


def check(kernels: ColumnKernels) -> bool:
    """Compare results and gradients with torchvision's in FP64, whose own are exact; then run wild offsets."""
    right = True
    for size, reach, kernels.tiled in CASES:
        told = []
        for dtype, bound in BOUNDS.items():
            inputs = problem(size, dtype, reach)
            # Weights as the matrix product sees them; otherwise their rounding would be counted.
            inputs = (*inputs[:2], *(each.to(dtype).float() for each in inputs[2:]))
            grad = torch.randn_like(inputs[0])
            found = differentiate(deformable.operator, inputs, grad)
            expected = differentiate(deform_conv2d, tuple(each.double() for each in inputs), grad.double())
            errors = {
                name: relative_error(ours, theirs) for name, ours, theirs in zip(NAMES, found, expected, strict=True)
            }
            worst = max(errors, key=lambda name: errors[name])
            right &= errors[worst] < bound
            told.append(f"{str(dtype)[6:]} {errors[worst]:.1e} ({worst}){'' if errors[worst] < bound else ' WRONG'}")
        say(f"{size} {'tiled' if kernels.tiled else 'plain'}, worst of 5: {', '.join(told)}")
    kernels.tiled = True
    for value in (torch.nan, torch.inf, -torch.inf, 1e30):
        inputs = problem((2, 67, 93), torch.bfloat16, 1.0)
        inputs[1][:, ::3] = value
        found = differentiate(deformable.operator, inputs, torch.randn_like(inputs[0]))
        torch.cuda.synchronize()
        finite = all(bool(each.isfinite().all()) for each in found)
        right &= finite
        if not finite:
            say(f"offsets of {value}: WRONG, not finite")
    say("offsets of nan, inf, -inf, 1e30: no access failed")
    return right
