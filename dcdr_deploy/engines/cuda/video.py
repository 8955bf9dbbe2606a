"""The passes over whole frames of video on a GPU: the kernels of ``video.cu``, and the memory that they work in.

Every call has a stream and memory of its own, so that several threads' frames are copied and computed side by side; as
many at a time as there are slots. Nothing stays on the GPU between calls but tables: a frame goes up twice, which takes
less than to hold what waits for the network.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.cuda.compiler import compile_cubin
from dcdr_deploy.engines.cuda.driver import Library
from dcdr_deploy.engines.cuda.memory import Device, Memory, Place
from dcdr_deploy.engines.passes import STOPS_BINS, Averaged, Clipping, Finished, Samples, Signal
from dcdr_deploy.errors import EngineError

SOURCE = "video"
"""Name of the CUDA source among those of :mod:`dcdr_deploy.engines.cuda.compiler`."""

SLOTS = 4
"""Frames at a time: one is copied up, one computed, one copied down, and the processor moves one to or from there."""

_BLOCK = 256
_ALIGNED = 256
_POSITIVE = 1 << 20
"""Entries of a table of imaging/lookup.py that stand for numbers that are not negative."""

_TYPES = {"planes": "pppp" + "iiiiii", "pixels": "p"}
"""Of the arguments that say where a frame lies and how."""

_AVERAGE_TYPES = "pppp" + "iiiiii"
_FINISH_TYPES = "ppp" + "iiiii" + "pppp" + "ppp" + "pp" + "iii"


class VideoKernels:
    """The kernels of ``video.cu`` on one GPU."""

    def __init__(self, library: Library) -> None:
        kinds = {"planes8": "planes", "planes16": "planes", "pixels": "pixels"}
        self._average, self._finish = (
            {name: library.kernel(f"{what}_{name}", _TYPES[kind] + types, _BLOCK) for name, kind in kinds.items()}
            for what, types in (("average", _AVERAGE_TYPES), ("finish", _FINISH_TYPES))
        )

    def average(self, samples: Samples, source: Sequence[int], rest: Sequence[int], stream: int) -> None:
        """Put the averaging of a frame on a stream.

        Args:
            samples: the frame.
            source: addresses of its planes, three (0 where there is none) and of its matrix; or of its codes.
            rest: the kernel's other arguments.
            stream: the stream.
        """
        cells = rest[6] * rest[7]
        self._average[_kind(samples)].launch(-(-cells // _BLOCK), stream, (*source, *_layout(samples), *rest))

    def finish(self, samples: Samples, source: Sequence[int], rest: Sequence[int], blocks: int, stream: int) -> None:
        """Put the second pass over a frame on a stream; as :meth:`average`."""
        self._finish[_kind(samples)].launch(blocks, stream, (*source, *_layout(samples), *rest))


def _kind(samples: Samples) -> str:
    if samples.matrix is None:
        return "pixels"
    return "planes8" if samples.planes[0].dtype == np.uint8 else "planes16"


def _layout(samples: Samples) -> tuple[int, ...]:
    if samples.matrix is None:
        return ()
    rows, columns = samples.planes[-1].shape
    return rows, columns, samples.across, samples.down, int(samples.centred), int(samples.level)


class _Slot:
    """A stream, and memory on both sides for what goes up and what comes down."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._memory: dict[str, tuple[Memory, Memory]] = {}
        self.stream = device.create_stream()

    @property
    def handle(self) -> int:
        """The stream's."""
        return int(self.stream.handle)

    def send(self, arrays: Sequence[NDArray[Any]]) -> list[int]:
        """Put arrays on their way up; return where they will be."""
        places = _places([array.nbytes for array in arrays])
        here, there = self._room("up", places[-1])
        for array, place, end in zip(arrays, places, places[1:], strict=False):
            np.copyto(here.view((end,), np.uint8)[place : place + array.nbytes].view(array.dtype), array.reshape(-1))
        self.stream.upload(there, here, places[-1])
        return [there.address + place for place in places[:-1]]

    def landing(self, shapes: Sequence[tuple[tuple[int, ...], Any]]) -> Landing:
        """Return room for arrays of these shapes and types, which come down together."""
        sizes = [int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in shapes]
        places = _places(sizes)
        return Landing(*self._room("down", places[-1]), places, shapes)

    def _room(self, name: str, size: int) -> tuple[Memory, Memory]:
        held = self._memory.get(name)
        if held is None or held[0].size < size:
            self._free(name)
            here = self._device.allocate_pinned(size)
            try:
                held = self._memory[name] = here, self._device.allocate(size)
            except EngineError:
                here.free()
                raise
        return held

    def _free(self, name: str) -> None:
        for memory in self._memory.pop(name, ()):
            memory.free()

    def close(self) -> None:
        for name in list(self._memory):
            self._free(name)
        self.stream.close()


