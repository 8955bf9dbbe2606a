"""Operators of the library ``dcdr``, registered with torch so that exporters and kernels can take them whole.

``dcdr::deform_conv2d`` is one deformable convolution, ``dcdr::dcrb`` all of a DCRB behind its offset and SFT maps
(eq. 4). To torch.export both are opaque: a graph holds one node a call, which the ONNX exporter translates to
``dcdr::DeformConv2d`` and ``dcdr::DCRB`` and which a fused kernel can implement.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dcdr_deploy.models.deform import apply_sampling_plan, deform_conv2d_gather, sampling_plan
from dcdr_deploy.models.deform import deform_conv2d as deform_conv2d_torchvision


@torch.library.custom_op("dcdr::deform_conv2d", mutates_args=())
def deform_conv2d(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 deformable convolution, stride 1, padding 1; shapes as in :func:`dcdr_deploy.models.deform.deform_conv2d`."""
    return deform_conv2d_torchvision(x, offset, weight, bias).contiguous()


@deform_conv2d.register_fake
def _(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0], offset.shape[2], offset.shape[3]))


def _save_inputs(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward_of(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    """The gradients of an operator by those of a differentiable function, which is computed again."""

    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            inputs = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]  # type: ignore[attr-defined]
            output = function(*inputs)
        return torch.autograd.grad(output, inputs, grad)

    return backward


deform_conv2d.register_autograd(_backward_of(deform_conv2d_gather), setup_context=_save_inputs)


@torch.library.custom_op("dcdr::dcrb", mutates_args=())
def dcrb(
    z: Tensor,
    offset: Tensor,
    gain1: Tensor,
    shift1: Tensor,
    gain2: Tensor,
    shift2: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
) -> Tensor:
    """z + dcv2(SFT2(relu(dcv1(SFT1(z))))), eq. 4.

    Args:
        z: (N, C, H, W) block input.
        offset: (N, 18, H, W), shared by both convolutions.
        gain1: (N, C, H, W); SFT1(x) = x + gain1 * x + shift1. Likewise shift1, gain2, shift2.
        shift1: see gain1.
        gain2: see gain1.
        shift2: see gain1.
        weight1: (C, C, 3, 3) of the first deformable convolution.
        bias1: (C,).
        weight2: of the second.
        bias2: of the second.

    Returns:
        (N, C, H, W).
    """
    return dcrb_composed(z, offset, gain1, shift1, gain2, shift2, weight1, bias1, weight2, bias2)


def dcrb_composed(*block: Tensor) -> Tensor:
    """Compute :func:`dcrb` with torch's own operators, on every device and in every type.

    Types with fewer bits than FP32 are computed in FP32: their coordinates would be off by up to a pixel.

    Args:
        block: the ten arguments of :func:`dcrb`.

    Returns:
        (N, C, H, W) with the type and the strides of the block's input.
    """
    result = _dcrb(*(tensor if tensor.dtype in _EXACT else tensor.float() for tensor in block))
    return torch.empty_like(block[0]).copy_(result)


_EXACT = (torch.float32, torch.float64)


def _dcrb(
    z: Tensor,
    offset: Tensor,
    gain1: Tensor,
    shift1: Tensor,
    gain2: Tensor,
    shift2: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
) -> Tensor:
    """The differentiable body of :func:`dcrb`: one sampling plan serves both convolutions."""
    plan = sampling_plan(offset, z.shape[2], z.shape[3])
    hidden = torch.relu(apply_sampling_plan(z + gain1 * z + shift1, plan, weight1, bias1))
    return z + apply_sampling_plan(hidden + gain2 * hidden + shift2, plan, weight2, bias2)


@dcrb.register_fake
def _(z: Tensor, *others: Tensor) -> Tensor:
    return torch.empty_like(z)


dcrb.register_autograd(_backward_of(_dcrb), setup_context=_save_inputs)
