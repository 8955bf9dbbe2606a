"""The fused kernel for gpu_check.py, also where packages are missing that the installed tool would ask for.

The kernel is compiled by NVRTC from pip packages; without its Python bindings, which torch brings since 2.10 only, by
way of ctypes. Where the library or the headers are missing, nvcc does instead; and where the bindings of the driver are
missing, ctypes does.
"""
# ruff: noqa: N802, D102 - functions of CUDA keep the names that they have in its bindings

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from enum import IntEnum
from pathlib import Path
from typing import Any

from gpu_nvrtc import compile_with_nvrtc, toolkits

from dcdr_deploy.engines.cuda import dcrb_from_maps
from dcdr_deploy.engines.cuda import driver as launching
from dcdr_deploy.engines.cuda.compiler import SOURCES, compile_cubin, source_text, target_sm
from dcdr_deploy.engines.cuda.dcrb_from_maps import FromMapsKernels
from dcdr_deploy.errors import MissingDependency

COMPILE_SECONDS = 120


def kernels_for(sm: int) -> tuple[FromMapsKernels, str]:
    """Return the kernel for a GPU, and in words how it was made.

    Raises:
        MissingDependency: neither NVRTC nor nvcc can be used.
        EngineError: there is no kernel for this GPU, or it does not compile.
    """
    target = target_sm(sm)
    cubin, compiler = _compiled(dcrb_from_maps.SOURCE, target)
    driver, launcher = _driver()
    return FromMapsKernels({target: cubin}, driver), f"SM{target} by {compiler}, launched through {launcher}"


def _compiled(source: str, sm: int) -> tuple[bytes, str]:
    try:
        return compile_cubin(source, sm), "NVRTC"
    except MissingDependency:
        try:
            return compile_with_nvrtc(source_text(source), sm, f"{source}.cu"), "NVRTC through ctypes"
        except MissingDependency as error:
            return compile_with_nvcc(SOURCES[source], sm, error), "nvcc"


def compile_with_nvcc(source: Path, sm: int, reason: MissingDependency) -> bytes:
    """Return a source compiled by the nvcc on the PATH, or in CUDA's usual folders.

    Raises:
        MissingDependency: there is none, or it fails; ``reason`` is why it was asked.
    """
    folders = [os.environ.get("PATH", ""), *(str(root / "bin") for root in toolkits())]
    program = shutil.which("nvcc", path=os.pathsep.join(folders))
    if program is None:
        raise MissingDependency(f"{reason}; and there is no nvcc on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "kernel.cubin"
        call = [program, "-cubin", f"-arch=sm_{sm}", "-std=c++17", "-o", str(target), str(source)]
        done = subprocess.run(call, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
        if done.returncode != 0:
            words = " ".join((done.stderr or done.stdout).split())
            raise MissingDependency(f"{reason}; and nvcc fails: {words[:300]}")
        return target.read_bytes()


def _driver() -> tuple[Any, str]:
    try:
        launching.load_driver()
    except MissingDependency:
        return CtypesDriver(), "ctypes"
    return None, "cuda.bindings"


class _Result(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2


class _FunctionAttribute(IntEnum):
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8


class _DeviceAttribute(IntEnum):
    CU_DEVICE_ATTRIBUTE_CLOCK_RATE = 13
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


class CtypesDriver:
    """The few functions of ``cuda.bindings.driver`` that launching takes, on the driver's library itself."""

    CUresult = _Result
    CUfunction_attribute = _FunctionAttribute
    CUdevice_attribute = _DeviceAttribute
    CUfunction = int

    def __init__(self, library: Any = None) -> None:
        self._library = ctypes.CDLL("libcuda.so.1") if library is None else library
        self._kept: list[Any] = []
        self.cuInit(0)

    def cuInit(self, flags: int) -> tuple[int]:
        return (self._library.cuInit(ctypes.c_uint(flags)),)

    def cuGetErrorString(self, code: int) -> tuple[int, bytes | None]:
        text = ctypes.c_char_p()
        status = self._library.cuGetErrorString(ctypes.c_int(int(code)), ctypes.byref(text))
        return status, text.value

    def cuCtxGetDevice(self) -> tuple[int, int]:
        device = ctypes.c_int()
        return self._library.cuCtxGetDevice(ctypes.byref(device)), device.value

    def cuDeviceGetAttribute(self, attribute: int, device: int) -> tuple[int, int]:
        value = ctypes.c_int()
        arguments = (ctypes.c_int(int(attribute)), ctypes.c_int(int(device)))
        return self._library.cuDeviceGetAttribute(ctypes.byref(value), *arguments), value.value

    def cuLibraryLoadData(self, cubin: bytes, *_no_options: Any) -> tuple[int, int]:
        library, image = ctypes.c_void_p(), ctypes.create_string_buffer(cubin, len(cubin) + 1)
        self._kept.append(image)
        nothing = (None, None, ctypes.c_uint(0)) * 2
        return self._library.cuLibraryLoadData(ctypes.byref(library), image, *nothing), library.value or 0

    def cuLibraryGetKernel(self, library: int, name: bytes) -> tuple[int, int]:
        kernel = ctypes.c_void_p()
        status = self._library.cuLibraryGetKernel(ctypes.byref(kernel), ctypes.c_void_p(library), name)
        return status, kernel.value or 0

    def cuKernelSetAttribute(self, attribute: int, value: int, kernel: int, device: int) -> tuple[int]:
        arguments = (ctypes.c_int(int(attribute)), ctypes.c_int(value), ctypes.c_void_p(kernel))
        return (self._library.cuKernelSetAttribute(*arguments, ctypes.c_int(int(device))),)

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, kernel: int, block: int, shared: int) -> tuple[int, int]:
        count = ctypes.c_int()
        arguments = (ctypes.c_void_p(kernel), ctypes.c_int(block), ctypes.c_size_t(shared))
        function = self._library.cuOccupancyMaxActiveBlocksPerMultiprocessor
        return function(ctypes.byref(count), *arguments), count.value

    def cuLaunchKernel(self, kernel: int, *rest: Any) -> tuple[int]:
        *sizes, shared, stream, (values, types), _extra = rest
        # The driver copies the arguments before it returns.
        held = [kind(value) for kind, value in zip(types, values, strict=True)]
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(each) for each in held))
        numbers = [ctypes.c_uint(size) for size in (*sizes, shared)]
        function, place = ctypes.c_void_p(kernel), ctypes.c_void_p(stream)
        return (self._library.cuLaunchKernel(function, *numbers, place, pointers, None),)
