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

from dcdr_deploy.engines.cuda import picture
from dcdr_deploy.engines.cuda.compiler import compile_cubin, target_sm
from dcdr_deploy.engines.cuda.convolution import ConvolutionArguments, ConvolutionKernels
from dcdr_deploy.engines.cuda.dcrb import DcrbArguments, DcrbKernels2
from dcdr_deploy.engines.cuda.launches import IMAGE, SMALL, Form, Shape
from dcdr_deploy.engines.cuda.memory import Device, Memory, Place, Stream
from dcdr_deploy.engines.cuda.picture import PictureArguments, PictureKernels
from dcdr_deploy.engines.cuda.program import Arguments, PackedWeights, Program, form_for, frame_of, pack, program
from dcdr_deploy.engines.cuda.recorded import RecordedWork
from dcdr_deploy.engines.cuda.tiles import CHANNELS, FLAG_BYTES
from dcdr_deploy.engines.cuda.weights import Weights
from dcdr_deploy.errors import EngineError, EngineOutOfMemory

SHAPES_KEPT = 4
"""Shapes whose graph is kept: a tile and a last, smaller group of it, each for two sizes of pictures."""

SOURCES = ("convolution", "dcrb2", picture.SOURCE)
"""CUDA sources of a network's kernels."""


class NetworkKernels:
    """All kernels of a network, ready on one GPU."""

    def __init__(self, device: Device, cubins: Mapping[str, tuple[int, bytes]], driver: Any = None) -> None:
        """Load the kernels.

        Args:
            device: the GPU.
            cubins: SM and compiled source, by the name of the source.
            driver: stands in for ``cuda.bindings.driver`` in tests.

        Raises:
            EngineError: the GPU or its driver refuses them.
        """
        convolution = ConvolutionKernels(dict([cubins["convolution"]]), driver)
        block = DcrbKernels2(dict([cubins["dcrb2"]]), driver)
        for kernels in (convolution, block):
            kernels.prepare()
        self.sm = cubins["convolution"][0]
        self._picture = PictureKernels(device.load_library(cubins[picture.SOURCE][1]))
        self._launch = {ConvolutionArguments: convolution.launch, DcrbArguments: block.launch}

    def read(self, arguments: PictureArguments, stream: int) -> None:
        """Put the launch that reads a picture on a stream."""
        self._picture.launch(arguments, stream)

    def check(self, values: int, count: int, found: int, stream: int) -> None:
        """Put a look for NaN and infinity on a stream; see :meth:`PictureKernels.check`."""
        self._picture.check(values, count, found, stream)

    def launch(self, arguments: Arguments, stream: int) -> None:
        """Put one launch of a frame on a stream."""
        self._launch[type(arguments)](arguments, stream)  # type: ignore[operator]


def compile_kernels(device: Device) -> NetworkKernels:
    """Compile a network's kernels for a GPU, or take them from the cache, and load them.

    Raises:
        MissingDependency: the compiler is not installed.
        EngineError: it, the GPU or its driver refuses the kernels.
    """
    sm = target_sm(device.sm)
    with ThreadPoolExecutor(len(SOURCES)) as pool:  # seconds, the first time
        cubins = list(pool.map(lambda source: compile_cubin(source, sm), SOURCES))
    return NetworkKernels(device, {source: (sm, cubin) for source, cubin in zip(SOURCES, cubins, strict=True)})


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
            form: how frames are cut into launches; the one for the kernels' SM if there is none.

        Raises:
            EngineOutOfMemory: the GPU has no room for them.
            EngineError: the driver failed.
        """
        self._device, self._kernels = device, kernels
        self._frame = frame_of(weights, form or form_for(kernels.sm))
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

    def enqueue(self, shape: Shape, dtype: np.dtype[Any], source: Memory, target: Memory) -> None:
        """Put a run of the network into the stream.

        Args:
            shape: (images, height, width), prepared.
            dtype: uint8 or uint16 for codes (N, H, W, 3), float32 for (N, 3, H, W).
            source: the pictures.
            target: gets (N, H, W, 3) float32 and behind them a uint32, 1 where NaN or infinity is among them, else 0.

        Raises:
            EngineError: the driver failed.
        """
        bound, arena = self._bound[shape], self._arena
        assert arena is not None, "prepare comes first"
        places = bound.program.memory.offsets
        stream = int(self.stream.handle)
        picture_arguments = PictureArguments(
            dtype, source.address, arena.address + places[IMAGE], arena.address + places[SMALL], shape
        )
        self._kernels.read(picture_arguments, stream)
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
