"""The CUDA driver, as much of it as running an engine takes: memory, streams, events and graphs.

A thin typed layer over ``cuda.bindings.driver``, which needs no CUDA toolkit and no torch. Every call's status is
checked in one place (``call``); lack of memory becomes :class:`dcdr_deploy.errors.EngineOutOfMemory`, which the runner
answers with a smaller tile. Nothing here waits for the GPU but what is named ``synchronise``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.cuda.driver import Library, call, device_attribute, device_sm, load_driver


@dataclass(frozen=True)
class Place:
    """An address that somebody else looks after."""

    address: int


class Memory:
    """A block of device memory; or of page-locked host memory, which copies at full speed beside running kernels."""

    def __init__(self, address: int, size: int, free: Callable[[int], object], pinned: bool) -> None:
        self.address = address
        self.size = size
        self._free = free
        self._bytes: NDArray[np.uint8] | None = None
        if pinned:
            self._bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def view(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return page-locked memory, from its beginning, as an array; it shares the memory."""
        assert self._bytes is not None, "device memory cannot be seen from the host"
        dtype = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return self._bytes[:count].view(dtype).reshape(shape)

    def free(self) -> None:
        """Give the memory back. Nothing may be under way that uses it."""
        self._bytes = None
        # The status is not looked at: a context that an earlier error broke refuses this too, and is about to go.
        self._free(self.address)


class Event:
    """A point in a stream that another stream, or the host, can wait for.

    Args:
        bindings: the driver.
        timed: it keeps the time too, which costs a little.
    """

    def __init__(self, bindings: Any, timed: bool = False) -> None:
        self._driver = bindings
        kinds = bindings.CUevent_flags
        flags = kinds.CU_EVENT_DEFAULT if timed else kinds.CU_EVENT_DISABLE_TIMING
        self.handle = call(bindings, "cuEventCreate", flags)

    @property
    def reached(self) -> bool:
        """Whether what was in the stream before the event is done; true if it was never recorded."""
        code, *_ = self._driver.cuEventQuery(self.handle)
        return int(code) == 0  # an error of the work before shows when somebody waits

    def synchronise(self) -> None:
        """Wait until what was in the stream before the event is done; at once if it was never recorded."""
        call(self._driver, "cuEventSynchronize", self.handle)

    def since(self, earlier: Event) -> float:
        """Return the milliseconds from another timed event to this one, both of which are reached."""
        return float(call(self._driver, "cuEventElapsedTime", earlier.handle, self.handle))

    def close(self) -> None:
        """Destroy the event."""
        self._driver.cuEventDestroy(self.handle)


class Graph:
    """Work that was recorded once and is launched as a whole."""

    def __init__(self, bindings: Any, recorded: Any) -> None:
        self._driver = bindings
        try:
            self.handle = call(bindings, "cuGraphInstantiate", recorded, 0)
        finally:
            bindings.cuGraphDestroy(recorded)

    def close(self) -> None:
        """Destroy the graph. It must not be running."""
        self._driver.cuGraphExecDestroy(self.handle)


class Stream:
    """A queue of work on the GPU: done in order, beside the work of other streams."""

    def __init__(self, bindings: Any) -> None:
        self._driver = bindings
        flags = bindings.CUstream_flags.CU_STREAM_NON_BLOCKING
        self.handle = call(bindings, "cuStreamCreate", flags)

    def upload(self, target: Memory | Place, source: Memory | Place, size: int) -> None:
        """Copy ``size`` bytes of page-locked memory to the device."""
        call(self._driver, "cuMemcpyHtoDAsync", target.address, source.address, size, self.handle)

    def download(self, target: Memory | Place, source: Memory | Place, size: int) -> None:
        """Copy ``size`` bytes from the device to page-locked memory."""
        call(self._driver, "cuMemcpyDtoHAsync", target.address, source.address, size, self.handle)

    def copy(self, target: Memory | Place, source: Memory | Place, size: int) -> None:
        """Copy ``size`` bytes within the device."""
        call(self._driver, "cuMemcpyDtoDAsync", target.address, source.address, size, self.handle)

    def clear(self, target: Memory | Place, size: int) -> None:
        """Fill ``size`` bytes of device memory with zeros."""
        call(self._driver, "cuMemsetD8Async", target.address, 0, size, self.handle)

    def record(self, event: Event) -> None:
        """Set the event to this point of the stream."""
        call(self._driver, "cuEventRecord", event.handle, self.handle)

    def wait(self, event: Event) -> None:
        """Let the work that follows wait for an event that another stream recorded."""
        call(self._driver, "cuStreamWaitEvent", self.handle, event.handle, 0)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Return as a graph what ``work`` puts into this stream; nothing of it is done yet.

        Raises:
            EngineError: ``work`` did something that cannot be recorded. The stream can be used as before.
        """
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        call(self._driver, "cuStreamBeginCapture", self.handle, mode)
        try:
            work()
        except BaseException:
            _, recorded = self._driver.cuStreamEndCapture(self.handle)
            if recorded is not None and int(recorded) != 0:
                self._driver.cuGraphDestroy(recorded)
            raise
        return Graph(self._driver, call(self._driver, "cuStreamEndCapture", self.handle))

    def launch(self, graph: Graph) -> None:
        """Put a graph's work into the stream."""
        call(self._driver, "cuGraphLaunch", graph.handle, self.handle)

    def synchronise(self) -> None:
        """Wait until the stream is empty."""
        call(self._driver, "cuStreamSynchronize", self.handle)

    def close(self) -> None:
        """Destroy the stream; work in it goes on to its end."""
        self._driver.cuStreamDestroy(self.handle)


