"""Compiling the kernels by NVRTC: pip packages only, no nvcc, no GPU.

A compiled kernel (cubin) is kept in the user's cache folder under a name that stands for everything that went into it:
source, options, SM and the compiler's version. A damaged file is noticed by its checksum and compiled again, and where
the folder cannot be written nothing is kept.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import re
from pathlib import Path
from typing import Any

from dcdr_deploy.engines.cuda import cached
from dcdr_deploy.engines.cuda.convolution_table import instantiations, variants
from dcdr_deploy.engines.cuda.driver import nearest_sm
from dcdr_deploy.errors import EngineError, MissingDependency
from dcdr_deploy.system.faults import one_line
from dcdr_deploy.system.packages import install_line

EXTRA = "cuda-kernels"

SOURCES = {
    name: Path(__file__).with_name(f"{name}.cu")
    for name in ("dcrb_from_maps", "dcrb_from_hidden", "frames", "convolution", "picture", "columns", "video")
}
"""CUDA sources by name."""

GENERATED = {"convolution": lambda sm: instantiations(variants(sm))}
"""What is added to a source's text for an SM: the kernels that are made of its templates there, by the table."""

SUPPORTED_SMS = (75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121)
"""Compute capabilities that can be compiled for, ascending. An older NVRTC may know fewer."""

OPTIONS = ("--std=c++17",)
"""Options of the compiler besides the architecture and the folder of the headers."""

_ARCHITECTURES = {90: "90a"}
"""SMs with instructions that only their own name switches on."""

_HEADER = "cuda_fp16.h"
_OWN_INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)
_DIGEST_BYTES = hashlib.sha256().digest_size
_log = logging.getLogger(__name__)


def source_text(source: str, sm: int | None = None) -> str:
    """Return a CUDA source by its name in :data:`SOURCES`, with the project's own headers in their places.

    If an SM is given, with what is generated for it.
    """
    text = _with_headers(SOURCES[source])
    return text + GENERATED[source](sm) if sm is not None and source in GENERATED else text


def _with_headers(path: Path) -> str:
    def header(line: re.Match[str]) -> str:
        return _with_headers(path.with_name(line[1]))

    return _OWN_INCLUDE.sub(header, path.read_text(encoding="utf-8"))


def source_hash(source: str) -> str:
    """Return the SHA-256, in hexadecimal digits, of a source for all SMs and the options it is compiled with."""
    generated = [GENERATED[source](sm) for sm in SUPPORTED_SMS] if source in GENERATED else []
    return _hash(source_text(source), *generated)


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join((*texts, *OPTIONS)).encode()).hexdigest()


def target_sm(sm: int) -> int:
    """Return what to compile for on a GPU: its own compute capability, or the nearest lower one that it runs.

    Raises:
        EngineError: the GPU is too old, or of a generation that is not known yet.
    """
    nearest = nearest_sm(SUPPORTED_SMS, sm)
    if nearest is None:
        known = ", ".join(f"SM{each}" for each in SUPPORTED_SMS)
        raise EngineError(f"there is no kernel for a GPU of SM{sm}, only for {known}; use another backend")
    return nearest


def compile_cubin(source: str, sm: int, text: str | None = None) -> bytes:
    """Return a source compiled for one compute capability, from the cache where it is there.

    Args:
        source: name in :data:`SOURCES`.
        sm: compute capability such as 86.
        text: the source with other measures than the table's; ``None`` for :func:`source_text`.

    Raises:
        MissingDependency: cuda-bindings, NVRTC or the CUDA headers are not installed.
        EngineError: NVRTC does not know the SM, or the source does not compile; carries the compiler's first error.
    """
    text = source_text(source, sm) if text is None else text
    path = cached.place(f"{source}.sm{sm}.nvrtc{compiler_version()}.{_hash(text)[:32]}.cubin")
    cubin = _read_cached(path)
    if cubin is None:
        cubin = compile_text(text, sm, name=f"{source}.cu")
        cached.write(path, hashlib.sha256(cubin).digest() + cubin)
    return cubin


