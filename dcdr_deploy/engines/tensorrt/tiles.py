"""Tiles through a network on the GPU, so that copies run beside the computation.

Two streams: one copies, one computes. Two slots, each with page-locked and device memory for a group of tiles, are used
in turn. While group i is computed, the host takes the results of group i - 1 and hands in group i + 1:

    compute stream   [0]            [1]            [2]
    copy stream   up0   up1   down0    up2   down1            down2
    host                    take0            take1                  take2

What is right of an event waits for it: a computation for its upload, a download for its computation, the host for the
download. A slot's memory is written again only after its results were taken, when all work on it is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.cuda.frames import FrameKernels
from dcdr_deploy.engines.cuda.memory import Device, Memory, Stream
from dcdr_deploy.errors import EngineError, EngineOutOfMemory

Shape = tuple[int, int, int]
CHANNELS = 3


class DeviceNetwork(Protocol):
    """A network whose input and output lie in device memory, float32 (N, 3, H, W)."""

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


@dataclass(frozen=True)
class _Group:
    """Tiles that are computed together.

    Attributes:
        start: number of the first tile in the batch.
        stop: number behind the last.
        images: what the network is run with; more than there are tiles where it takes no fewer.
    """

    start: int
    stop: int
    images: int

    @property
    def tiles(self) -> int:
        return self.stop - self.start


class _Slot:
    """Memory and events of one group at a time."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._memory: dict[str, Memory] = {}
        self.uploaded, self.computed, self.downloaded = (device.create_event() for _ in range(3))

    def __getitem__(self, name: str) -> Memory:
        return self._memory[name]

    def reserve(self, incoming: int, outgoing: int) -> None:
        """Make room for so many bytes each way; nothing may be under way."""
        for name, size, allocate in (
            ("host in", incoming, self._device.allocate_pinned),
            ("in", incoming, self._device.allocate),
            ("out", outgoing, self._device.allocate),
            ("host out", outgoing, self._device.allocate_pinned),
        ):
            held = self._memory.get(name)
            if held is not None and held.size >= size:
                continue
            if held is not None:
                del self._memory[name]
                held.free()
            self._memory[name] = allocate(size)

    def release(self) -> None:
        while self._memory:
            self._memory.popitem()[1].free()

    def close(self) -> None:
        self.release()
        for event in (self.uploaded, self.computed, self.downloaded):
            event.close()


