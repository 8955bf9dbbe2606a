"""NVRTC without its Python bindings, for gpu_check.py: every CUDA build of torch brings the library and the headers."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dcdr_deploy.engines.cuda.compiler import OPTIONS
from dcdr_deploy.errors import EngineError, MissingDependency

_HEADER = "cuda_fp16.h"


def toolkits() -> list[Path]:
    """Return the folders in which a CUDA toolkit may lie, those that the environment names first."""
    named = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    return [Path(folder) for folder in (*named, "/usr/local/cuda") if folder]


def compile_with_nvrtc(text: str, sm: int, name: str) -> bytes:
    """Return CUDA C++ compiled for one compute capability.

    Args:
        text: the source.
        sm: compute capability such as 86.
        name: what the compiler calls the source in its messages.

    Raises:
        MissingDependency: there is no NVRTC, or no headers for it.
        EngineError: the source does not compile for this GPU; carries the compiler's first error.
    """
    nvrtc, headers = _load()
    options = [*OPTIONS, f"--gpu-architecture=sm_{sm}", f"--include-path={headers}"]
    program = ctypes.c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None))
    try:
        words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if nvrtc.nvrtcCompileProgram(program, len(options), words) != 0:
            log = _bytes(nvrtc, program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
            lines = [line.strip() for line in log.splitlines() if line.strip()] or ["the compiler says nothing"]
            first = next((line for line in lines if re.search(r"\berror\b", line)), lines[0])
            raise EngineError(f"{name} does not compile for SM{sm}: {first}")
        return _bytes(nvrtc, program, "CUBIN")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _load() -> tuple[Any, Path]:
    """Return the library, and the folder of the headers that came with it."""
    for library, headers in _places():
        if (headers / _HEADER).is_file():
            try:
                return ctypes.CDLL(str(library)), headers
            except OSError:  # of another system, or damaged
                continue
    raise MissingDependency(f"no NVRTC with {_HEADER} was found among torch's packages or in a CUDA toolkit")


def _places() -> Iterator[tuple[Path, Path]]:
    """Yield (library, headers): CUDA 13 has one folder among the pip packages, CUDA 12 one for each package."""
    spec = importlib.util.find_spec("nvidia")
    for root in (Path(folder) for folder in (spec.submodule_search_locations or ())) if spec else ():
        for library in sorted(root.glob("cu[0-9]*/lib/libnvrtc.so.*"), reverse=True):
            yield library, library.parents[1] / "include"
        for library in sorted(root.glob("cuda_nvrtc/lib/libnvrtc.so.*"), reverse=True):
            yield library, root / "cuda_runtime" / "include"
    for root in toolkits():
        yield root / "lib64" / "libnvrtc.so", root / "include"


def _bytes(nvrtc: Any, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def _check(nvrtc: Any, code: int) -> None:
    if code != 0:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise EngineError(f"NVRTC failed: {nvrtc.nvrtcGetErrorString(code).decode()}")
