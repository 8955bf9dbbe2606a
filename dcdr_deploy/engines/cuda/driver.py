"""Loading and launching compiled kernels through the CUDA driver: ``cuda.bindings`` only, no torch, no CUDA runtime.

A launch neither allocates nor synchronises: it may stand in TensorRT's ``enqueue`` and in the capture of a CUDA graph.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Iterable, Sequence
from typing import Any

from dcdr_deploy.errors import EngineError, EngineOutOfMemory, MissingDependency
from dcdr_deploy.system.faults import one_line
from dcdr_deploy.system.packages import install_line

EXTRA = "cuda-kernels"

_TYPES: dict[str, Any] = {"p": ctypes.c_void_p, "i": ctypes.c_int32, "l": ctypes.c_int64, "f": ctypes.c_float}
_SHARED_WITHOUT_OPT_IN = 48 * 1024


def load_driver() -> Any:
    """Return the module ``cuda.bindings.driver``, with the driver initialised.

    Raises:
        MissingDependency: the package is not installed.
        EngineError: there is no NVIDIA driver, or it answers with an error.
    """
    try:
        driver = importlib.import_module("cuda.bindings.driver")
    except ImportError as error:
        raise MissingDependency(
            f"cuda.bindings cannot be imported ({one_line(error)}); {install_line(EXTRA)}"
        ) from error
    try:
        call(driver, "cuInit", 0)
    except RuntimeError as error:  # the bindings look for libcuda with the first call
        raise EngineError(f"no NVIDIA driver was found ({one_line(error)}); install the driver of this GPU") from error
    return driver


def call(driver: Any, function: str, *arguments: Any) -> Any:
    """Call a function of the driver and return its result: ``None``, a value, or a tuple of values.

    Raises:
        EngineOutOfMemory: the device's memory ran out.
        EngineError: any other error, with the driver's name and words for it.
    """
    code, *values = getattr(driver, function)(*arguments)
    if int(code) != 0:
        text = driver.cuGetErrorString(code)[1]
        words = text.decode() if isinstance(text, bytes) else "unknown error"
        kind = EngineOutOfMemory if code == driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY else EngineError
        raise kind(f"CUDA: {function} failed: {words} ({int(code)})")
    return values[0] if len(values) == 1 else tuple(values) or None


class Kernel:
    """A kernel that is ready to be launched on one device.

    Args:
        driver: ``cuda.bindings.driver`` or what behaves like it.
        handle: ``CUkernel``.
        types: a letter for each parameter: ``p`` pointer, ``i`` int32, ``l`` int64, ``f`` float.
        block: threads in a block.
        shared: bytes of dynamic shared memory in a block.
    """

    def __init__(self, driver: Any, handle: Any, types: str, block: int, shared: int = 0) -> None:
        self._driver = driver
        # The driver takes a CUkernel in a CUfunction's place and finds the context by the stream.
        self._function = driver.CUfunction(int(handle))
        self._types = tuple(_TYPES[letter] for letter in types)
        self.block = block
        self.shared = shared

    def launch(self, grid: int | tuple[int, int, int], stream: int, values: Sequence[int | float]) -> None:
        """Put the kernel on a stream and return at once.

        Args:
            grid: number of blocks, or (x, y, z).
            stream: ``CUstream`` as a number; 0 is the default stream.
            values: the arguments; pointers are addresses on the device.

        Raises:
            EngineError: the driver refuses the launch.
        """
        if len(values) != len(self._types):
            raise ValueError(f"the kernel takes {len(self._types)} arguments, not {len(values)}")
        blocks = (grid, 1, 1) if isinstance(grid, int) else grid
        arguments = (tuple(values), self._types)
        call(
            self._driver, "cuLaunchKernel", self._function, *blocks, self.block, 1, 1, self.shared, stream, arguments, 0
        )

    def resident_blocks(self) -> int:
        """Return how many blocks a multiprocessor of the current device holds at a time, at least 1."""
        function = "cuOccupancyMaxActiveBlocksPerMultiprocessor"
        return max(1, call(self._driver, function, self._function, self.block, self.shared))


class Library:
    """The kernels of a cubin. Stays loaded until the process ends: a capture may still refer to its kernels."""

    def __init__(self, driver: Any, cubin: bytes) -> None:
        self._driver = driver
        self._handle = call(driver, "cuLibraryLoadData", cubin, [], [], 0, [], [], 0)

    def kernel(self, name: str, types: str, block: int, shared: int = 0, device: Any = 0) -> Kernel:
        """Return a kernel by name, allowed to use ``shared`` bytes of dynamic shared memory on ``device``."""
        handle = call(self._driver, "cuLibraryGetKernel", self._handle, name.encode())
        if shared > _SHARED_WITHOUT_OPT_IN:
            attribute = self._driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            call(self._driver, "cuKernelSetAttribute", attribute, shared, handle, device)
        return Kernel(self._driver, handle, types, block, shared)


def device_attribute(driver: Any, name: str, device: Any) -> int:
    """Return an attribute of a device by the end of its name, such as ``"MULTIPROCESSOR_COUNT"``."""
    attribute = getattr(driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
    return int(call(driver, "cuDeviceGetAttribute", attribute, device))


def device_sm(driver: Any, device: Any) -> int:
    """Return a device's compute capability as a number such as 86."""
    major, minor = (device_attribute(driver, f"COMPUTE_CAPABILITY_{part}", device) for part in ("MAJOR", "MINOR"))
    return 10 * major + minor


def nearest_sm(available: Iterable[int], sm: int) -> int | None:
    """Return the SM whose cubin runs on a device: its own, else the highest lower one of the same major number."""
    return max((each for each in available if each // 10 == sm // 10 and each <= sm), default=None)


def choose_sm(available: Sequence[int], sm: int) -> int:
    """Return of compiled kernels those that run on a device.

    Raises:
        EngineError: none do.
    """
    nearest = nearest_sm(available, sm)
    if nearest is None:
        listed = ", ".join(f"SM{each}" for each in sorted(available)) or "none"
        raise EngineError(f"this GPU is SM{sm}, the kernels were compiled for {listed}; build again with --sm {sm}")
    return nearest
