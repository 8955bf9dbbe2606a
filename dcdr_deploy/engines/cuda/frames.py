"""The kernels between pictures and a network: codes to planes before it, planes to half precision behind it."""

from __future__ import annotations

from typing import Any

import numpy as np

from dcdr_deploy.engines.cuda.driver import Library
from dcdr_deploy.engines.cuda.memory import Device, Memory, Stream

SOURCE = "frames"
"""Name of the CUDA source among those of :mod:`dcdr_deploy.engines.cuda.compiler`."""

_KERNEL_OF = {np.dtype(np.uint8): "codes8_to_planes", np.dtype(np.uint16): "codes16_to_planes"}
_CODES_TYPES = "ppll"
_HALF_TYPES = "ppl"
_BLOCK = 256
_LARGEST_GRID = 1 << 16
"""Blocks; the kernels' loops take the rest."""


class FrameKernels:
    """The kernels of ``frames.cu`` on one GPU."""

    def __init__(self, library: Library) -> None:
        self._to_planes = {dtype: library.kernel(name, _CODES_TYPES, _BLOCK) for dtype, name in _KERNEL_OF.items()}
        self._to_half = library.kernel("planes_to_half", _HALF_TYPES, _BLOCK)

    def to_planes(
        self, stream: Stream, source: Memory, planes: Memory, dtype: np.dtype[Any], images: int, pixels: int
    ) -> None:
        """Put into a stream: codes (images, pixels, 3) of ``dtype`` -> float32 (images, 3, pixels) in [0, 1]."""
        values = (source.address, planes.address, images, pixels)
        self._to_planes[dtype].launch(_grid(images * pixels), int(stream.handle), values)

    def to_half(self, stream: Stream, planes: Memory, halves: Memory, count: int) -> None:
        """Put into a stream: ``count`` float32 -> float16, rounded to nearest."""
        self._to_half.launch(_grid(count), int(stream.handle), (planes.address, halves.address, count))


def _grid(work: int) -> int:
    return min(-(-work // _BLOCK), _LARGEST_GRID)


def load_frame_kernels(device: Device) -> FrameKernels:
    """Compile the kernels for a GPU, or take them from the cache, and load them.

    Raises:
        MissingDependency: the compiler is not installed.
        EngineError: it, or the GPU, refuses the kernels.
    """
    from dcdr_deploy.engines.cuda.compiler import compile_cubin

    return FrameKernels(device.load_library(compile_cubin(SOURCE, device.sm)))
