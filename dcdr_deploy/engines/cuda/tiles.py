"""Tiles through a network on the GPU, so that copies run beside the computation.

Three streams: one copies up, one computes, one copies down. Two slots, each with device memory for a group of tiles,
are used in turn. Nobody waits but the host, and only for a slot that it needs again, so a call can be begun while the
one before is computed:

    up        up0   up1          up2
    compute      [0]        [1]        [2]
    down               down0      down1      down2
    host      0     1     (0)    2     (1)      (2)      (i): has the result of i

What is right of an event waits for it: a computation for its upload, a download for its computation, the host for the
download. A slot is used again only after its download, when all work on it is over.

Results come down into page-locked arrays that are handed out as they are; batches that lie in such arrays go up from
there, others are copied into one first.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.cuda.memory import Device, Event, Memory, Place, Stream
from dcdr_deploy.engines.cuda.pinned import PinnedArrays
from dcdr_deploy.errors import EngineError, EngineOutOfMemory, NonFiniteError

Shape = tuple[int, int, int]
CHANNELS = 3
FLAG_BYTES = 4

Pending = Callable[[], NDArray[np.float32]]
"""Waits for a result and returns it; may be called from any thread, once."""


class DeviceNetwork(Protocol):
    """A network that reads pictures and writes results in device memory.

    Attributes:
        stream: where it computes.
        outgoing: type of its results.
        interleaved: results are (N, H, W, 3); else (N, 3, H, W).
        flagged: behind the results it writes a uint32 that is not 0 where NaN or infinity is among them.
    """

    stream: Stream
    outgoing: np.dtype[Any]
    interleaved: bool
    flagged: bool

    def is_ready(self, shapes: Iterable[Shape]) -> bool:
        """Tell whether :meth:`prepare` would move nothing, so that work may be under way meanwhile."""
        ...

    def prepare(self, shapes: Iterable[Shape]) -> None:
        """Make ready to run (images, height, width). Nothing is under way, unless :meth:`is_ready` said so."""
        ...

    def enqueue(self, shape: Shape, dtype: np.dtype[Any], source: Memory, target: Memory) -> None:
        """Put a run into ``stream``: from codes (N, H, W, 3) or float32 (N, 3, H, W) to results."""
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


class _Slot:
    """Device memory and events of one group at a time, and the arrays that it is copied from and to."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._memory: dict[str, Memory] = {}
        self.uploaded, self.computed, self.downloaded = (device.create_event() for _ in range(3))
        self.arrays: tuple[NDArray[Any], ...] = ()

    def __getitem__(self, name: str) -> Memory:
        return self._memory[name]

    def must_move(self, incoming: int, outgoing: int) -> bool:
        """Tell whether memory has to be given back to make room for so many bytes each way."""
        sizes = {"in": incoming, "out": outgoing}
        return any(memory.size < sizes[name] for name, memory in self._memory.items())

    def reserve(self, incoming: int, outgoing: int) -> None:
        """Make room for so many bytes each way; nothing may be under way."""
        for name, size in (("in", incoming), ("out", outgoing)):
            held = self._memory.get(name)
            if held is not None and held.size >= size:
                continue
            if held is not None:
                del self._memory[name]
                held.free()
            self._memory[name] = self._device.allocate(size)

    def release(self) -> None:
        self.arrays = ()
        while self._memory:
            self._memory.popitem()[1].free()

    def close(self) -> None:
        self.release()
        for event in (self.uploaded, self.computed, self.downloaded):
            event.close()


