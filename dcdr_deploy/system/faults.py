"""Failures of the backends' libraries, turned into this project's errors.

The libraries throw plain ``RuntimeError`` and the like with messages of many lines. Whether one of them means "out of
memory" can only be told from its words; they are collected here so that all backends agree.
"""

from __future__ import annotations

from dcdr_deploy.errors import EngineError, EngineOutOfMemory

_OUT_OF_MEMORY = (
    "bad_alloc",
    "bad allocation",
    "failed to allocate memory",
    "can't allocate memory",
    "cannot allocate memory",
    "could not allocate memory",
    "not enough memory",
    "out of memory",
    "out_of_memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cudaerrormemoryallocation",
)
_LONGEST_MESSAGE = 300


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a library's error means that memory ran out."""
    if isinstance(error, MemoryError):
        return True
    words = str(error).lower()
    return any(sign in words for sign in _OUT_OF_MEMORY)


def one_line(error: BaseException) -> str:
    """Return a library's message as one line of bearable length, without the empty lines."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 3] + "..."


def import_fault(package: str, error: BaseException) -> str:
    """Return why importing a package failed: it is not there, or it is and cannot be used."""
    if isinstance(error, ModuleNotFoundError) and error.name == package:
        return f"{package} is not installed"
    return f"{package} cannot be imported: {one_line(error)}"


def engine_error(backend: str, error: BaseException) -> EngineError:
    """Return the error to raise for what ``backend`` threw while running."""
    if is_out_of_memory(error):
        return EngineOutOfMemory(f"{backend} ran out of memory: {one_line(error)}")
    return EngineError(f"{backend} failed: {one_line(error)}")
