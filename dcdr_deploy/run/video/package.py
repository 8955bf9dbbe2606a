"""PyAV, imported when a video is met: nothing else of this project needs it.

What its versions 17 to 19 give in different ways is asked for here.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from dcdr_deploy.errors import MissingDependency
from dcdr_deploy.system import packages

_KEEPS_BYTES = 19
"""The first major version that reads text of unknown encodings into surrogates, which no file of ours could hold."""


@functools.lru_cache(maxsize=1)
def load() -> Any:
    """Return the module ``av``; what FFmpeg's libraries write to stderr by themselves is kept to errors.

    Raises:
        MissingDependency: it is not installed; the message carries the line that installs it.
    """
    os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 tells its settings, and that it was closed early, otherwise
    try:
        import av
    except ImportError as error:
        raise MissingDependency(f"videos need PyAV ({error}): {packages.install_line('video')}") from error
    av.logging.set_level(av.logging.FATAL)
    return av


def address(path: str | os.PathLike[str]) -> str:
    """Return how FFmpeg is told of a file: in a name alone it would take what stands before a colon for a protocol."""
    return f"file:{os.fspath(path)}"


def open_source(path: str | os.PathLike[str]) -> Any:
    """Open a file for reading, whatever the encoding of its titles; :func:`readable` gives them as text.

    Raises:
        OSError, av.error.FFmpegError: it cannot be read.
    """
    av = load()
    if int(av.__version__.partition(".")[0]) >= _KEEPS_BYTES:
        return av.open(address(path))
    return av.open(address(path), metadata_errors="replace")


def readable(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what a file says of itself, with U+FFFD for what is no UTF-8."""
    return {key: value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for key, value in metadata.items()}


def exact(rational: Any) -> Fraction:
    """Return a time base, rate or ratio; 0 for one that is not known.

    PyAV 19 has numbers of its own, of which two multiplied are rounded to 32 bits.
    """
    return Fraction(rational or 0)


def side_data_of(frame: Any) -> dict[str, Any]:
    """Return what lies beside a frame's picture, by FFmpeg's names of its kinds."""
    found = [frame.side_data[place] for place in range(len(frame.side_data))]
    return {str(data.type.name): data for data in found}


def reason(error: Exception) -> str:
    """Return why FFmpeg failed, in its own words: what it logged last, where it did."""
    log = getattr(error, "log", None)
    text = log[2] if log else getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")
