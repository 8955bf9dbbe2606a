"""Folders for what a process keeps for a while, which go with it however it ends."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dcdr_deploy.system.locks import IsLocked, locked

_LOCK, _FILES = "lock", "files"


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Give an empty folder among the system's temporary ones; it is removed at the end of the block.

    A process that is killed cannot remove its own: those of the same prefix and user whose process is gone are removed
    first. A lock that ends with the process tells.

    Args:
        prefix: of its name, which nothing else begins with.

    Raises:
        OSError: it cannot be made.
    """
    _remove_left(prefix)
    with ExitStack() as held:
        while True:
            place = Path(tempfile.mkdtemp(prefix=prefix))
            try:
                held.enter_context(locked(place / _LOCK))
            except IsLocked:  # by one who looks whether its process is gone, and removes it
                continue
            break
        held.callback(shutil.rmtree, place, ignore_errors=True)
        files = place / _FILES
        files.mkdir()
        yield files


def _remove_left(prefix: str) -> None:
    for place in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError, IsLocked):
            # Another user's is none of ours, and a folder without a lock is being made this moment.
            if _is_ours(place) and (place / _LOCK).is_file():
                with locked(place / _LOCK):
                    shutil.rmtree(place, ignore_errors=True)


def _is_ours(place: Path) -> bool:
    if place.is_symlink() or not place.is_dir():
        return False
    return not hasattr(os, "getuid") or place.stat().st_uid == os.getuid()
