"""A CUDA driver made of numpy: ``cuda.bindings.driver`` as far as this project calls it.

Streams are queues whose work is done late: not before somebody waits for it. So a missing wait shows as a wrong result,
where a driver that did everything at once would hide it. With a seed, work is also done at random moments before, in
any order that the events allow. Memory starts out full of rubbish, has bounds, and is gone when it was freed. Launches
run the kernels of frames.cu in numpy, or are handed at once to whoever emulates others.
"""

# ruff: noqa: N802 - the names are the driver's

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np

RUBBISH = 0xA5
DEVICE_BASE = 1 << 60  # above every address of this process
SM = 86
DEVICE = 40
"""The first device's handle, which is not its index."""


class CUresult(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_INVALID_DEVICE = 101
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209
    CUDA_ERROR_NOT_READY = 600
    CUDA_ERROR_ILLEGAL_ADDRESS = 700
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


OK = CUresult.CUDA_SUCCESS


@dataclass
class Token:
    """One recording of an event, and the driver's clock when it was reached."""

    stream: int
    done: bool = False
    time: float = 0.0


@dataclass
class Work:
    """An entry of a stream: something to do, or a point that is set, or one that is waited for."""

    action: Callable[[], None] | None = None
    sets: Token | None = None
    awaits: Token | None = None


@dataclass
class Capture:
    entries: list[Work] = field(default_factory=list)
    valid: bool = True


@dataclass(frozen=True)
class Launch:
    """What one call of cuLaunchKernel said."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    stream: int
    values: tuple[Any, ...]
    types: tuple[Any, ...]


class FakeDriver:
    """See the module.

    Attributes:
        called: names of the functions that were called, in order.
        trace: what was put where, in order.
        launches: what was launched, in order.
        images: cubins that were loaded.
        shared_allowed: bytes of dynamic shared memory, by kernel and device.
        device: the current device's handle.
        resident: blocks that a multiprocessor holds at a time.
        clock: milliseconds; stands still but for what work adds to it.
    """

    CUresult = CUresult
    CUevent_flags = SimpleNamespace(CU_EVENT_DEFAULT=0, CU_EVENT_DISABLE_TIMING=2)
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)
    CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8)
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=75,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=76,
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT=16,
    )
    CUfunction = int

    def __init__(
        self,
        seed: int | None = None,
        memory: int = 1 << 30,
        *,
        sms: Sequence[int] = (SM,),
        multiprocessors: int = 3,
        run: Callable[[Launch], int] | None = None,
    ) -> None:
        """Set up.

        Args:
            seed: of what is done early; nothing is without one.
            memory: bytes of the device.
            sms: compute capabilities, a device each.
            multiprocessors: of each device.
            run: computes a launch when it is made and returns a CUresult; by default a launch is put into its stream.
        """
        self.memory, self.used = memory, 0
        self.sms, self.multiprocessors, self.run = tuple(sms), multiprocessors, run
        self.device, self.resident, self.clock = DEVICE, 1, 0.0
        self.called: list[str] = []
        self.trace: list[tuple[str, int]] = []
        self.launches: list[Launch] = []
        self.images: list[bytes] = []
        self.shared_allowed: dict[tuple[str, int], int] = {}
        self._random = None if seed is None else random.Random(seed)
        self._blocks: dict[int, np.ndarray] = {}
        self._pinned: dict[int, np.ndarray] = {}
        self._next_address, self._next_handle = DEVICE_BASE, 1
        self._streams: dict[int, deque[Work]] = {}
        self._events: dict[int, Token | None] = {}
        self._captures: dict[int, Capture] = {}
        self._graphs: dict[int, list[Work]] = {}
        self._kernels: dict[int, str] = {}
        self.retained = 0

    # What tests ask for

    def array(self, address: int, size: int) -> np.ndarray:
        """Bytes of device or page-locked memory; outside of what is allocated, or after freeing, the test fails."""
        for base, block in (*self._blocks.items(), *self._pinned.items()):
            if base <= address and address + size <= base + len(block):
                return block[address - base :][:size]
        raise AssertionError(f"{size} bytes at {address:#x} are not allocated")

    def values(self, address: int, count: int, dtype: Any) -> np.ndarray:
        return self.array(address, count * np.dtype(dtype).itemsize).view(dtype)

    def put(self, stream: int, action: Callable[[], None], name: str) -> bool:
        """Put work into a stream, or into what is being recorded of it; False if that has been spoilt."""
        return self._put(stream, Work(action), name)

    def capturing(self, stream: int) -> bool:
        return stream in self._captures

    @property
    def calls(self) -> Counter[str]:
        """How often each function was called."""
        return Counter(self.called)

    @property
    def idle(self) -> bool:
        return not any(self._streams.values())

    @property
    def live_handles(self) -> int:
        """Streams, events, graphs and contexts that were not given back."""
        return self.retained + len(self._streams) + len(self._events) + len(self._graphs)

    # How work gets done

    def _put(self, stream: int, work: Work, name: str) -> bool:
        capture = self._captures.get(stream)
        if capture is not None:
            capture.entries.append(work)
            return capture.valid
        self.trace.append((name, stream))
        self._streams[stream].append(work)
        return True

    def _step(self, stream: int) -> None:
        work = self._streams[stream].popleft()
        if work.awaits is not None:
            self._reach(work.awaits)
        if work.action is not None:
            work.action()
        if work.sets is not None:
            work.sets.done, work.sets.time = True, self.clock

    def _reach(self, token: Token) -> None:
        while not token.done:
            self._step(token.stream)

    def _sometimes(self) -> None:
        """Do some of the work that is due, if this driver was given a seed."""
        while self._random is not None and self._random.random() < 0.6:
            ready = [
                stream
                for stream, queue in self._streams.items()
                if queue and (queue[0].awaits is None or queue[0].awaits.done)
            ]
            if not ready:
                return
            self._step(self._random.choice(ready))

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if name.startswith("cu") and callable(value):
            self.called.append(name)
            self._sometimes()
        return value

    def _handle(self) -> int:
        self._next_handle += 1
        return self._next_handle

    def _forbidden_in_capture(self) -> CUresult:
        for capture in self._captures.values():
            capture.valid = False
        return CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED if self._captures else OK

    # The driver's functions

    def cuInit(self, flags: int) -> tuple:
        return (OK,)

    def cuGetErrorString(self, status: int) -> tuple:
        return OK, CUresult(status).name.removeprefix("CUDA_ERROR_").lower().replace("_", " ").encode()

    def cuDriverGetVersion(self) -> tuple:
        return OK, 13000

    def cuDeviceGetCount(self) -> tuple:
        return OK, len(self.sms)

    def cuDeviceGet(self, index: int) -> tuple:
        return (OK, DEVICE + index) if index < len(self.sms) else (CUresult.CUDA_ERROR_INVALID_DEVICE, None)

    def cuCtxGetDevice(self) -> tuple:
        return OK, self.device

    def cuDeviceGetName(self, length: int, device: int) -> tuple:
        return OK, b"Fake GPU\0\0"

    def cuDeviceGetAttribute(self, attribute: int, device: int) -> tuple:
        sm = self.sms[device - DEVICE]
        return OK, {75: sm // 10, 76: sm % 10, 16: self.multiprocessors}[attribute]

    def cuDevicePrimaryCtxRetain(self, device: int) -> tuple:
        self.retained += 1
        return OK, 7

    def cuDevicePrimaryCtxRelease(self, device: int) -> tuple:
        self.retained -= 1
        return (OK,)

    def cuCtxSetCurrent(self, context: int) -> tuple:
        return (OK,)

    def cuCtxPushCurrent(self, context: int) -> tuple:
        return (OK,)

    def cuCtxPopCurrent(self) -> tuple:
        return OK, 7

    def cuMemGetInfo(self) -> tuple:
        return OK, self.memory - self.used, self.memory

    def cuMemAlloc(self, size: int) -> tuple:
        status = self._forbidden_in_capture()
        if status is OK and self.used + size > self.memory:
            status = CUresult.CUDA_ERROR_OUT_OF_MEMORY
        if status is not OK:
            return status, None
        address, self._next_address = self._next_address, self._next_address + (size + 1023) // 512 * 512
        self._blocks[address] = np.full(size, RUBBISH, np.uint8)
        self.used += size
        return OK, address

    def cuMemFree(self, address: int) -> tuple:
        assert self.idle, "device memory was freed while work was under way"
        self.used -= len(self._blocks.pop(address))
        return (OK,)

    def cuMemHostAlloc(self, size: int, flags: int) -> tuple:
        block = np.full(size, RUBBISH, np.uint8)
        self._pinned[block.ctypes.data] = block
        return OK, block.ctypes.data

    def cuMemFreeHost(self, address: int) -> tuple:
        assert self.idle, "page-locked memory was freed while work was under way"
        del self._pinned[address]
        return (OK,)

    def _copy(self, name: str, target: int, source: int, size: int, stream: int) -> tuple:
        def action() -> None:
            self.array(target, size)[:] = self.array(source, size)

        self.put(stream, action, name)
        return (OK,)

    def cuMemcpyHtoDAsync(self, target: int, source: int, size: int, stream: int) -> tuple:
        assert target >= DEVICE_BASE > source
        return self._copy("upload", target, source, size, stream)

    def cuMemcpyDtoHAsync(self, target: int, source: int, size: int, stream: int) -> tuple:
        assert source >= DEVICE_BASE > target
        return self._copy("download", target, source, size, stream)

    def cuMemcpyDtoDAsync(self, target: int, source: int, size: int, stream: int) -> tuple:
        assert min(source, target) >= DEVICE_BASE
        return self._copy("copy", target, source, size, stream)

    def cuMemsetD8Async(self, target: int, value: int, size: int, stream: int) -> tuple:
        def action() -> None:
            self.array(target, size)[:] = value

        self.put(stream, action, "clear")
        return (OK,)

    def cuStreamCreate(self, flags: int) -> tuple:
        handle = self._handle()
        self._streams[handle] = deque()
        return OK, handle

    def cuStreamDestroy(self, stream: int) -> tuple:
        assert not self._streams.pop(stream), "a stream was destroyed while work was in it"
        return (OK,)

    def cuStreamSynchronize(self, stream: int) -> tuple:
        status = self._forbidden_in_capture()
        while status is OK and self._streams[stream]:
            self._step(stream)
        return (status,)

    def cuEventCreate(self, flags: int) -> tuple:
        handle = self._handle()
        self._events[handle] = None
        return OK, handle

    def cuEventDestroy(self, event: int) -> tuple:
        del self._events[event]
        return (OK,)

    def cuEventRecord(self, event: int, stream: int) -> tuple:
        token = self._events[event] = Token(stream)
        self._put(stream, Work(sets=token), "record")
        return (OK,)

    def cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> tuple:
        self._put(stream, Work(awaits=self._events[event]), "wait")
        return (OK,)

    def cuEventQuery(self, event: int) -> tuple:
        token = self._events[event]
        return (OK if token is None or token.done else CUresult.CUDA_ERROR_NOT_READY,)

    def cuEventSynchronize(self, event: int) -> tuple:
        status = self._forbidden_in_capture()
        token = self._events[event]
        self.trace.append(("host waits", 0))
        if status is OK and token is not None:
            self._reach(token)
        return (status,)

    def cuEventElapsedTime(self, start: int, end: int) -> tuple:
        first, last = self._events[start], self._events[end]
        assert first is not None
        assert last is not None
        assert first.done
        assert last.done
        return OK, last.time - first.time

    def cuStreamBeginCapture(self, stream: int, mode: int) -> tuple:
        assert stream not in self._captures
        self._captures[stream] = Capture()
        return (OK,)

    def cuStreamEndCapture(self, stream: int) -> tuple:
        capture = self._captures.pop(stream)
        if not capture.valid:
            return CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, None
        handle = self._handle()
        self._graphs[handle] = capture.entries
        return OK, handle

    def cuGraphInstantiate(self, graph: int, flags: int) -> tuple:
        handle = self._handle()
        self._graphs[handle] = list(self._graphs[graph])
        return OK, handle

    def cuGraphDestroy(self, graph: int) -> tuple:
        del self._graphs[graph]
        return (OK,)

    def cuGraphExecDestroy(self, graph: int) -> tuple:
        del self._graphs[graph]
        return (OK,)

    def cuGraphLaunch(self, graph: int, stream: int) -> tuple:
        for work in self._graphs[graph]:
            self._put(stream, Work(work.action), "graph")
        return (OK,)

    def cuLibraryLoadData(self, image: bytes, *options: Any) -> tuple:
        assert len(options) == 6
        if not image:
            return CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU, None
        self.images.append(image)
        return OK, self._handle()

    def cuLibraryGetKernel(self, library: int, name: bytes) -> tuple:
        handle = self._handle()
        self._kernels[handle] = name.decode()
        return OK, handle

    def cuKernelSetAttribute(self, attribute: int, value: int, kernel: int, device: int) -> tuple:
        assert attribute == self.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        self.shared_allowed[self._kernels[kernel], device] = value
        return (OK,)

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, kernel: int, block: int, shared: int) -> tuple:
        return OK, self.resident

    def cuLaunchKernel(self, kernel: int, *arguments: Any) -> tuple:
        gx, gy, gz, bx, by, bz, shared, stream, (values, types), extra = arguments
        assert not extra
        assert len(values) == len(types)
        launch = Launch(self._kernels[kernel], (gx, gy, gz), (bx, by, bz), shared, stream, values, types)
        assert min(launch.grid + launch.block) >= 1
        self.launches.append(launch)
        if self.run is not None:
            return (self.run(launch),)
        self.put(stream, lambda: getattr(self, f"_{launch.kernel}")(*values), launch.kernel)
        return (OK,)

    # The kernels of frames.cu, in numpy

    def _codes8_to_planes(self, codes: int, planes: int, images: int, pixels: int, dtype: Any = np.uint8) -> None:
        source = self.values(codes, images * pixels * 3, dtype).reshape(images, pixels, 3)
        target = self.values(planes, images * pixels * 3, np.float32).reshape(images, 3, pixels)
        target[...] = source.transpose(0, 2, 1).astype(np.float32) / np.float32(np.iinfo(dtype).max)

    def _codes16_to_planes(self, codes: int, planes: int, images: int, pixels: int) -> None:
        self._codes8_to_planes(codes, planes, images, pixels, np.uint16)

    def _planes_to_half(self, planes: int, halves: int, count: int) -> None:
        self.values(halves, count, np.float16)[:] = self.values(planes, count, np.float32)
