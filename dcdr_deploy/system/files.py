"""Files that are either whole or not there."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dcdr_deploy.errors import OutputError

_serial = itertools.count()
_STEM_KEPT = 100
"""Characters of the target's stem in the temporary name: leaves room below the usual limit of 255 bytes."""


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``target``; rename it to ``target`` when the block ends well.

    The temporary name is hidden and keeps the suffix, because encoders choose the format by it:
    ``out/frame.exr`` becomes ``out/.frame.<pid>-<n>.tmp.exr``. Parent folders are created. Whatever ends the block
    early (KeyboardInterrupt included) removes the temporary file and leaves an older ``target`` as it was.

    Raises:
        OutputError: an ``OSError`` in the block, while creating folders or while renaming (no permission, disk full,
            a folder in the target's place); one line that names the target.
    """
    target = Path(target)
    temporary = target.with_name(f".{target.stem[:_STEM_KEPT]}.{os.getpid()}-{next(_serial)}.tmp{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written: {error.strerror or error}; choose another place or free some space"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


_AT_REST = 2.0
"""Seconds since a file's last change after which a clock of whole seconds would show another one."""


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits.

    A file at rest is read once in a process, however many ask: an engine that is found, chosen and loaded is gigabytes.
    It is read again when its identity, size or time of change is another one.

    Raises:
        OSError: the file cannot be read.
    """
    found = path.stat()
    if time.time() - max(found.st_mtime, found.st_ctime) < _AT_REST:
        return _digest(path)
    return _digest_at_rest(path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@functools.lru_cache(maxsize=64)
def _digest_at_rest(path: Path, *_identity: int) -> str:
    return _digest(path)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Return where what can be made again is kept: $XDG_CACHE_HOME/dcdr-deploy, or ~/.cache/dcdr-deploy."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcdr-deploy"
