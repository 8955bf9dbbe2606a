"""Files that are either whole or not there."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import IO, NoReturn

from dcdr_deploy.errors import DcdrError, InputError, OutputError
from dcdr_deploy.system.file_faults import is_of_files, unwritable
from dcdr_deploy.system.temporary import create_temporary, flush_folder, flush_to_disk, remove_leftovers

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""How the address of something on a network begins; a Windows drive has one letter."""

_ONE_SLASH = re.compile(r"(?<=:)/(?!/)")
"""What a Path leaves of the two slashes of an address."""


def is_url(path: str | os.PathLike[str]) -> bool:
    """Tell an address from a file name: ``https://host/a.png``, also after a Path has dropped one of its slashes."""
    return _URL.match(os.fspath(path)) is not None


def refuse_no_path(path: str | os.PathLike[str], error: type[DcdrError]) -> None:
    """Refuse what is no path, although it could be made one: nothing here uses a network, or knows ``~``.

    A shell puts the home folder in the place of ``~`` only where a word begins with it, unquoted. Elsewhere, as in
    ``--model=~/net.onnx``, it would stand for a folder of that name here, and outputs would go into a new one.

    Raises:
        DcdrError: of the class ``error``; an address, or below ``~`` where there is no such folder.
    """
    name = os.fspath(path)
    if is_url(path):
        address = _ONE_SLASH.sub("//", name)
        raise error(f"{address} is an address, not a file on this machine; copy it here first and name that")
    if name.replace("\\", "/").split("/")[0] == "~" and not os.path.lexists("~"):
        raise error(f"{name}: no shell has put your home folder in the place of ~; write the path out")


def refuse_pipe(path: str | os.PathLike[str]) -> None:
    """Refuse what can be read only once, or never ends: pipes, also those of a shell's ``<(...)``, and devices.

    Raises:
        InputError: it is one.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - any text is an answer
    except (OSError, ValueError):
        return  # whoever opens it says what is wrong
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(
            f"{os.fspath(path)}: is a pipe or a device, not a file; save its content to a file and pass that"
        )


def refuse_listing(error: OSError) -> NoReturn:
    """Say of a folder that it cannot be listed, as :func:`os.walk` is told by its ``onerror``.

    Raises:
        InputError: always.
    """
    raise InputError(f"{error.filename}: cannot be listed ({error.strerror}); mend its permissions") from error


def is_hidden(inside: str | PurePath) -> bool:
    """Whether a file or folder that was found in a folder is hidden there, or lies in a hidden folder.

    Nobody means those for input: systems put their own beside pictures, such as macOS ``._a.jpg`` beside ``a.jpg`` on
    disks of other systems, and what we have half written is called so too.

    Args:
        inside: its name, or its path from the folder that was named on.
    """
    return any(part.startswith(".") for part in PurePath(inside).parts)


def files_in(folder: Path, suffixes: Collection[str], *, below: bool = False) -> list[Path]:
    """The files of a folder whose names have one of some suffixes, in upper or lower case, in order; no hidden ones.

    Args:
        folder: where they lie.
        suffixes: in lower case, with the dot.
        below: in its folders too.

    Raises:
        OSError: the folder cannot be listed.
    """
    found = folder.rglob("*") if below else folder.iterdir()
    return sorted(
        path
        for path in found
        if path.suffix.lower() in suffixes and not is_hidden(path.relative_to(folder)) and path.is_file()
    )


def refuse_overwriting(output: Path, *inputs: Path) -> None:
    """Refuse to write over what is being read, under whatever name.

    Raises:
        InputError: the output is one of the inputs.
    """
    for source in inputs:
        if os.path.realpath(output) == os.path.realpath(source):
            raise InputError(f"{source}: would be overwritten by its own output; choose another name or folder")


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before minutes of work. Nothing is created.

    Raises:
        OutputError: no path, a folder in the file's place, a parent that is a file or not writable, or a name that the
            system refuses.
    """
    refuse_no_path(path, OutputError)
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for names that are too long
        raise OutputError(f"{path}: is a folder; name a file in it")
    _check_parents(path, path.absolute().parents)


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to, as :func:`check_writable` does a file.

    Raises:
        OutputError: as there, or it is a file.
    """
    refuse_no_path(folder, OutputError)
    _check_parents(folder, (folder.absolute(), *folder.absolute().parents))


def _check_parents(path: Path, candidates: Iterable[Path]) -> None:
    try:
        path.exists()
        existing = next((folder for folder in candidates if folder.exists()), None)
    except OSError as error:  # the system refuses the name itself, such as one that is too long
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); choose another name") from error
    if existing is None or not existing.is_dir():
        raise OutputError(f"{path}: {existing} is not a folder; choose another place")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: the folder {existing} may not be written; choose another place")


def make_folder(folder: Path) -> None:
    """Make a folder that is going to be written to, unless it is there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another place") from error


def vanished(folder: Path) -> OutputError:
    """Return the error for a folder that was written to and is not there any more, or is another one."""
    return OutputError(
        f"{folder}: was deleted, moved or unmounted during the run, with what had been written there; put it back, or "
        "run the same command again"
    )


def missing(paths: Iterable[Path]) -> list[Path]:
    """The paths at which no file is.

    Folders are listed: over a network, a system may remember for a while that a file was not there.
    """
    by_folder: dict[Path, list[Path]] = {}
    for path in paths:
        by_folder.setdefault(path.parent, []).append(path)
    found = []
    for folder, wanted in by_folder.items():
        names: set[str] = set()
        with suppress(OSError):
            names.update(os.listdir(folder))  # noqa: PTH208 - names alone, of maybe 100,000
        found += [path for path in wanted if path.name not in names and not os.path.lexists(path)]
    return found


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the path of an empty file beside ``target``; rename it to ``target`` when the block ends well.

    It is on the disk before it gets its name. Parent folders are created. Whatever ends the block early
    (KeyboardInterrupt included) removes the temporary file and leaves an older ``target`` as it was. What killed
    processes left in the folder is removed first (:mod:`dcdr_deploy.system.temporary`).

    Raises:
        OutputError: an ``OSError`` of files in the block, while creating folders or while renaming (no permission, disk
            full, a folder in the target's place, a folder that vanishes), or no path; one line that names the target.
    """
    refuse_no_path(target, OutputError)
    target = Path(target)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        temporary = create_temporary(target)
        yield temporary
        if not temporary.stat().st_size:
            raise OSError("nothing was written")
        flush_to_disk(temporary)
        temporary.replace(target)
        flush_folder(target.parent)
    except OSError as error:
        if temporary is not None and not target.parent.exists():
            raise vanished(target.parent) from error
        if not is_of_files(error):
            raise
        raise unwritable(target, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def open_to_append(path: Path, *, make: bool = True) -> IO[str]:
    """Open a list of lines to add to; never through a link, which may point at anything.

    Args:
        path: of the list.
        make: make it if need be.

    Raises:
        OSError: it cannot be opened, or is a link; FileNotFoundError if it is not there and not to be made.
    """
    flags = os.O_WRONLY | os.O_APPEND | (os.O_CREAT if make else 0) | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8")


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
    """Return where what can be made again is kept: $XDG_CACHE_HOME/dcdr-deploy, or ~/.cache/dcdr-deploy.

    A relative path in the variable is invalid and ignored (XDG Base Directory Specification, "Basics"): it would be
    another folder in every working directory, and whose is not known.
    """
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (stated if stated.is_absolute() else Path.home() / ".cache") / "dcdr-deploy"
