"""Temporary files beside their targets: names that nobody can guess, and none left behind by dead processes."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path

_PREFIX = ".dcdr-"
_NAME = re.compile(rf"{re.escape(_PREFIX)}(?P<host>[0-9a-f]{{8}})-(?P<process>\d+)-[0-9a-f]+\.tmp")
_PLAIN_SUFFIX = re.compile(r"(\.[0-9A-Za-z]{1,12}){0,2}")
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_ABANDONED = 7 * 24 * 3600.0
"""Seconds without a write after which nobody is at a file any more; the clocks of machines may differ by some."""
_searched: set[Path] = set()


def create_temporary(target: Path) -> Path:
    """Make an empty file beside a target and return its path.

    Its name is short ASCII whatever the target's is (file systems count 255 bytes, not characters) and keeps the
    suffix, because encoders choose the format by it. It is new: a file or a link that was put there is never opened.

    Raises:
        OSError: it cannot be made.
    """
    suffix = target.suffix if _PLAIN_SUFFIX.fullmatch(target.suffix) else ""
    while True:
        path = target.with_name(f"{_PREFIX}{_host()}-{os.getpid()}-{secrets.token_hex(6)}.tmp{suffix}")
        with suppress(FileExistsError):
            # The mode of a file that is made in the ordinary way, which the user's mask narrows.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _NO_LINKS, 0o666))
            return path


def is_temporary(name: str) -> bool:
    """Whether a file is called as those of :func:`create_temporary` are, on whatever machine."""
    return _NAME.match(name) is not None


def flush_to_disk(path: Path) -> None:
    """Return when a file's content is on the disk; a crash of the machine then keeps it.

    Raises:
        OSError: the disk is full or broken, which some systems tell only now.
    """
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk, where the system can tell."""
    if sys.platform == "win32":
        return  # folders cannot be opened there
    with suppress(OSError):  # file systems that cannot flush folders lose at most the newest names
        flush_to_disk(folder)


def remove_leftovers(folder: Path, *, again: bool = False) -> None:
    """Remove temporary files that processes of this machine left in a folder when they were killed; once a process.

    What belongs to a running process, or was made on another machine that shares the folder, stays, unless nothing has
    been written into it for a week: containers are machines of other names each, and numbers of processes come again.

    Args:
        folder: where they lie.
        again: look once more, because a process has died since.
    """
    if folder in _searched and not again:
        return
    _searched.add(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _NAME.match(entry.name)
            if match is None:
                continue
            with suppress(OSError):
                is_dead = match["host"] == _host() and not _is_running(int(match["process"]))
                if is_dead or time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED:
                    os.unlink(entry.path)  # noqa: PTH108 - an entry of scandir


def _host() -> str:
    """Where a process's number stands for it: a machine, and a container of its own numbers on it."""
    return hashlib.sha256(f"{platform.node()}{_process_numbers()}".encode()).hexdigest()[:8]


def _process_numbers() -> int:
    """The namespace of processes that this one is in (Linux, namespaces(7)); 0 where there are none."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    except OSError:
        return 0


def _is_running(process: int) -> bool:
    if sys.platform == "win32":
        return process != os.getpid()  # there, signal 0 would end the process: leave what may be somebody's
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
