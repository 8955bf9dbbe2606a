"""A network that computes planes of float32, seen as one that takes codes and gives halves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from dcdr_deploy.engines.cuda.frames import FrameKernels
from dcdr_deploy.engines.cuda.memory import Memory, Stream
from dcdr_deploy.engines.cuda.tiles import CHANNELS, Shape


class FloatNetwork(Protocol):
    """A network whose input and output lie at places of its own, float32 (N, 3, H, W)."""

    stream: Stream

    @property
    def source(self) -> Memory:
        """Memory of the input."""
        ...

    @property
    def result(self) -> Memory:
        """Memory of the output."""
        ...

    def prepare(self, shapes: Iterable[Shape]) -> None:
        """Make ready to run (images, height, width); may move ``source`` and ``result``."""
        ...

    def enqueue(self, shape: Shape) -> None:
        """Put a run into ``stream``."""
        ...

    def release(self) -> None:
        """Give all memory back."""
        ...


class PlanarNetwork:
    """Such a network between the kernels of ``frames.cu``; a :class:`~dcdr_deploy.engines.cuda.tiles.DeviceNetwork`."""

    interleaved = False
    flagged = False

    def __init__(self, network: FloatNetwork, frames: FrameKernels | None, *, half: bool) -> None:
        """Set up.

        Args:
            network: what computes.
            frames: the kernels that read codes and write halves; without them pictures must be float32, and so are the
                results.
            half: results travel in half precision, which loses nothing of an FP16 network's.
        """
        self._network, self._frames = network, frames
        self._half = half and frames is not None
        self.stream = network.stream
        self._prepared: set[Shape] = set()
        self.outgoing: np.dtype[Any] = np.dtype(np.float16 if self._half else np.float32)

    def is_ready(self, shapes: Iterable[Shape]) -> bool:
        """Tell whether these shapes were prepared last."""
        return self._prepared == set(shapes)

    def prepare(self, shapes: Iterable[Shape]) -> None:
        """Make ready to run these shapes."""
        wanted = list(shapes)
        self._prepared = set()
        self._network.prepare(wanted)
        self._prepared = set(wanted)

    def enqueue(self, shape: Shape, dtype: np.dtype[Any], source: Memory, target: Memory) -> None:
        """Put a run into the stream."""
        network, stream, frames = self._network, self.stream, self._frames
        images, height, width = shape
        values = images * CHANNELS * height * width
        if dtype == np.float32:
            stream.copy(network.source, source, values * dtype.itemsize)
        else:
            assert frames is not None, "codes need the kernels that read them"
            frames.to_planes(stream, source, network.source, dtype, images, height * width)
        network.enqueue(shape)
        if self._half:
            assert frames is not None
            frames.to_half(stream, network.result, target, values)
        else:
            stream.copy(target, network.result, values * self.outgoing.itemsize)

    def release(self) -> None:
        """Give all memory back."""
        self._prepared = set()
        self._network.release()
