"""The fused kernel behind torch's operator ``dcdr::dcrb``: FP16 blocks of 64 channels on NVIDIA GPUs.

Importing this module registers the implementation for CUDA. It takes what the kernel computes, which is FP16 inference
with 64 channels; everything else goes to the composition of torch's own operators, as before. Nothing is compiled until
the first block runs, or :func:`prepare` is called.

The kernel wants features channels-last, weights in its own order and FP32 biases. Weights are brought into that order
on the device, once for every weight tensor. Offsets are taken as they are, whatever their strides.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from dcdr_deploy.engines.cuda.compiler import compile_cubin, target_sm
from dcdr_deploy.engines.cuda.dcrb_from_maps import SOURCE, FromMapsArguments, FromMapsKernels
from dcdr_deploy.engines.cuda.packing import pack_weight, plain_weight
from dcdr_deploy.imaging.half import HALF_MAX
from dcdr_deploy.modelfile.names import OFFSET_CHANNELS, WIDTH
from dcdr_deploy.models import ops
from dcdr_deploy.models.blocks import DCRB

ALIGNMENT = 16
"""Bytes; the kernel loads eight FP16 channels at a time."""


class Block(NamedTuple):
    """The inputs of ``dcdr::dcrb``, in its order; shapes as in :func:`dcdr_deploy.models.ops.dcrb`."""

    z: Tensor
    offset: Tensor
    gain1: Tensor
    shift1: Tensor
    gain2: Tensor
    shift2: Tensor
    weight1: Tensor
    bias1: Tensor
    weight2: Tensor
    bias2: Tensor


def takes(block: Block) -> bool:
    """Tell whether the fused kernel computes a block: FP16 throughout, 64 channels, and no gradient wanted."""
    height, width = block.z.shape[2:]
    maps = (block.z, block.gain1, block.shift1, block.gain2, block.shift2)
    shapes_fit = (
        all(tensor.shape == block.z.shape for tensor in maps)
        and block.z.shape[1] == WIDTH
        and block.offset.shape == (block.z.shape[0], OFFSET_CHANNELS, height, width)
        and block.weight1.shape == block.weight2.shape == (WIDTH, WIDTH, 3, 3)
        and block.bias1.shape == block.bias2.shape == (WIDTH,)
        and block.z.numel() > 0
    )
    wants_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in block)
    return shapes_fit and not wants_gradient and all(tensor.dtype == torch.float16 for tensor in block)


def run_block(kernels: FromMapsKernels, block: Block, stream: int) -> Tensor:
    """Compute a block by the kernel, FP16 or FP32.

    Can be recorded in a CUDA graph once it has run: weights are prepared at the first call.

    Args:
        kernels: the kernel, for the device on which the tensors lie.
        block: FP16 or FP32 throughout, 64 channels. Any strides: what does not lie as the kernel wants it is copied.
        stream: CUDA stream, as a number; the work is queued there.

    Returns:
        (N, 64, H, W) in the type of ``block.z``; FP16 in channels-last order, FP32 in NCHW.

    Raises:
        EngineError: the driver refused.
    """
    fp16 = block.z.dtype == torch.float16
    order = torch.channels_last if fp16 else torch.contiguous_format
    batch, _, height, width = block.z.shape
    maps = [_dense(tensor, order) for tensor in (block.z, block.gain1, block.shift1, block.gain2, block.shift2)]
    weights = [PREPARED.get(weight, _pack_fp16 if fp16 else _pack_fp32) for weight in (block.weight1, block.weight2)]
    biases = [PREPARED.get(bias, _float32) for bias in (block.bias1, block.bias2)]
    offset = block.offset if pixel_strides(block.offset) is not None else block.offset.contiguous()
    strides = pixel_strides(offset)
    assert strides is not None  # a contiguous tensor has them
    out = torch.empty_like(maps[0])
    # From torch's allocator: it knows the stream, and memory of a recorded graph stays the graph's.
    workspace = torch.empty(
        kernels.workspace_bytes(batch, height, width, fp16), dtype=torch.uint8, device=block.z.device
    )
    z, gain1, shift1, gain2, shift2 = (tensor.data_ptr() for tensor in maps)
    arguments = FromMapsArguments(
        batch=batch,
        height=height,
        width=width,
        fp16=fp16,
        z=z,
        offset=offset.data_ptr(),
        s1=gain1,
        t1=shift1,
        s2=gain2,
        t2=shift2,
        w1=weights[0].data_ptr(),
        b1=biases[0].data_ptr(),
        w2=weights[1].data_ptr(),
        b2=biases[1].data_ptr(),
        out=out.data_ptr(),
        workspace=workspace.data_ptr(),
        offset_strides=strides,
    )
    kernels.launch(arguments, stream)
    return out


def _dense(tensor: Tensor, order: torch.memory_format) -> Tensor:
    """Return the tensor in this order and aligned for wide loads; itself, where it lies so already."""
    dense = tensor.contiguous(memory_format=order)
    return dense if dense.data_ptr() % ALIGNMENT == 0 else dense.clone()


def pixel_strides(offset: Tensor) -> tuple[int, int, int] | None:
    """Return the strides of a map (N, C, H, W) by image, channel and pixel, in elements.

    ``None`` where its pixels are not evenly spaced in row order. Planar and channels-last maps have such strides, also
    where channels were cut off or padded.
    """
    height, width = offset.shape[2:]
    image, channel, row, column = offset.stride()
    # torch leaves the stride of an axis of one element open.
    pixel = column if width > 1 else row
    if height > 1 and width > 1 and row != width * column:
        return None
    return image, channel, pixel


class PreparedWeights:
    """What was made of weight tensors, kept as long as they live and do not change."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], tuple[StorageWeakRef, int, Tensor]] = {}

    def get(self, tensor: Tensor, prepare: Callable[[Tensor], Tensor]) -> Tensor:
        """Return ``prepare(tensor)``, made at the first call for this tensor and this function."""
        # The weak reference keeps the number of the storage from being given to another one while it is in here.
        storage = StorageWeakRef(tensor.untyped_storage())
        version = 0 if tensor.is_inference() else tensor._version
        key = (storage.cdata, tensor.storage_offset(), tensor.stride(), prepare)
        known = self._kept.get(key)
        if known is not None and known[1] == version:
            return known[2]
        with torch.no_grad():
            made = prepare(tensor)
        self._kept = {name: entry for name, entry in self._kept.items() if not entry[0].expired()}
        self._kept[key] = (storage, version, made)
        return made

    def __len__(self) -> int:
        return len(self._kept)


