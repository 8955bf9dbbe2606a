"""Deformable convolution without modulation (Dai et al. 2017), in the forms that training, inference and export need.

All forms compute the same function. For a 3x3 filter with taps ``k`` at integer displacements ``p_k``,

    y[o, p] = b[o] + sum_k sum_c w[o, c, k] * x[c, p * stride + p_k - padding + offset[k, p]]

with bilinear interpolation between pixels and zeros outside the picture. Offsets are (N, 2*K, H', W'), interleaved
(y, x) for each tap: the layout of ``torchvision.ops.deform_conv2d`` and of ONNX ``DeformConv`` (opset 19 and later).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
) -> Tensor:
    """Reference form on CPU and CUDA, forward and backward, by torchvision's kernel.

    Args:
        x: (N, C, H, W) features.
        offset: (N, 2*kh*kw, H', W') in pixels of ``x``, (y, x) interleaved per tap.
        weight: (O, C, kh, kw).
        bias: (O,) or ``None``.
        stride: step between output pixels, in pixels of ``x``.
        padding: zeros around ``x``.
        dilation: distance between taps.

    Returns:
        (N, O, H', W').
    """
    # Imported here: loading torchvision takes seconds that a user of other forms should not pay.
    from torchvision.ops import deform_conv2d as torchvision_deform_conv2d

    # Far outside the picture every tap is zero; the clamp keeps floor() inside the integer range of the kernel.
    limit = float(2 * (max(x.shape[-2:]) + padding) + dilation * max(weight.shape[-2:]) + 2)
    return torchvision_deform_conv2d(
        x, offset.clamp(-limit, limit), weight, bias, stride=stride, padding=padding, dilation=dilation
    )


class SamplingPlan(NamedTuple):
    """Where every output pixel and tap reads: four rows of the (N*H*W, C) feature matrix and their weights.

    Attributes:
        rows: (N*H'*W'*K, 4) int64 row numbers.
        weight: (N*H'*W'*K, 4) bilinear weights; 0 for a corner outside the picture. Differentiable in the offsets.
        size: (H', W') of the output.
    """

    rows: Tensor
    weight: Tensor
    size: tuple[int, int]


def sampling_plan(
    offset: Tensor,
    height: int,
    width: int,
    kernel: tuple[int, int] = (3, 3),
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
) -> SamplingPlan:
    """Turn offsets into a :class:`SamplingPlan` for an input of ``height`` x ``width`` pixels.

    It depends on the offsets only, so the two deformable convolutions of a DCRB share one plan. Positions and weights
    are FP32 at least: in BF16, which autocast makes of offsets, neighbouring numbers from 128 on are a pixel apart.
    """
    offset = offset.to(torch.promote_types(offset.dtype, torch.float32))

    def positions(count: int) -> Tensor:
        return torch.arange(count, device=offset.device, dtype=offset.dtype)

    batch, _, out_height, out_width = offset.shape
    taps_y, taps_x = kernel
    pairs = offset.reshape(batch, taps_y * taps_x, 2, out_height, out_width)
    rows = positions(out_height) * stride - padding
    columns = positions(out_width) * stride - padding
    tap_rows = (positions(taps_y) * dilation).repeat_interleave(taps_x)
    tap_columns = (positions(taps_x) * dilation).repeat(taps_y)
    y = pairs[:, :, 0] + rows[:, None] + tap_rows[:, None, None]
    x = pairs[:, :, 1] + columns + tap_columns[:, None, None]
    # Pixel-major, then tap: each output pixel's column of the matrix product is contiguous.
    y = y.permute(0, 2, 3, 1).reshape(batch, -1).clamp(-2, height + 1)
    x = x.permute(0, 2, 3, 1).reshape(batch, -1).clamp(-2, width + 1)
    top, left = y.floor(), x.floor()
    below, right = y - top, x - left
    top, left = top.long(), left.long()
    first_row = (torch.arange(batch, device=offset.device) * (height * width))[:, None]
    indices, weights = [], []
    for step_y, weight_y in ((0, 1 - below), (1, below)):
        corner_y = top + step_y
        inside_y = (corner_y >= 0) & (corner_y < height)
        line = corner_y.clamp(0, height - 1) * width
        for step_x, weight_x in ((0, 1 - right), (1, right)):
            corner_x = left + step_x
            inside = inside_y & (corner_x >= 0) & (corner_x < width)
            indices.append(first_row + line + corner_x.clamp(0, width - 1))
            weights.append(weight_y * weight_x * inside)
    return SamplingPlan(
        torch.stack(indices, -1).reshape(-1, 4), torch.stack(weights, -1).reshape(-1, 4), (out_height, out_width)
    )


def apply_sampling_plan(x: Tensor, plan: SamplingPlan, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Deformable convolution as one weighted gather of rows and one matrix product.

    On CPUs its backward is about six times as fast as torchvision's, which runs on one thread.

    Args:
        x: (N, C, H, W) features.
        plan: from :func:`sampling_plan` for offsets of this picture.
        weight: (O, C, kh, kw).
        bias: (O,) or ``None``.

    Returns:
        (N, O, H', W').
    """
    batch, channels, height, width = x.shape
    taps = weight.shape[2] * weight.shape[3]
    features = x.permute(0, 2, 3, 1).reshape(batch * height * width, channels)
    columns = F.embedding_bag(
        plan.rows, features.to(plan.weight.dtype), per_sample_weights=plan.weight, mode="sum"
    ).reshape(-1, taps * channels)
    columns = columns.to(weight.dtype)
    matrix = weight.permute(2, 3, 1, 0).reshape(taps * channels, weight.shape[0])
    rows = columns @ matrix if bias is None else torch.addmm(bias, columns, matrix)
    return rows.reshape(batch, *plan.size, weight.shape[0]).permute(0, 3, 1, 2)


def deform_conv2d_gather(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
) -> Tensor:
    """:func:`deform_conv2d` in the gather form; same arguments and result."""
    plan = sampling_plan(offset, x.shape[2], x.shape[3], (weight.shape[2], weight.shape[3]), stride, padding, dilation)
    return apply_sampling_plan(x, plan, weight, bias)
