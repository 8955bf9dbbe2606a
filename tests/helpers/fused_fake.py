"""A stand-in for the fused kernel that reads the memory behind its pointers on the CPU; blocks and a network for it."""

from __future__ import annotations

import ctypes

import numpy as np
import torch

from dcdr_deploy.engines.cuda.dcrb_from_maps import FromMapsArguments, FromMapsKernels
from dcdr_deploy.engines.cuda.packing import pack_weight, plain_weight
from dcdr_deploy.engines.torch.fused import Block
from dcdr_deploy.modelfile.names import WIDTH
from dcdr_deploy.models import PRESETS, DCDRUNet, initialise, ops
from dcdr_deploy.models.deform import deform_conv2d_gather

TAPS = 9


def memory(address: int, count: int, dtype: type) -> np.ndarray:
    """``count`` numbers at an address, as an array that shares their memory."""
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_ubyte * size).from_address(address), dtype)


class FakeKernels:
    """Computes blocks in FP32 from and into host memory; keeps the arguments of its calls and their streams."""

    def __init__(self) -> None:
        self.calls: list[tuple[FromMapsArguments, int]] = []

    workspace_bytes = staticmethod(FromMapsKernels.workspace_bytes)

    def launch(self, arguments: FromMapsArguments, stream: int) -> None:
        a = arguments
        self.calls.append((a, stream))
        dtype = np.float16 if a.fp16 else np.float32
        count = a.batch * a.height * a.width * WIDTH
        assert self.workspace_bytes(a.batch, a.height, a.width, a.fp16) == count * np.dtype(dtype).itemsize
        # What the kernel may use as scratch holds nothing that is still needed.
        memory(a.workspace, count, dtype)[:] = np.nan
        memory(a.out, count, dtype)[:] = np.nan
        z, s1, t1, s2, t2 = (self._map(address, a) for address in (a.z, a.s1, a.t1, a.s2, a.t2))
        w1, w2 = (self._weight(address, a.fp16) for address in (a.w1, a.w2))
        b1, b2 = (torch.from_numpy(memory(address, WIDTH, np.float32).copy()) for address in (a.b1, a.b2))
        result = ops.dcrb_composed(z, self._offset(a), s1, t1, s2, t2, w1, b1, w2, b2).numpy()
        stored = result.transpose(0, 2, 3, 1) if a.fp16 else result
        memory(a.out, count, dtype)[:] = stored.reshape(-1).astype(dtype)

    @staticmethod
    def _map(address: int, a: FromMapsArguments) -> torch.Tensor:
        count = a.batch * a.height * a.width * WIDTH
        if a.fp16:
            values = memory(address, count, np.float16).reshape(a.batch, a.height, a.width, WIDTH)
            values = values.transpose(0, 3, 1, 2)
        else:
            values = memory(address, count, np.float32).reshape(a.batch, WIDTH, a.height, a.width)
        return torch.from_numpy(values.astype(np.float32))

    @staticmethod
    def _offset(a: FromMapsArguments) -> torch.Tensor:
        dtype = np.float16 if a.fp16 else np.float32
        image, channel, pixel = a.offset_strides
        indices = (
            np.arange(a.batch)[:, None, None] * image
            + np.arange(2 * TAPS)[:, None] * channel
            + np.arange(a.height * a.width) * pixel
        )
        values = memory(a.offset, int(indices.max()) + 1, dtype)[indices]
        return torch.from_numpy(values.reshape(a.batch, 2 * TAPS, a.height, a.width).astype(np.float32))

    @staticmethod
    def _weight(address: int, fp16: bool) -> torch.Tensor:
        """The weights (64, 64, 3, 3) behind packed ones, by packing every element's number."""
        pack, dtype = (pack_weight, np.float16) if fp16 else (plain_weight, np.float32)
        count = WIDTH * WIDTH * TAPS
        numbers = np.arange(count).reshape(WIDTH, WIDTH, 3, 3)
        order = (
            (pack((numbers // 512).astype(np.float32)).astype(int)) * 512
            + pack((numbers % 512).astype(np.float32)).astype(int)
        ).reshape(-1)
        weight = np.empty(count, np.float32)
        weight[order] = memory(address, count, dtype)
        return torch.from_numpy(weight.reshape(WIDTH, WIDTH, 3, 3))


def make_block(
    batch: int = 1,
    height: int = 5,
    width: int = 7,
    *,
    dtype: torch.dtype = torch.float16,
    channels: int = 64,
    reach: float = 3.0,
    device: str = "cpu",
    seed: int = 0,
) -> Block:
    """A block of random values; offsets of a spread of ``reach`` pixels, so that some point outside."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int, scale: float) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) * scale).to(device, dtype)

    size = (height, width)
    maps = [random(batch, channels, *size, scale=scale) for scale in (0.5, 0.3, 0.3, 0.3, 0.3)]
    offset = random(batch, 18, *size, scale=reach)
    weights = []
    for _ in range(2):
        weights += [random(channels, channels, 3, 3, scale=0.03), random(channels, scale=0.1)]
    return Block(maps[0], offset, *maps[1:], *weights)


def exact(block: Block) -> torch.Tensor:
    """The block in FP64 from the same numbers, written from its definition."""
    z, offset, gain1, shift1, gain2, shift2, weight1, bias1, weight2, bias2 = (each.cpu().double() for each in block)
    hidden = torch.relu(deform_conv2d_gather(z + gain1 * z + shift1, offset, weight1, bias1))
    return z + deform_conv2d_gather(hidden + gain2 * hidden + shift2, offset, weight2, bias2)


def channels_last(block: Block) -> Block:
    return Block(*(each.to(memory_format=torch.channels_last) if each.ndim == 4 else each for each in block))


def demo_network() -> DCDRUNet:
    """The paper's network with offsets of about a pixel."""
    network = DCDRUNet(PRESETS["paper"])
    initialise(network)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block in network.deformable_blocks().values():
            block.offset.weight.copy_(torch.randn(block.offset.weight.shape, generator=generator) * 0.05)
            block.offset.bias.copy_(torch.randn(18, generator=generator))
    return network.eval()
