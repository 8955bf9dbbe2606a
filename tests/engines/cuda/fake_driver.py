"""Stands in for ``cuda.bindings.driver``: records what is called and hands launches to a function."""

# ruff: noqa: N802 - the names are CUDA's

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from dcdr_deploy.engines.cuda.compiler import SUPPORTED_SMS

DEVICE = 0


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
    """A GPU of compute capability ``sm`` that runs what it is given by ``run(launch)``, which returns a CUresult."""

    CUresult = SimpleNamespace(CUDA_ERROR_OUT_OF_MEMORY=2)
    CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="max shared")
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR="major",
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR="minor",
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT="multiprocessors",
    )

    def __init__(self, sm: int, run: Callable[[Launch], int] = lambda launch: 0, multiprocessors: int = 3) -> None:
        assert sm in SUPPORTED_SMS
        self.attributes = {"major": sm // 10, "minor": sm % 10, "multiprocessors": multiprocessors}
        self.run = run
        self.device = DEVICE
        self.resident = 1
        self.calls: list[str] = []
        self.images: list[bytes] = []
        self.names: list[str] = []
        self.shared_allowed: dict[tuple[str, int], int] = {}
        self.launches: list[Launch] = []

    def cuGetErrorString(self, code):
        return 0, {2: b"out of memory", 209: b"no kernel image"}.get(int(code), b"illegal address")

    def cuCtxGetDevice(self):
        self.calls.append("cuCtxGetDevice")
        return 0, self.device

    def cuDeviceGetAttribute(self, attribute, device):
        self.calls.append("cuDeviceGetAttribute")
        return 0, self.attributes[attribute]

    def cuLibraryLoadData(self, image, options, values, count, library_options, library_values, library_count):
        self.calls.append("cuLibraryLoadData")
        if not image:
            return 209, None
        self.images.append(image)
        return 0, len(self.images)

    def cuLibraryGetKernel(self, library, name):
        self.calls.append("cuLibraryGetKernel")
        self.names.append(name.decode())
        return 0, len(self.names)

    def cuKernelSetAttribute(self, attribute, value, kernel, device):
        self.calls.append("cuKernelSetAttribute")
        assert attribute == "max shared"
        self.shared_allowed[self.names[kernel - 1], device] = value
        return (0,)

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, function, block, shared):
        self.calls.append("cuOccupancyMaxActiveBlocksPerMultiprocessor")
        return 0, self.resident

    @staticmethod
    def CUfunction(handle):
        return handle

    def cuLaunchKernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, arguments, extra):
        self.calls.append("cuLaunchKernel")
        assert extra == 0
        values, types = arguments
        launch = Launch(self.names[function - 1], (gx, gy, gz), (bx, by, bz), shared, stream, values, types)
        self.launches.append(launch)
        return (self.run(launch),)
