"""What the system says of files that cannot be written, and what helps against it.

Not every ``OSError`` is about a file. From Python 3.10 on ``TimeoutError`` is one, and libraries raise their own
subclasses of it, of ``ConnectionError`` and the like, where a process or a codec lets others wait.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from dcdr_deploy.errors import OutputError
from dcdr_deploy.system.temporary import is_temporary


def _numbers(names: Iterable[str]) -> frozenset[int]:
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))  # not every system knows all


FULL = _numbers(("ENOSPC", "EDQUOT"))

DEVICE_FAILURES = _numbers(
    ("EIO", "ENXIO", "ENODEV", "ESTALE", "ETIMEDOUT", "ENOTCONN", "ECONNRESET", "EHOSTDOWN", "EREMOTEIO")
)
"""What the system says where a disk or a network share fails under a file that is open; no error of this package."""

_REMEDIES = (
    (FULL, "choose another place or free some space"),
    (DEVICE_FAILURES, "a disk or a network fails: mend it, or choose another place"),
    (_numbers(("EACCES", "EPERM")), "choose another place, or mend its permissions"),
    (_numbers(("EFBIG",)), "choose a place that takes larger files"),
    (_numbers(("ENAMETOOLONG",)), "choose a shorter name"),
    (_numbers(("EISDIR", "ENOTDIR", "EEXIST", "ENOTEMPTY", "EINVAL", "ELOOP")), "choose another name"),
    (_numbers(("EMFILE", "ENFILE")), "raise the limit of open files (`ulimit -n`)"),
    (_numbers(("ENOMEM",)), "free some memory"),
)

_OF_A_LIBRARY = "choose another place or free some space"
"""Against what has no number: Pillow's encoders say of a full disk that they failed, and nothing more."""


_FFMPEGS = "file:"
"""How FFmpeg is told that something is a file."""


class UnwritableError(OutputError):
    """The system does not let a file be written; the cause is its ``OSError``."""


def is_of_files(error: OSError) -> bool:
    """Whether an error is one of files: it has the system's number, or a library raised it as plain ``OSError``."""
    return error.errno is not None or type(error) is OSError


def reason_of(error: OSError) -> str:
    """Return what the system or a library says, as a part of a sentence."""
    return str(error.strerror or error).rstrip(".")


def remedy_for(error: OSError) -> str:
    """Return what helps against an error in writing."""
    if error.errno is None:
        return _OF_A_LIBRARY
    return next((remedy for numbers, remedy in _REMEDIES if error.errno in numbers), "choose another place")


def unwritable(target: Path | str, error: OSError) -> UnwritableError:
    """Return the error for a file that cannot be written, with its remedy; where it names another file, with that."""
    other = _other_file(Path(target).absolute(), error)
    if other:
        why = f"{other}: {reason_of(error)}; see to that file and run the same command again"
    else:
        why = f"{reason_of(error)}; {remedy_for(error)}"
    return UnwritableError(f"{target}: cannot be written: {why}")


def _other_file(target: Path, error: OSError) -> str:
    """Return the file that an error names if it is neither the target nor a folder above it nor what becomes it."""
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return ""
    name = os.fsdecode(error.filename).removeprefix(_FFMPEGS)
    path = Path(name).absolute()
    if path == target or path in target.parents or is_temporary(path.name):
        return ""
    return name
