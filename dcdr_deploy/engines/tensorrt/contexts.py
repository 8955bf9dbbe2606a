"""Execution contexts of a TensorRT engine, one for each input shape, and the CUDA graphs recorded of them.

A context keeps state on the device that depends on its shape, so a graph is only safe with a context of its own. What
takes memory is shared: input, output and scratch memory exist once, because all contexts run in one stream, one after
the other. A shape's first run is an ordinary one, in which the library brings its state up to date; the second is
recorded; from then on a shape costs one launch.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from dcdr_deploy.engines.cuda.memory import Device, Memory, Stream
from dcdr_deploy.engines.cuda.recorded import RecordedWork
from dcdr_deploy.errors import EngineError
from dcdr_deploy.system.faults import engine_error, one_line

CHANNELS = 3
BYTES = 4  # of a float32: the interface of every engine

SHAPES_KEPT = 4
"""Shapes whose context is kept: a tile and a last, smaller group of it, each for two sizes of pictures."""

_SMALLEST = 256
"""Bytes; also what the library wants memory to be aligned to, which the driver guarantees."""

Shape = tuple[int, int, int]
"""(images, height, width)"""

_logger = logging.getLogger(__name__)


class LibraryLog:
    """Keeps what the library says went wrong, because its functions only answer "no"."""

    def __init__(self, package: str) -> None:
        self.package = package
        self._words: list[str] = []

    def __call__(self, severity: str, message: str) -> None:
        """Take a message; the sink of :func:`dcdr_deploy.engines.tensorrt.trt_api.shared_logger`."""
        if "ERROR" in severity:
            self._words.append(message)
        _logger.debug("%s: %s", self.package, message)

    def take(self) -> str:
        """Return the errors since the last call as one line."""
        words, self._words = "; ".join(self._words), []
        return one_line(RuntimeError(words or "it gave no reason"))

    def error(self, what: str) -> EngineError:
        """Return the error to raise where the library answered "no"."""
        return engine_error(self.package, RuntimeError(f"{what}: {self.take()}"))


class _Buffers:
    """Device memory that all contexts share; it grows and never shrinks."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._held: dict[str, Memory] = {}
        self.version = 0

    def __getitem__(self, name: str) -> Memory:
        return self._held[name]

    def reserve(self, **sizes: int) -> None:
        """Make every buffer at least as large as asked for; a new place gets a new version."""
        for name, size in sizes.items():
            held = self._held.get(name)
            if held is not None and held.size >= size:
                continue
            self.version += 1
            if held is not None:
                del self._held[name]  # first: should the allocation fail, nobody may use what is gone
                held.free()
            self._held[name] = self._device.allocate(max(size, _SMALLEST))

    def free(self) -> None:
        while self._held:
            self._held.popitem()[1].free()
        self.version += 1


class _Bound(RecordedWork):
    """The context of one shape, with its graph once it is recorded."""

    def __init__(self, context: Any, scratch: int, capturable: bool) -> None:
        super().__init__(capturable)
        self.context = context
        self.scratch = scratch
        self.version = -1


class Contexts:
    """Runs a deserialised engine with one float32 input (N, 3, H, W) and one such output."""

    def __init__(self, trt: Any, engine: Any, names: tuple[str, str], device: Device, log: LibraryLog) -> None:
        """Set up; allocates nothing.

        Args:
            trt: the API, from :func:`dcdr_deploy.engines.tensorrt.trt_api.load_api`.
            engine: an ICudaEngine.
            names: of its input and its output.
            device: the GPU.
            log: what the library's logger writes to.
        """
        self._trt, self._engine, self._names, self._log = trt, engine, names, log
        self.stream: Stream = device.create_stream()
        self._buffers = _Buffers(device)
        self._bound: OrderedDict[Shape, _Bound] = OrderedDict()

    @property
    def source(self) -> Memory:
        """The input's memory; valid after :meth:`prepare`, until the next call of it."""
        return self._buffers["source"]

    @property
    def result(self) -> Memory:
        """The output's memory; valid as ``source``."""
        return self._buffers["result"]

    def prepare(self, shapes: Iterable[Shape]) -> None:
        """Make ready to run these shapes. Nothing may be under way in the stream.

        Raises:
            EngineOutOfMemory: there is no room for them.
            EngineError: the library refuses a shape.
        """
        wanted = list(dict.fromkeys(shapes))
        for shape in wanted:
            if shape not in self._bound:
                self._bound[shape] = self._open(shape)
            self._bound.move_to_end(shape)
        while len(self._bound) > max(SHAPES_KEPT, len(wanted)):
            self._bound.popitem(last=False)[1].forget()
        values = max(CHANNELS * images * height * width for images, height, width in wanted)
        scratch = max(self._bound[shape].scratch for shape in wanted)
        try:
            self._buffers.reserve(source=values * BYTES, result=values * BYTES, scratch=scratch)
        finally:  # also after a failure: what was freed before it must not be used by a graph
            for bound in self._bound.values():
                if bound.version != self._buffers.version:
                    bound.forget()
        for shape in wanted:
            self._attach(self._bound[shape])

    def enqueue(self, shape: Shape) -> None:
        """Put a run of the network, from ``source`` to ``result``, into the stream.

        Raises:
            EngineError: the library failed.
        """
        bound = self._bound[shape]
        bound.put(self.stream, lambda: self._execute(bound))

    def release(self) -> None:
        """Give all memory back; nothing may be under way. The contexts can be prepared again."""
        for bound in self._bound.values():
            bound.forget()
        self._bound.clear()
        self._buffers.free()

    def close(self) -> None:
        """Release everything."""
        self.release()
        self.stream.close()

    def _open(self, shape: Shape) -> _Bound:
        context = self._engine.create_execution_context(self._creation())
        if context is None:
            raise self._log.error("it gave no execution context")
        images, height, width = shape
        if not context.set_input_shape(self._names[0], (images, CHANNELS, height, width)):
            raise self._log.error(f"it refuses {images} x {height} x {width}")
        scratch = int(context.update_device_memory_size_for_shapes())
        probe = getattr(context, "is_stream_capturable", None)
        return _Bound(context, scratch, probe is None or bool(probe(int(self.stream.handle))))

    def _creation(self) -> Any:
        """Return what a context is created with: memory is ours, and on RTX kernels for the very shape."""
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        specialisation = getattr(self._trt, "DynamicShapesKernelSpecializationStrategy", None)
        if specialisation is None:
            return strategy
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(strategy)
        # Compiled before the first run: a graph would keep the slower kernels that stand in for them until then.
        config.dynamic_shapes_kernel_specialization_strategy = specialisation.EAGER
        return config

    def _attach(self, bound: _Bound) -> None:
        if bound.version == self._buffers.version:
            return
        scratch = self._buffers["scratch"]
        bound.context.set_device_memory(scratch.address, scratch.size)
        for name, memory in zip(self._names, (self.source, self.result), strict=True):
            if not bound.context.set_tensor_address(name, memory.address):
                raise self._log.error(f"it refuses the memory of {name}")
        bound.version = self._buffers.version

    def _execute(self, bound: _Bound) -> None:
        if not bound.context.execute_async_v3(int(self.stream.handle)):
            raise self._log.error("it could not run the network")
