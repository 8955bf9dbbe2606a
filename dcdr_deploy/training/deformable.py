"""Deformable convolution for training steps on NVIDIA GPUs: our own kernels around cuBLAS' matrix products.

A 3x3 deformable convolution is a gather, which makes nine blended taps of every pixel ("columns"), and a matrix
product; its gradient is two matrix products and one kernel that leads the columns' gradient back to features and
offsets. torchvision does the same for FP32 in NCHW, where neighbours of a channel at a time are read and added to.
Here features are channels-last in the type of the forward pass (FP16, BF16 or FP32); coordinates and the gradient's
sums are FP32. No columns are kept between the passes: the way back makes them again on the way.

Importing this module adds the form ``"columns"`` to :data:`dcdr_deploy.models.blocks.CONVOLUTIONS`. Nothing is
compiled before :func:`deform_mode` is asked or the form is used.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from dcdr_deploy.engines.cuda.columns import ALIGNMENT, CHANNEL_MULTIPLE, SOURCE, ColumnKernels, Features
from dcdr_deploy.engines.cuda.compiler import compile_cubin, target_sm
from dcdr_deploy.errors import DcdrError, EngineError
from dcdr_deploy.modelfile.names import OFFSET_CHANNELS
from dcdr_deploy.models import HdrNetwork
from dcdr_deploy.models.blocks import CONVOLUTIONS, Convolve, DeformMode
from dcdr_deploy.models.deform import deform_conv2d
from dcdr_deploy.system.faults import one_line

MODE: DeformMode = "columns"
"""Name of this form."""

MOST_COLUMN_BYTES = 2**29
"""Images are taken together as long as their columns stay below; 64 channels of 16 x 128 x 128 in BF16 are 0.3 GB."""

LARGEST_ERROR = 0.02
"""Relative, of a result and each gradient in FP32, where a GPU may round products to TF32."""

_log = logging.getLogger(__name__)


def deform_mode(network: HdrNetwork, device: torch.device) -> DeformMode:
    """The quickest form of deformable convolution, forward and backward, for a network on a device.

    On CPUs that is the gather form, because torchvision's backward runs on one thread there. On NVIDIA GPUs it is the
    form of this module, or torchvision's where its kernels cannot be had, which is logged once.
    """
    if device.type != "cuda":
        return "gather" if device.type == "cpu" else "torchvision"
    blocks = network.deformable_blocks().values()
    if any(block.dcv1.in_channels % CHANNEL_MULTIPLE for block in blocks):
        return "torchvision"
    return MODE if _prepared(torch.cuda.current_device() if device.index is None else device.index) else "torchvision"


@functools.cache
def _prepared(device: int) -> bool:
    """Whether the kernels run on a GPU, and rightly; they are compiled, loaded and tried with the first call."""
    try:
        with torch.cuda.device(device):
            torch.cuda.synchronize()  # makes the device's context the current one of this thread
            kernels = kernels_for(torch.cuda.get_device_capability(device))
            kernels.prepare()
            wrong = largest_error(kernels, torch.device("cuda", device), torch.cuda.current_stream().cuda_stream)
        if not wrong < LARGEST_ERROR:
            raise EngineError(f"its own kernels are wrong by {wrong:.2g} on this GPU")
    except (DcdrError, RuntimeError) as error:  # what torch raises where a GPU's memory is full or a kernel fails
        _log.warning("training takes torchvision's deformable convolution, which is slower: %s", one_line(error))
        return False
    return True


@functools.cache
def kernels_for(capability: tuple[int, int]) -> ColumnKernels:
    """The kernels for GPUs of a compute capability; they are compiled once, and then taken from the disk.

    Raises:
        MissingDependency: the compiler's packages are not installed.
        EngineError: there are no kernels for this GPU, or the compiler is too old for it.
    """
    sm = target_sm(10 * capability[0] + capability[1])
    return ColumnKernels({sm: compile_cubin(SOURCE, sm)})


def largest_error(kernels: ColumnKernels, device: torch.device, stream: int) -> float:
    """Relative error of a small convolution's result and gradients against torchvision's, in FP32."""
    generator = torch.Generator().manual_seed(0)
    batch, channels, height, width = 2, 64, 19, 21
    shapes = ((channels,), (OFFSET_CHANNELS,), (channels,))
    x, offset, grad = (torch.randn((batch, *each, height, width), generator=generator).to(device) for each in shapes)
    weight, bias = (
        torch.randn(each, generator=generator).to(device) for each in ((channels, channels, 3, 3), channels)
    )
    offset = offset * 2 - 0.3  # inside and outside of what the kernels sum up in shared memory
    found = [convolve(kernels, x, offset, weight, bias, stream)]
    found += gradients(kernels, grad, x, offset, weight, stream)
    with torch.enable_grad():
        leaves = [each.requires_grad_() for each in (x, offset, weight, bias)]
        result = deform_conv2d(leaves[0], leaves[1], leaves[2], leaves[3])
        expected = [result.detach(), *torch.autograd.grad(result, leaves, grad)]
    return max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True))


def convolve(kernels: ColumnKernels, x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, stream: int) -> Tensor:
    """Forward pass of the 3x3 deformable convolution with stride 1 and padding 1.

    Args:
        kernels: for the device on which the tensors lie.
        x: (N, C, H, W) in FP16, BF16 or FP32; C a multiple of 8.
        offset: (N, 18, H, W), (y, x) interleaved per tap.
        weight: (O, C, 3, 3).
        bias: (O,).
        stream: CUDA stream, as a number; the work is queued there.

    Returns:
        (N, O, H, W) channels-last in the type of ``x``.
    """
    x, offset, rows = _dense(x), _dense(offset.float()), rows_of(weight, x.dtype)
    batch, _, height, width = x.shape
    out = x.new_empty((batch, height, width, len(rows)))
    for images in _shares(x):
        features = features_of(x[images])
        columns = x.new_empty((features.pixels, rows.shape[1]))
        kernels.columns(features, x[images].data_ptr(), offset[images].data_ptr(), columns.data_ptr(), stream)
        torch.addmm(bias.to(x.dtype), columns, rows.t(), out=out[images].view(features.pixels, -1))
    return out.permute(0, 3, 1, 2)


def gradients(
    kernels: ColumnKernels, grad: Tensor, x: Tensor, offset: Tensor, weight: Tensor, stream: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`convolve` with respect to ``x``, ``offset``, ``weight`` and ``bias``, in that order.

    Args:
        kernels: as there; so are all others.
        grad: gradient of the result, (N, O, H, W).
        x: see :func:`convolve`.
        offset: see :func:`convolve`.
        weight: see :func:`convolve`.
        stream: see :func:`convolve`.

    Returns:
        The first channels-last in the type of ``x``, the second channels-last in FP32, the others in FP32.
    """
    x, offset, rows = _dense(x), _dense(offset.float()), rows_of(weight, x.dtype)
    grad = _dense(grad.to(x.dtype))
    batch, channels, height, width = x.shape
    outputs, area = len(rows), height * width
    grad_x = torch.zeros((batch, height, width, channels), dtype=torch.float32, device=x.device)
    grad_offset = torch.empty((batch, height, width, OFFSET_CHANNELS), dtype=torch.float32, device=x.device)
    grad_rows = torch.zeros(rows.shape, dtype=torch.float32, device=x.device)
    for images in _shares(x):
        features = features_of(x[images])
        incoming = grad[images].permute(0, 2, 3, 1).reshape(features.pixels, outputs)
        columns = incoming @ rows
        kernels.spread(
            features,
            x[images].data_ptr(),
            offset[images].data_ptr(),
            columns.data_ptr(),
            grad_x[images].data_ptr(),
            grad_offset[images].data_ptr(),
            stream,
        )
        # One product an image: a single one of this shape would keep few multiprocessors busy.
        per_image = incoming.view(-1, area, outputs).transpose(1, 2) @ columns.view(-1, area, rows.shape[1])
        grad_rows += per_image.sum(0, dtype=torch.float32)
    grad_weight = grad_rows.view(outputs, 3, 3, channels).permute(0, 3, 1, 2)
    grad_bias = grad.sum((0, 2, 3), dtype=torch.float32)
    return grad_x.to(x.dtype).permute(0, 3, 1, 2), grad_offset.permute(0, 3, 1, 2), grad_weight, grad_bias