class TilePipeline:
    """Runs batches of any number of tiles through a network that takes a few at a time."""

    def __init__(
        self,
        device: Device,
        network: DeviceNetwork,
        frames: FrameKernels | None,
        images: tuple[int, int],
        *,
        half: bool,
    ) -> None:
        """Set up; allocates no memory.

        Args:
            device: the GPU.
            network: what computes.
            frames: the kernels that read codes and write halves; without them batches must be float32, and so are
                the results that travel.
            images: fewest and most tiles that the network takes at once.
            half: results travel in half precision, which loses nothing of an FP16 network's.
        """
        self._network, self._frames = network, frames
        self._fewest, self._most = images
        self._half = half and frames is not None
        self._compute = network.stream
        self._copy = device.create_stream()
        self._slots = (_Slot(device), _Slot(device))

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Run a batch.

        Args:
            batch: (N, H, W, 3) uint8 or uint16 codes, or (N, 3, H, W) float32 in [0, 1]; C-contiguous.

        Returns:
            (N, 3, H, W) float32.

        Raises:
            EngineOutOfMemory: there is no room for it; all memory was given back, for the next try with a smaller tile.
            EngineError: the driver or the network failed.
        """
        height, width = batch.shape[2:] if batch.dtype == np.float32 else batch.shape[1:3]
        groups = self._groups(len(batch))
        values = CHANNELS * height * width * max(group.images for group in groups)
        outgoing = np.dtype(np.float16 if self._half else np.float32)
        try:
            result = np.empty((len(batch), CHANNELS, height, width), np.float32)
            self._network.prepare((group.images, height, width) for group in groups)
            for slot, _ in zip(self._slots, groups, strict=False):
                slot.reserve(values * batch.dtype.itemsize, values * outgoing.itemsize)
            self._pump(batch, groups, result, outgoing)
        except BaseException as error:
            # Nothing may be left under way: the next call, or the end, touches the same memory.
            for stream in (self._copy, self._compute):
                with suppress(EngineError):  # a broken context has nothing under way, and the first error says more
                    stream.synchronise()
            if isinstance(error, EngineOutOfMemory):
                self.release()
            raise
        return result

    def release(self) -> None:
        """Give all memory back; the pipeline can be used again."""
        for slot in self._slots:
            slot.release()
        self._network.release()

    def close(self) -> None:
        """Release everything but the network."""
        for slot in self._slots:
            slot.close()
        self._copy.close()

    def _groups(self, tiles: int) -> list[_Group]:
        starts = range(0, tiles, self._most)
        stops = [min(start + self._most, tiles) for start in starts]
        return [_Group(start, stop, max(stop - start, self._fewest)) for start, stop in zip(starts, stops, strict=True)]

    def _pump(
        self,
        batch: NDArray[Any],
        groups: Sequence[_Group],
        result: NDArray[np.float32],
        outgoing: np.dtype[Any],
    ) -> None:
        """Run all groups; see the module's picture for the order."""
        self._upload(batch, groups[0], self._slots[0])
        for index, group in enumerate(groups):
            slot, other = self._slots[index % 2], self._slots[(index + 1) % 2]
            self._run_group(batch, group, slot)
            if index > 0:
                self._take(result, groups[index - 1], other, outgoing)
            if index + 1 < len(groups):
                # Before this group's download, which would hold the next upload back until the computation is over.
                self._upload(batch, groups[index + 1], other)
            self._download(result, group, slot, outgoing)
        self._take(result, groups[-1], self._slots[(len(groups) - 1) % 2], outgoing)

    def _upload(self, batch: NDArray[Any], group: _Group, slot: _Slot) -> None:
        staged = slot["host in"].view((group.images, *batch.shape[1:]), batch.dtype)
        staged[: group.tiles] = batch[group.start : group.stop]
        staged[group.tiles :] = 0
        self._copy.upload(slot["in"], slot["host in"], staged.nbytes)
        self._copy.record(slot.uploaded)

    def _run_group(self, batch: NDArray[Any], group: _Group, slot: _Slot) -> None:
        height, width = batch.shape[2:] if batch.dtype == np.float32 else batch.shape[1:3]
        values = group.images * CHANNELS * height * width
        network, stream = self._network, self._compute
        stream.wait(slot.uploaded)
        if batch.dtype == np.float32:
            stream.copy(network.source, slot["in"], values * batch.dtype.itemsize)
        else:
            assert self._frames is not None, "codes need the kernels that read them"
            self._frames.to_planes(stream, slot["in"], network.source, batch.dtype, group.images, height * width)
        network.enqueue((group.images, height, width))
        if self._half:
            assert self._frames is not None
            self._frames.to_half(stream, network.result, slot["out"], values)
        else:
            stream.copy(slot["out"], network.result, values * 4)
        stream.record(slot.computed)

    def _download(self, result: NDArray[np.float32], group: _Group, slot: _Slot, outgoing: np.dtype[Any]) -> None:
        self._copy.wait(slot.computed)
        self._copy.download(slot["host out"], slot["out"], group.tiles * result[0].size * outgoing.itemsize)
        self._copy.record(slot.downloaded)

    def _take(self, result: NDArray[np.float32], group: _Group, slot: _Slot, outgoing: np.dtype[Any]) -> None:
        slot.downloaded.synchronise()
        result[group.start : group.stop] = slot["host out"].view((group.tiles, *result.shape[1:]), outgoing)