class Landing:
    """Results of one call in memory of a slot."""

    def __init__(
        self, here: Memory, there: Memory, places: list[int], shapes: Sequence[tuple[tuple[int, ...], Any]]
    ) -> None:
        self._here, self._there, self._places, self._shapes = here, there, places, shapes

    def clear(self, slot: _Slot, number: int) -> None:
        """Fill one of them with zeros."""
        start, end = self._places[number : number + 2]
        slot.stream.clear(Place(self._there.address + start), end - start)

    def addresses(self) -> list[int]:
        """Return where they lie on the device."""
        return [self._there.address + place for place in self._places[:-1]]

    def collect(self, slot: _Slot) -> list[NDArray[Any]]:
        """Wait for them; they hold until the slot is used again."""
        slot.stream.download(self._here, self._there, self._places[-1])
        slot.stream.synchronise()
        raw = self._here.view((self._places[-1],), np.uint8)
        sizes = (int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in self._shapes)
        return [
            raw[place : place + size].view(dtype).reshape(shape)
            for place, size, (shape, dtype) in zip(self._places, sizes, self._shapes, strict=False)
        ]


def _places(sizes: Sequence[int]) -> list[int]:
    """Return where things of so many bytes begin, and where the last one ends."""
    places = [0]
    for size in sizes:
        places.append(places[-1] + -(-size // _ALIGNED) * _ALIGNED)
    return places


class FramesOnDevice:
    """:class:`~dcdr_deploy.engines.passes.FramePasses` on one GPU."""

    def __init__(self, device: Device, kernels: VideoKernels) -> None:
        """Set up; what goes through it allocates its memory."""
        self._device, self._kernels = device, kernels
        self._made: list[_Slot] = []
        self._free: queue.LifoQueue[_Slot | None] = queue.LifoQueue()
        for _ in range(SLOTS):
            self._free.put(None)  # made when it is needed
        self._lock = threading.Lock()
        self._tables: dict[int, tuple[NDArray[Any], int]] = {}

    def average(self, samples: Samples, clipping: Clipping, size: tuple[int, int]) -> Averaged:
        """As of the protocol."""
        height, width = samples.size
        with self._slot() as slot:
            landing = slot.landing([((*size, 5), np.float32), ((1,), np.uint32)])
            landing.clear(slot, 1)
            source = self._source(slot, samples, [])[0]
            tables = self._table(clipping.light), self._table(clipping.weight)
            rest = (*tables, *landing.addresses(), height, width, *size, clipping.least, clipping.gray)
            self._kernels.average(samples, source, rest, slot.handle)
            cells, coloured = landing.collect(slot)
            light, weight, clipped = (cells[..., part].copy() for part in (slice(0, 3), slice(3, 4), slice(4, 5)))
            return Averaged(light, weight, clipped, gray=not coloured[0])

    def finish(
        self,
        samples: Samples,
        clipping: Clipping,
        field: NDArray[np.float32],
        signal: Signal,
        planes: tuple[NDArray[np.uint16], ...],
    ) -> Finished:
        """As of the protocol."""
        (height, width), size = samples.size, field.shape[:2]
        chroma = (-(-height // signal.down), -(-width // signal.across))
        luma = (chroma[0] * signal.down, chroma[1] * signal.across)
        blocks = -(-chroma[0] * chroma[1] // _BLOCK)
        with self._slot() as slot:
            shapes = [(each, np.uint16) for each in (luma, chroma, chroma)]
            landing = slot.landing([*shapes, ((STOPS_BINS + 1,), np.uint32), ((blocks, 2), np.float32)])
            landing.clear(slot, 3)
            more = [np.ascontiguousarray(field, np.float32), _numbers(signal)]
            source, (there, numbers) = self._source(slot, samples, more)
            tables = self._table(clipping.light), self._table(clipping.weight)
            curves = tuple(map(self._curve, (signal.curves.roll, signal.curves.transfer, signal.curves.scene)))
            rest = (*tables, there, height, width, *size, clipping.least, numbers, *curves, *landing.addresses())
            rest = (*rest, signal.across, signal.down, int(signal.level))
            self._kernels.finish(samples, source, rest, blocks, slot.handle)
            *made, bins, levels = landing.collect(slot)
            for place, plane in zip(planes, made, strict=True):
                np.copyto(place, plane)
            return Finished(
                stops=bins[:STOPS_BINS].astype(np.int64),
                whole=int(bins[STOPS_BINS]),
                largest=float(levels[:, 0].max()),
                total=float(levels[:, 1].sum(dtype=np.float64)),
            )

    def close(self) -> None:
        """Give all memory back; no call may be under way."""
        self._device.activate()
        for slot in self._made:
            slot.close()
        self._made, self._tables = [], {}

    @contextmanager
    def _slot(self) -> Iterator[_Slot]:
        """Wait for a slot; when it is left nothing is under way in it."""
        self._device.activate()
        slot = self._free.get()
        try:
            if slot is None:
                slot = _Slot(self._device)
                self._made.append(slot)
            yield slot
        except BaseException:
            if slot is not None:
                with suppress(EngineError):  # a broken context has nothing under way, and the first error says more
                    slot.stream.synchronise()
            raise
        finally:
            self._free.put(slot)

    def _source(
        self, slot: _Slot, samples: Samples, more: list[NDArray[np.float32]]
    ) -> tuple[tuple[int, ...], list[int]]:
        """Send a frame, its matrix and more up; return the kernels' first arguments, and where the rest will be."""
        planes = list(samples.planes)
        matrix = [] if samples.matrix is None else [np.array(samples.matrix, np.float32)]
        at = slot.send([*planes, *matrix, *more])
        frame, rest = at[: len(planes)], at[len(planes) :]
        if not matrix:
            return tuple(frame), rest
        return (*frame, *(0 for _ in range(3 - len(frame))), rest[0]), rest[1:]

    def _curve(self, table: NDArray[np.float32] | None) -> int:
        return 0 if table is None else self._table(table, _POSITIVE)

    def _table(self, table: NDArray[np.float32], length: int | None = None) -> int:
        """Return where a table lies on the GPU, to which it goes once; the first ``length`` entries of it."""
        with self._lock:
            if id(table) not in self._tables:
                slot = _Slot(self._device)  # kept, as giving memory back waits for all work on the GPU
                self._made.append(slot)
                (address,) = slot.send([np.ascontiguousarray(table[:length], np.float32)])
                slot.stream.synchronise()
                self._tables[id(table)] = table, address  # the array too: its identity is not given to another
            return self._tables[id(table)][1]


def _numbers(signal: Signal) -> NDArray[np.float32]:
    """Return what ``struct Signal`` of ``video.cu`` holds."""
    curves = signal.curves
    parts = (signal.factor, curves.matrix, curves.knee, curves.luminance, signal.samples, signal.offsets)
    return np.concatenate([np.asarray(part, np.float32).reshape(-1) for part in parts])


def load_frames(device: Device) -> FramesOnDevice:
    """Compile the kernels for a GPU, or take them from the cache, and load them.

    Raises:
        MissingDependency: the compiler is not installed.
        EngineError: it, or the GPU, refuses the kernels.
    """
    return FramesOnDevice(device, VideoKernels(device.load_library(compile_cubin(SOURCE, device.sm))))