def _dense(tensor: Tensor) -> Tensor:
    """The tensor channels-last and aligned for wide loads; itself, where it lies so already."""
    dense = tensor.contiguous(memory_format=torch.channels_last)
    return dense if dense.data_ptr() % ALIGNMENT == 0 else dense.clone(memory_format=torch.channels_last)


def rows_of(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights (O, C, 3, 3) as a matrix (O, 9 C) in the columns' order."""
    return weight.to(dtype).permute(0, 2, 3, 1).reshape(len(weight), -1)


def features_of(x: Tensor) -> Features:
    """What the kernels are told of features (N, C, H, W)."""
    batch, channels, height, width = x.shape
    return Features(str(x.dtype).removeprefix("torch."), batch, height, width, channels)


def _shares(x: Tensor) -> Iterator[slice]:
    """Spans of images whose columns fit into :data:`MOST_COLUMN_BYTES`, at least one image each."""
    image = x[0].numel() * 9 * x.element_size()
    step = max(1, MOST_COLUMN_BYTES // image)
    return (slice(first, first + step) for first in range(0, len(x), step))


@torch.library.custom_op("dcdr::deform_columns", mutates_args=(), device_types="cuda")
def operator(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """:func:`convolve` as an operator of torch: differentiable, and opaque to ``torch.compile``."""
    with torch.cuda.device(x.device), torch.autocast(x.device.type, enabled=False):
        return convolve(_kernels(x), x, offset, weight, bias, torch.cuda.current_stream().cuda_stream)


@operator.register_fake
def _(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _channels_last(x, weight.shape[0])


@torch.library.custom_op("dcdr::deform_columns_backward", mutates_args=(), device_types="cuda")
def operator_backward(grad: Tensor, x: Tensor, offset: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """:func:`gradients` as an operator of torch."""
    with torch.cuda.device(x.device), torch.autocast(x.device.type, enabled=False):
        return gradients(_kernels(x), grad, x, offset, weight, torch.cuda.current_stream().cuda_stream)


@operator_backward.register_fake
def _(grad: Tensor, x: Tensor, offset: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        _channels_last(x, x.shape[1]),
        _channels_last(offset, OFFSET_CHANNELS, torch.float32),
        _channels_last(weight, weight.shape[1], torch.float32),
        weight.new_empty(weight.shape[0], dtype=torch.float32),
    )


def _channels_last(like: Tensor, channels: int, dtype: torch.dtype | None = None) -> Tensor:
    batch, _, height, width = like.shape
    return like.new_empty((batch, height, width, channels), dtype=dtype or like.dtype).permute(0, 3, 1, 2)


def _kernels(x: Tensor) -> ColumnKernels:
    return kernels_for(torch.cuda.get_device_capability(x.device))


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    x, offset, weight, bias = inputs
    ctx.save_for_backward(x, offset, weight)
    ctx.bias_type = bias.dtype  # type: ignore[attr-defined]


def _backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, ...]:
    x, offset, weight = ctx.saved_tensors  # type: ignore[attr-defined]
    grad_x, grad_offset, grad_weight, grad_bias = operator_backward(grad, x, offset, weight)
    return grad_x, grad_offset.to(offset.dtype), grad_weight.to(weight.dtype), grad_bias.to(ctx.bias_type)  # type: ignore[attr-defined]


operator.register_autograd(_backward, setup_context=_save)


def _form(offset: Tensor, size: torch.Size) -> Convolve:
    """The convolutions of a block that share ``offset``; see :data:`dcdr_deploy.models.blocks.CONVOLUTIONS`."""
    exact = offset.float()

    def apply(x: Tensor, convolution: nn.Conv2d) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):  # features follow it like those of any convolution
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return cast(Tensor, operator(x, exact, convolution.weight, cast(Tensor, convolution.bias)))

    return apply


CONVOLUTIONS[MODE] = _form
