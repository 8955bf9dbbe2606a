"""Everything a user can cause, as one small family of exceptions.

The command line prints the message of a :class:`DcdrError` on one line and exits with 2. A message says what was wrong,
with which file, and what to do about it. Anything that is not a ``DcdrError`` is a bug and keeps its traceback.
"""

from __future__ import annotations


class DcdrError(Exception):
    """Base of all errors that a user can cause and mend."""


class InputError(DcdrError):
    """A picture, folder or option that cannot be used as input."""


class OutputError(DcdrError):
    """A place or format that cannot be written."""


class CheckpointError(DcdrError):
    """A checkpoint that is unsafe, damaged or of another architecture."""


class ModelError(DcdrError):
    """An ONNX model or engine file that is missing, ambiguous or does not fit."""


class ExportError(DcdrError):
    """An export whose result did not pass its verification."""


class EngineError(DcdrError):
    """A backend that cannot be loaded or failed while running."""


class EngineOutOfMemory(EngineError):
    """A backend ran out of memory; the runner answers it with a smaller tile."""


class NonFiniteError(EngineError):
    """A model produced NaN or infinity; ``tile`` is the number of the first such tile of a batch, where it is known."""

    def __init__(self, message: str, tile: int | None = None) -> None:
        super().__init__(message)
        self.tile = tile


class MissingDependency(DcdrError):
    """An optional package is needed; the message carries the line that installs it."""


def kind_of(error: DcdrError) -> str:
    """Return the name of an error's class, or of the nearest one of this module that it belongs to."""
    return next(each.__name__ for each in type(error).__mro__ if each.__module__ == __name__)


def of_kind(kind: str, message: str) -> DcdrError:
    """Return an error again that another process told of by :func:`kind_of` and its message."""
    found = globals().get(kind)
    if isinstance(found, type) and issubclass(found, DcdrError):
        return found(message)
    return DcdrError(message)
