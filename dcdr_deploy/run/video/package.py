"""PyAV, imported when a video is met: nothing else of this project needs it."""

from __future__ import annotations

import functools
import os
from typing import Any

from dcdr_deploy.errors import MissingDependency
from dcdr_deploy.system import packages

TOO_NEW = 19
"""The first major version of PyAV that is not known: its files open otherwise, and its times may be rounded."""


@functools.lru_cache(maxsize=1)
def load() -> Any:
    """Return the module ``av``; what FFmpeg's libraries write to stderr by themselves is kept to errors.

    Raises:
        MissingDependency: it is not installed, or too new; the message carries the line that installs it.
    """
    os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 tells its settings, and that it was closed early, otherwise
    try:
        import av
    except ImportError as error:
        raise MissingDependency(f"videos need PyAV ({error}): {packages.install_line('video')}") from error
    if int(av.__version__.partition(".")[0]) >= TOO_NEW:
        line = packages.install_line("video")
        raise MissingDependency(f"videos need PyAV before version {TOO_NEW}, and {av.__version__} is installed: {line}")
    av.logging.set_level(av.logging.FATAL)
    return av


def address(path: str | os.PathLike[str]) -> str:
    """Return how FFmpeg is told of a file: in a name alone it would take what stands before a colon for a protocol."""
    return f"file:{os.fspath(path)}"


def reason(error: Exception) -> str:
    """Return why FFmpeg failed, in its own words: what it logged last, where it did."""
    log = getattr(error, "log", None)
    text = log[2] if log else getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")
