"""Files in the folder of the kernels in the user's cache, and whether anybody else can have written them.

What lies there decides what runs on the GPU with the rights of its user, so that a file that others can write is not
taken, and where others can write nothing is kept.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from dcdr_deploy.errors import OutputError
from dcdr_deploy.system.files import atomic_path, cache_folder

_log = logging.getLogger(__name__)


def place(name: str) -> Path:
    """Return the path of a file by its name."""
    return cache_folder() / "kernels" / name


def read(path: Path, instead: str) -> bytes | None:
    """Return what a file holds; ``None`` where there is none or others can write it, which is logged.

    Args:
        path: from :func:`place`.
        instead: what happens without it, for the log.
    """
    try:
        if not _folders_are_ours(path):
            return None
        with path.open("rb") as file:
            if not _is_ours(os.fstat(file.fileno())):
                _log.warning("%s can be written by others and is not used; %s", path, instead)
                return None
            return file.read()
    except OSError:
        return None


def write(path: Path, content: bytes) -> bool:
    """Keep a file where its owner alone can write, whatever the process's mask (XDG Base Directory Specification).

    Returns:
        whether it is kept; if not, the log says why.
    """
    try:
        for folder in (path.parent.parent, path.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        if not _folders_are_ours(path):
            _log.warning("%s can be written by others: nothing is kept; `chmod 700` it if it is yours", path.parent)
            return False
        with atomic_path(path) as temporary:
            temporary.chmod(0o600)
            temporary.write_bytes(content)
    except (OutputError, OSError) as error:
        _log.warning("%s is not kept: %s", path.name, error)
        return False
    return True


def _is_ours(state: os.stat_result) -> bool:
    """Whether nobody else can have put a file there: code for the GPU runs with the rights of its user."""
    if not hasattr(os, "geteuid"):
        return True
    return state.st_uid in (os.geteuid(), 0) and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _folders_are_ours(path: Path) -> bool:
    """Whether nobody else can put files into the two folders that are ours in the cache.

    Raises:
        OSError: one is not there.
    """
    return all(_is_ours(folder.stat()) for folder in (path.parent.parent, path.parent))
