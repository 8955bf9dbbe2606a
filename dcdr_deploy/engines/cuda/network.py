"""A DCDR-UNet on one GPU: its weights, an arena for the maps of a frame, a CUDA graph for each shape that comes back.

A shape's first frame is launched kernel by kernel, the second is recorded, and from then on the network is one launch.
What depends on where a picture comes from and where its result goes stays outside of the graph: the first launch, which
reads the picture, and the last, which writes the result.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from dcdr_deploy.engines.cuda import dcrb_from_hidden, picture
from dcdr_deploy.engines.cuda.compiler import compile_cubin
from dcdr_deploy.engines.cuda.convolution import ConvolutionArguments, ConvolutionKernels
from dcdr_deploy.engines.cuda.dcrb_from_hidden import FromHiddenArguments, FromHiddenKernels
from dcdr_deploy.engines.cuda.launches import IMAGE, SMALL, Form, Shape
from dcdr_deploy.engines.cuda.measures import Measures
from dcdr_deploy.engines.cuda.memory import Device, Memory, Place, Stream
from dcdr_deploy.engines.cuda.picture import PictureArguments, PictureKernels
from dcdr_deploy.engines.cuda.program import Arguments, PackedWeights, Program, frame_of, pack, program
from dcdr_deploy.engines.cuda.recorded import RecordedWork
from dcdr_deploy.engines.cuda.tiles import CHANNELS, FLAG_BYTES
from dcdr_deploy.engines.cuda.tuning.kept import kept_measures
from dcdr_deploy.engines.cuda.weights import Weights
from dcdr_deploy.errors import EngineError, EngineOutOfMemory

SHAPES_KEPT = 4
"""Shapes whose graph is kept: a tile and a last, smaller group of it, each for two sizes of pictures."""

SOURCES = ("convolution", dcrb_from_hidden.SOURCE, picture.SOURCE)
"""CUDA sources of a network's kernels."""


class NetworkKernels:
    """All kernels of a network, ready on one GPU."""

    def __init__(self, device: Device, cubins: Mapping[str, bytes], measures: Measures, driver: Any = None) -> None:
        """Load the kernels.

        Args:
            device: the GPU.
            cubins: compiled sources by name.
            measures: that they were compiled with.
            driver: stands in for ``cuda.bindings.driver`` in tests.

        Raises:
            EngineError: the GPU or its driver refuses them.
        """
        sm = measures.sm
        convolution = ConvolutionKernels({sm: cubins["convolution"]}, driver, lambda _: measures.convolutions)
        block = FromHiddenKernels({sm: cubins[dcrb_from_hidden.SOURCE]}, driver, measures.block.shape(sm))
        for kernels in (convolution, block):
            kernels.prepare()
        self.measures = measures
        self._picture = PictureKernels(device.load_library(cubins[picture.SOURCE]))
        self._launch = {ConvolutionArguments: convolution.launch, FromHiddenArguments: block.launch}

    def read(self, arguments: PictureArguments, stream: int) -> None:
        """Put the launch that reads a picture on a stream."""
        self._picture.launch(arguments, stream)

    def check(self, values: int, count: int, found: int, stream: int) -> None:
        """Put a look for NaN and infinity on a stream; see :meth:`PictureKernels.check`."""
        self._picture.check(values, count, found, stream)

    def launch(self, arguments: Arguments, stream: int) -> None:
        """Put one launch of a frame on a stream."""
        self._launch[type(arguments)](arguments, stream)  # type: ignore[operator]


def compile_kernels(device: Device, measures: Measures | None = None) -> NetworkKernels:
    """Compile a network's kernels for a GPU, or take them from the cache, and load them.

    Args:
        device: the GPU.
        measures: of the kernels; by default what was measured on this GPU and kept, else the table's.

    Raises:
        MissingDependency: the compiler is not installed.
        EngineError: it, the GPU or its driver refuses the kernels.
    """
    chosen = measures or kept_measures(device)
    with ThreadPoolExecutor(len(SOURCES)) as pool:  # seconds, the first time
        cubins = pool.map(lambda source: compile_cubin(source, chosen.sm, chosen.text(source)), SOURCES)
        return NetworkKernels(device, dict(zip(SOURCES, cubins, strict=True)), chosen)


class _Bound(RecordedWork):
    """A shape's program, its launches with addresses, and its graph once it is recorded."""

    def __init__(self, planned: Program) -> None:
        super().__init__()
        self.program = planned
        self.launches: list[Arguments] = []
        self.last: Arguments | None = None

    def bind(self, arena: int, weights: int, packed: PackedWeights) -> None:
        """Put the maps into an arena."""
        self.forget()
        # The last launch writes the result, whose place is known with each call only.
        *self.launches, self.last = self.program.bind(arena, weights, packed, result=arena)

    def forget(self) -> None:
        """Drop the graph and the launches: they hold addresses that are about to change."""
        super().forget()
        self.launches = []