PREPARED = PreparedWeights()


@functools.cache
def _order(pack: Callable[[Any], Any]) -> Any:
    """Return the numbers of the elements of a weight (64, 64, 3, 3) in the order of ``pack``, in its result's shape.

    Found by packing numbers, in two digits because FP16 holds whole numbers up to 2048 only. This way the order is
    written down in one place, and weights need not leave the device for it.
    """
    numbers = np.arange(WIDTH * WIDTH * 9).reshape(WIDTH, WIDTH, 3, 3)
    low, high = (
        np.asarray(pack(digit.astype(np.float32))).astype(np.int64) for digit in (numbers % 1024, numbers // 1024)
    )
    return high * 1024 + low


def _packed(weight: Tensor, pack: Callable[[Any], Any], dtype: torch.dtype) -> Tensor:
    order = torch.from_numpy(_order(pack)).to(weight.device)
    return weight.detach().to(dtype).contiguous().reshape(-1)[order.reshape(-1)].reshape(order.shape)


def _pack_fp16(weight: Tensor) -> Tensor:
    return _packed(weight, pack_weight, torch.float16)


def _pack_fp32(weight: Tensor) -> Tensor:
    return _packed(weight, plain_weight, torch.float32)


def _float32(bias: Tensor) -> Tensor:
    # A copy even of FP32: what is kept must not keep the weight alive.
    return bias.detach().to(torch.float32, copy=True).contiguous()


def compute_capability(device: int) -> int:
    """Return a GPU's compute capability as two or three digits, such as 86."""
    major, minor = torch.cuda.get_device_capability(device)
    return major * 10 + minor


@functools.cache
def kernels_for(sm: int) -> FromMapsKernels:
    """Return the kernel for GPUs of a compute capability; it is compiled once, and then taken from the disk.

    Raises:
        MissingDependency: the compiler's packages are not installed.
        EngineError: there is no kernel for this GPU, or the compiler is too old for it.
    """
    target = target_sm(sm)
    return FromMapsKernels({target: compile_cubin(SOURCE, target)})


def prepare(device: int) -> None:
    """Compile the kernel for a GPU and load it there, so that what stands in its way is known before a picture runs.

    Raises:
        MissingDependency, EngineError: as :func:`kernels_for`, or the driver refused.
    """
    with torch.cuda.device(device):
        torch.cuda.synchronize()  # makes the device's context the current one of this thread
        kernels_for(compute_capability(device)).prepare()


def obstacle(network: Any) -> str | None:
    """Return why a network cannot run in FP16 with the fused kernel, ``None`` if it can."""
    blocks = [module for module in network.modules() if isinstance(module, DCRB)]
    if any(block.dcv1.in_channels != WIDTH for block in blocks):
        return f"the fused kernel is made for {WIDTH} channels, the network has {blocks[0].dcv1.in_channels}"
    if any(block.deformable and not block.sft1.conditioned for block in blocks):
        return "the fused kernel is made for blocks with condition maps, the network has no condition net"
    for name, values in network.state_dict().items():
        largest = float(values.detach().abs().max()) if values.numel() else 0.0
        if largest > HALF_MAX:
            return f"{name} holds {largest:.3g}, too large for FP16"
    return None


@ops.dcrb.register_kernel("cuda")
def _dcrb_cuda(*tensors: Tensor) -> Tensor:
    return compute(Block(*tensors))


def compute(block: Block) -> Tensor:
    """Compute a block on the GPU, by the kernel if it :func:`takes` it, else composed; the strides are those of ``z``.

    Raises:
        MissingDependency, EngineError: as :func:`kernels_for`.
    """
    if not takes(block):
        return ops.dcrb_composed(*block)
    device = block.z.device.index
    # The operator is called with whatever device is current; the driver launches on that of its context.
    with torch.cuda.device(device):
        result = run_block(kernels_for(compute_capability(device)), block, torch.cuda.current_stream().cuda_stream)
        return result if result.stride() == block.z.stride() else torch.empty_like(block.z).copy_(result)