class TilesInFlight:
    """Runs batches of any number of tiles through a network that takes a few at a time."""

    def __init__(self, device: Device, network: DeviceNetwork, images: tuple[int, int]) -> None:
        """Set up; allocates no memory.

        Args:
            device: the GPU.
            network: what computes.
            images: fewest and most tiles that the network takes at once.
        """
        self._device, self._network = device, network
        self._fewest, self._most = images
        self._compute = network.stream
        self._up, self._down = device.create_stream(), device.create_stream()
        self._slots = (_Slot(device), _Slot(device))
        self._oldest = 0
        self._arrays = PinnedArrays(device)
        self._begun: set[Event] = set()
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return an array to hand in that goes up without being copied once more."""
        with self._lock:
            return self._arrays.empty(shape, dtype)

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Run a batch; see :meth:`start`."""
        return self.start(batch)()

    def start(self, batch: NDArray[Any]) -> Pending:
        """Begin to run a batch, which must not change before the result is there.

        Args:
            batch: (N, H, W, 3) uint8 or uint16 codes, or (N, 3, H, W) float32 in [0, 1]; C-contiguous.

        Returns:
            What waits for the result, (N, 3, H, W) float32; where the network's results are interleaved, it is a view
            of an array (N, H, W, 3).

        Raises:
            EngineOutOfMemory: there is no room for it; all memory was given back, for the next try with a smaller tile.
            EngineError: the driver or the network failed.
            NonFiniteError: when the result is waited for: NaN or infinity is among it; names the tile.
        """
        with self._lock, self._settled():
            height, width = batch.shape[2:] if batch.dtype == np.float32 else batch.shape[1:3]
            groups = self._groups(len(batch))
            size = (height, width, CHANNELS) if self._network.interleaved else (CHANNELS, height, width)
            shapes = {(group.images, height, width) for group in groups}
            if not self._network.is_ready(shapes):
                self._wait()
                self._arrays.trim()
            self._network.prepare(shapes)
            landing, flags = self._land((len(batch), *size), len(groups))
            for number, group in enumerate(groups):
                slot = self._free_slot(batch, landing, group)
                self._upload(batch, group, slot)
                self._compute.wait(slot.uploaded)
                self._network.enqueue((group.images, height, width), batch.dtype, slot["in"], slot["out"])
                self._compute.record(slot.computed)
                self._down.wait(slot.computed)
                part = landing[group.start : group.stop]
                self._down.download(Place(part.ctypes.data), slot["out"], part.nbytes)
                if self._network.flagged:
                    flag = Place(slot["out"].address + landing[0].nbytes * group.images)
                    self._down.download(Place(flags[number:].ctypes.data), flag, FLAG_BYTES)
                self._down.record(slot.downloaded)
            done = self._device.create_event()
            self._begun.add(done)
            self._down.record(done)
        return lambda: self._finish(landing, flags, done)

    def _finish(self, landing: NDArray[Any], flags: NDArray[np.uint32], done: Event) -> NDArray[np.float32]:
        self._device.activate()
        try:
            done.synchronise()
        finally:
            self._begun.discard(done)
            done.close()
        if flags.any():
            tile = next((number for number, each in enumerate(landing) if not np.isfinite(each).all()), None)
            raise NonFiniteError("NaN or infinity is among the results", tile)
        result: NDArray[np.float32] = landing.astype(np.float32, copy=False)
        return result.transpose(0, 3, 1, 2) if self._network.interleaved else result

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """See to it that nothing is under way after a failure: the next call, or the end, touches the same memory."""
        try:
            yield
        except BaseException as error:
            self._wait()
            if isinstance(error, EngineOutOfMemory):
                self._release()
            raise

    def _wait(self) -> None:
        for stream in (self._up, self._compute, self._down):
            with suppress(EngineError):  # a broken context has nothing under way, and the first error says more
                stream.synchronise()

    def release(self) -> None:
        """Give all memory back, results' excepted; it can be used again."""
        with self._lock:
            self._wait()
            self._release()

    def _release(self) -> None:
        for slot in self._slots:
            slot.release()
        self._arrays.release()
        self._network.release()

    def close(self) -> None:
        """Release everything but the network. Results that were begun have to be waited for before."""
        self._wait()
        for slot in self._slots:
            slot.close()
        self._arrays.close()
        for event in self._begun:  # of results that nobody asked for
            event.close()
        self._begun.clear()
        for stream in (self._up, self._down):
            stream.close()

    def _groups(self, tiles: int) -> list[_Group]:
        starts = range(0, tiles, self._most)
        stops = [min(start + self._most, tiles) for start in starts]
        return [_Group(start, stop, max(stop - start, self._fewest)) for start, stop in zip(starts, stops, strict=True)]

    def _land(self, shape: tuple[int, ...], groups: int) -> tuple[NDArray[Any], NDArray[np.uint32]]:
        """Return arrays for results and the groups' flags, in one piece of memory."""
        dtype = self._network.outgoing
        flags_at = -(-math.prod(shape) * dtype.itemsize // FLAG_BYTES) * FLAG_BYTES
        raw = self._arrays.empty((flags_at + groups * FLAG_BYTES,), np.uint8)
        raw[flags_at:] = 0
        return np.frombuffer(raw, dtype, math.prod(shape)).reshape(shape), raw[flags_at:].view(np.uint32)

    def _free_slot(self, batch: NDArray[Any], landing: NDArray[Any], group: _Group) -> _Slot:
        """Return a slot on which no work is left, with room for a group: one that is free, else the older one."""
        free = next((number for number, slot in enumerate(self._slots) if slot.downloaded.reached), None)
        number = self._oldest if free is None else free
        self._oldest, slot = 1 - number, self._slots[number]
        if free is None:
            slot.downloaded.synchronise()
        slot.arrays = (batch, landing)
        incoming, outgoing = batch[0].nbytes * group.images, landing[0].nbytes * group.images + FLAG_BYTES
        if slot.must_move(incoming, outgoing):
            self._wait()
        slot.reserve(incoming, outgoing)
        return slot

    def _upload(self, batch: NDArray[Any], group: _Group, slot: _Slot) -> None:
        tiles = batch[group.start : group.stop]
        if group.images > len(tiles) or not self._arrays.holds(batch):
            staged = self._arrays.empty((group.images, *batch.shape[1:]), batch.dtype)
            staged[: len(tiles)] = tiles
            staged[len(tiles) :] = 0
            slot.arrays = (*slot.arrays, staged)
            tiles = staged
        self._up.upload(slot["in"], Place(tiles.ctypes.data), tiles.nbytes)
        self._up.record(slot.uploaded)