def compiler_version() -> str:
    """Return NVRTC's version, such as ``"13.0"``.

    Raises:
        MissingDependency: as :func:`compile_cubin`.
    """
    return ".".join(map(str, _call(_load_nvrtc(), "nvrtcVersion")))


def compile_text(text: str, sm: int, name: str) -> bytes:
    """Compile CUDA C++ without the cache.

    Args:
        text: the source.
        sm: compute capability such as 86.
        name: what the compiler calls the source in its messages.

    Raises:
        MissingDependency: as :func:`compile_cubin`.
        EngineError: as :func:`compile_cubin`.
    """
    nvrtc = _load_nvrtc()
    known = [int(each) for each in _call(nvrtc, "nvrtcGetSupportedArchs")]
    if sm not in known:
        raise EngineError(
            f"NVRTC {compiler_version()} cannot compile for SM{sm}, only for {', '.join(map(str, known))}"
        )
    options = [*OPTIONS, f"--gpu-architecture=sm_{_ARCHITECTURES.get(sm, sm)}", f"--include-path={_include_folder()}"]
    program = _call(nvrtc, "nvrtcCreateProgram", text.encode(), name.encode(), 0, [], [])
    try:
        code, *_ = nvrtc.nvrtcCompileProgram(program, len(options), [each.encode() for each in options])
        if int(code) != 0:
            raise EngineError(f"{name} does not compile for SM{sm}: {_first_error(_log_text(nvrtc, program))}")
        cubin = bytes(_call(nvrtc, "nvrtcGetCUBINSize", program))
        _call(nvrtc, "nvrtcGetCUBIN", program, cubin)
        return cubin
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _load_nvrtc() -> Any:
    try:
        nvrtc = importlib.import_module("cuda.bindings.nvrtc")
        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError) as error:  # RuntimeError: the bindings do not find the library
        raise MissingDependency(f"the kernels cannot be compiled: {one_line(error)}; {install_line(EXTRA)}") from error
    return nvrtc


def _include_folder() -> Path:
    """Folder of the CUDA headers among the pip packages; CUDA 13 and 12 differ in where they put them."""
    spec = importlib.util.find_spec("nvidia")
    roots = [Path(root) for root in (spec.submodule_search_locations or ())] if spec else []
    for root in roots:
        for folder in (*sorted(root.glob("cu[0-9]*/include"), reverse=True), root / "cuda_runtime" / "include"):
            if (folder / _HEADER).is_file():
                return folder
    raise MissingDependency(
        f"the kernels cannot be compiled: no {_HEADER} among the pip packages; {install_line(EXTRA)}"
    )


def _call(nvrtc: Any, function: str, *arguments: Any) -> Any:
    code, *values = getattr(nvrtc, function)(*arguments)
    if int(code) != 0:
        raise EngineError(f"NVRTC: {function} failed: {nvrtc.nvrtcGetErrorString(code)[1].decode()}")
    return values[0] if len(values) == 1 else tuple(values)


def _log_text(nvrtc: Any, program: Any) -> str:
    buffer = bytes(_call(nvrtc, "nvrtcGetProgramLogSize", program))
    _call(nvrtc, "nvrtcGetProgramLog", program, buffer)
    return buffer.rstrip(b"\0").decode(errors="replace")


def _first_error(log: str) -> str:
    """The first line of a compiler's log that reports an error, else the first line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["the compiler says nothing"]
    return next((line for line in lines if re.search(r"\berror\b", line)), lines[0])


def _read_cached(path: Path) -> bytes | None:
    """Return the cubin kept in a file, ``None`` where there is none or the checksum at its start does not fit."""
    kept = cached.read(path, "the kernel is compiled again")
    if kept is None:
        return None
    digest, cubin = kept[:_DIGEST_BYTES], kept[_DIGEST_BYTES:]
    if hashlib.sha256(cubin).digest() != digest:
        _log.warning("%s is not as it was written; the kernel is compiled again", path)
        return None
    return cubin