class Device:
    """One GPU. Its primary context, which other libraries in the process share, is made current for the thread."""

    def __init__(self, index: int = 0, bindings: Any = None) -> None:
        """Open GPU ``index`` in CUDA's counting; ``bindings`` are the driver's, where they are loaded already.

        Raises:
            MissingDependency: the package cuda-bindings is not installed.
            EngineError: there is no driver or no such GPU.
        """
        self._driver = bindings or load_driver()
        self.index = index
        self._device = call(self._driver, "cuDeviceGet", index)
        self._context = call(self._driver, "cuDevicePrimaryCtxRetain", self._device)
        self.activate()

    def again(self) -> Device:
        """Open the same GPU once more; its context stays until both are closed."""
        return Device(self.index, self._driver)

    def activate(self) -> None:
        """Make this GPU the calling thread's; needed once a thread, harmless to repeat."""
        call(self._driver, "cuCtxSetCurrent", self._context)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this GPU the calling thread's for the block, whichever it had before."""
        call(self._driver, "cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            call(self._driver, "cuCtxPopCurrent")

    @property
    def name(self) -> str:
        """The GPU's name in words."""
        text: bytes = call(self._driver, "cuDeviceGetName", 128, self._device)
        return text.split(b"\0")[0].decode("utf-8", "replace")

    @property
    def sm(self) -> int:
        """Compute capability as two or three digits, e.g. 86."""
        return device_sm(self._driver, self._device)

    @property
    def multiprocessors(self) -> int:
        """How many multiprocessors the GPU has."""
        return device_attribute(self._driver, "MULTIPROCESSOR_COUNT", self._device)

    @property
    def driver_version(self) -> int:
        """The newest CUDA that the driver knows, e.g. 13000."""
        return int(call(self._driver, "cuDriverGetVersion"))

    def free_memory(self) -> int:
        """Return the bytes that can still be allocated."""
        return int(call(self._driver, "cuMemGetInfo")[0])

    def allocate(self, size: int) -> Memory:
        """Allocate device memory.

        Raises:
            EngineOutOfMemory: the GPU has no room for ``size`` bytes.
        """
        return Memory(int(call(self._driver, "cuMemAlloc", size)), size, self._driver.cuMemFree, pinned=False)

    def allocate_pinned(self, size: int) -> Memory:
        """Allocate page-locked host memory.

        Raises:
            EngineOutOfMemory: the machine has no room for ``size`` bytes.
        """
        address = int(call(self._driver, "cuMemHostAlloc", size, 0))
        return Memory(address, size, self._driver.cuMemFreeHost, pinned=True)

    def create_stream(self) -> Stream:
        """Create a stream that does not wait for the default stream."""
        return Stream(self._driver)

    def create_event(self, timed: bool = False) -> Event:
        """Create an event; a timed one can be asked how long after another one it was reached."""
        return Event(self._driver, timed)

    def load_library(self, cubin: bytes) -> Library:
        """Load the kernels of a cubin.

        Raises:
            EngineError: it does not fit the GPU.
        """
        return Library(self._driver, cubin)

    def close(self) -> None:
        """Release the context; everything made of this device must be closed before."""
        self._driver.cuDevicePrimaryCtxRelease(self._device)
