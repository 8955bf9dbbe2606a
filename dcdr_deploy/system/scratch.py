"""Folders for what a process keeps for a while, which go with it however it ends."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dcdr_deploy.system.locks import IsLocked, locked

_LOCK, _FILES = "lock", "files"
_log = logging.getLogger(__name__)


@contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Give an empty folder among the system's temporary ones; it is removed at the end of the block.

    A process that is killed cannot remove its own: those of the same prefix and user whose process is gone are removed
    first. A lock that ends with the process tells, also processes of several machines apart that share the folder;
    where the file system knows no locks, nothing is removed but by its own process.

    Args:
        prefix: of its name, which nothing else begins with.
        parent: the folder in which it is made, in the place of the system's.

    Raises:
        OSError: it cannot be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    _remove_left(parent, prefix)
    with ExitStack() as held:
        while True:
            place = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            held.callback(shutil.rmtree, place, ignore_errors=True)
            try:
                held.enter_context(locked(place / _LOCK))
            except (IsLocked, FileNotFoundError):  # one who looks whether its process is gone removes it this moment
                continue
            except OSError as error:
                _log.info("%s stays if this process is killed: %s", place, error)
            break
        files = place / _FILES
        files.mkdir()
        yield files


def _remove_left(parent: Path, prefix: str) -> None:
    for place in parent.glob(f"{prefix}*"):
        with suppress(OSError, IsLocked):
            # Another user's is none of ours, and a folder without a lock is being made this moment.
            if _is_ours(place) and (place / _LOCK).is_file():
                with locked(place / _LOCK):
                    shutil.rmtree(place, ignore_errors=True)


def _is_ours(place: Path) -> bool:
    if place.is_symlink() or not place.is_dir():
        return False
    return not hasattr(os, "getuid") or place.stat().st_uid == os.getuid()