class CudaNetwork:
    """Runs pictures through a network. Codes or floats go in, (N, H, W, 3) float32 comes out, both in device memory."""

    outgoing = np.dtype(np.float32)
    interleaved = True
    flagged = True

    def __init__(self, device: Device, weights: Weights, kernels: NetworkKernels, form: Form | None = None) -> None:
        """Set up; the weights go to the GPU.

        Args:
            device: the GPU.
            weights: the network's.
            kernels: for this GPU.
            form: how frames are cut into launches; by default as the kernels' measures have it.

        Raises:
            EngineOutOfMemory: the GPU has no room for them.
            EngineError: the driver failed.
        """
        self._device, self._kernels = device, kernels
        self._frame = frame_of(weights, form or kernels.measures.form)
        self._packed = pack(self._frame, weights)
        self.stream: Stream = device.create_stream()
        self._bound: OrderedDict[Shape, _Bound] = OrderedDict()
        self._arena: Memory | None = None
        try:
            self._weights = self._upload(self._packed)
        except BaseException:
            self.stream.close()
            raise

    def _upload(self, packed: PackedWeights) -> Memory:
        size = packed.content.nbytes
        staged = self._device.allocate_pinned(size)
        try:
            staged.view((size,), np.uint8)[...] = packed.content
            memory = self._device.allocate(size)
            try:
                self.stream.upload(memory, staged, size)
                self.stream.synchronise()
            except BaseException:
                memory.free()
                raise
        finally:
            staged.free()
        return memory

    def memory(self, shape: Shape) -> int:
        """Return the bytes that the maps of a frame take on the GPU."""
        return program(self._frame, shape).memory.size

    def is_ready(self, shapes: Iterable[Shape]) -> bool:
        """Tell whether :meth:`prepare` would move nothing, so that work may be under way meanwhile."""
        return all(shape in self._bound and self._bound[shape].launches for shape in shapes)

    def prepare(self, shapes: Iterable[Shape]) -> None:
        """Make ready to run these shapes. Nothing may be under way, unless :meth:`is_ready` said so.

        Raises:
            EngineOutOfMemory: there is no room for them; the message names size and need.
            EngineError: a shape is too large for the kernels.
        """
        wanted = list(dict.fromkeys(shapes))
        for shape in wanted:
            if shape not in self._bound:
                self._bound[shape] = _Bound(_planned(self._frame, shape))
            self._bound.move_to_end(shape)
        while len(self._bound) > max(SHAPES_KEPT, len(wanted)):
            self._bound.popitem(last=False)[1].forget()
        largest = max(wanted, key=lambda shape: self._bound[shape].program.memory.size)
        self._reserve(largest, self._bound[largest].program.memory.size)
        assert self._arena is not None
        for shape in wanted:
            if not self._bound[shape].launches:
                self._bound[shape].bind(self._arena.address, self._weights.address, self._packed)

    def read(self, shape: Shape, dtype: np.dtype[Any], source: Memory | Place) -> None:
        """Put into the stream what makes a picture the first maps of a frame; arguments as :meth:`enqueue`."""
        arena, places = self._arena, self._bound[shape].program.memory.offsets
        assert arena is not None, "prepare comes first"
        picture_arguments = PictureArguments(
            dtype, source.address, arena.address + places[IMAGE], arena.address + places[SMALL], shape
        )
        self._kernels.read(picture_arguments, int(self.stream.handle))

    def launches(self, shape: Shape, result: Memory | Place) -> list[Arguments]:
        """Return the launches of a prepared frame that follow :meth:`read`; the last writes (N, H, W, 3) float32."""
        bound = self._bound[shape]
        assert bound.last is not None, "prepare comes first"
        return [*bound.launches, replace(bound.last, out=result.address)]

    def enqueue(self, shape: Shape, dtype: np.dtype[Any], source: Memory | Place, target: Memory | Place) -> None:
        """Put a run of the network into the stream.

        Args:
            shape: (images, height, width), prepared.
            dtype: uint8 or uint16 for codes (N, H, W, 3), float32 for (N, 3, H, W).
            source: the pictures.
            target: gets (N, H, W, 3) float32 and behind them a uint32, 1 where NaN or infinity is among them, else 0.

        Raises:
            EngineError: the driver failed.
        """
        bound, stream = self._bound[shape], int(self.stream.handle)
        self.read(shape, dtype, source)
        bound.put(self.stream, lambda: self._launch(bound))
        assert bound.last is not None
        self._kernels.launch(replace(bound.last, out=target.address), stream)
        count = int(np.prod(shape)) * CHANNELS
        flag = Place(target.address + count * self.outgoing.itemsize)
        self.stream.clear(flag, FLAG_BYTES)
        self._kernels.check(target.address, count, flag.address, stream)

    def _launch(self, bound: _Bound) -> None:
        stream = int(self.stream.handle)
        for arguments in bound.launches:
            self._kernels.launch(arguments, stream)

    def _reserve(self, shape: Shape, size: int) -> None:
        """Make the arena at least as large as asked for; it grows and never shrinks."""
        if self._arena is not None and self._arena.size >= size:
            return
        for bound in self._bound.values():
            bound.forget()
        if self._arena is not None:
            held, self._arena = self._arena, None
            held.free()
        try:
            self._arena = self._device.allocate(size)
        except EngineOutOfMemory as error:
            images, height, width = shape
            raise EngineOutOfMemory(
                f"{images} x {height} x {width} pixels take {size / 2**30:.2f} GiB on the GPU, which has "
                f"{self._device.free_memory() / 2**30:.2f} GiB free"
            ) from error

    def release(self) -> None:
        """Give all memory but the weights' back; nothing may be under way. Shapes can be prepared again."""
        for bound in self._bound.values():
            bound.forget()
        self._bound.clear()
        if self._arena is not None:
            held, self._arena = self._arena, None
            held.free()

    def close(self) -> None:
        """Release everything."""
        self.release()
        self._weights.free()
        self.stream.close()


def _planned(frame: Any, shape: Shape) -> Program:
    try:
        return program(frame, shape)
    except ValueError as error:
        raise EngineError(f"cuda: {error}") from None
