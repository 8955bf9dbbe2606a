"""Files at addresses (``s3://``, ``gs://``, ``file://`` and what else fsspec knows): listed, fetched, put, removed.

Object stores show a file when it is whole; on other file systems it gets its name then.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, cast

from dcdr_deploy.errors import InputError, MissingDependency, OutputError
from dcdr_deploy.system.faults import one_line
from dcdr_deploy.system.files import is_url
from dcdr_deploy.system.packages import install_line
from dcdr_deploy.system.scratch import scratch_folder

_WHOLE_OR_NOT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"})
"""Stores in which a file that is being written is not seen."""

_CONTENT_KEYS = ("ETag", "etag", "md5Hash", "content_md5")
_TIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "created")


class Address(PurePosixPath):
    """An address that can be taken apart as a path can; its text keeps the two slashes."""

    __slots__ = ()

    def __str__(self) -> str:
        scheme, _, rest = super().__str__().partition(":/")
        return f"{scheme}:///{rest}" if scheme == "file" else f"{scheme}://{rest}"

    def __fspath__(self) -> str:
        return str(self)

    @property
    def scheme(self) -> str:
        """Such as ``"s3"``."""
        return self.parts[0].rstrip(":")


def address_of(place: str | Path) -> Address:
    """Return an address as it is, and a local path as one, too."""
    # Not as_uri, which would write a space as %20: fsspec takes a name as it stands.
    return Address(place if is_url(place) else f"file://{Path(place).absolute().as_posix()}")


def file_system(address: Address) -> tuple[Any, str]:
    """Return the file system of an address and the path in it: fsspec's own, else pyarrow's.

    Raises:
        MissingDependency: a package is missing.
        InputError: the address is of no kind that is known, or cannot be used.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingDependency(f"{address} needs the package fsspec: {install_line('ray')}") from error
    try:
        return cast("tuple[Any, str]", url_to_fs(str(address)))
    except ImportError as error:
        found = _of_pyarrow(address)
        if found is None:
            raise MissingDependency(f"{address} needs another package: {one_line(error)}") from error
        return found
    except Exception as error:  # of any package
        raise InputError(f"{address}: cannot be used ({one_line(error)})") from error


def _of_pyarrow(address: Address) -> tuple[Any, str] | None:
    try:
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow.fs import FileSystem

        # pyarrow would ask Google for a quarter of an hour where nobody is who could let it in.
        patience = "?retry_limit_seconds=10" if address.scheme in ("gs", "gcs") else ""
        system, path = FileSystem.from_uri(f"{address}{patience}")
    except (ImportError, ValueError, OSError):  # pyarrow knows no such scheme, or is not here
        return None
    return ArrowFSWrapper(system), path


def identity(info: Mapping[str, Any]) -> str:
    """Return what tells one content at an address from another, of what its store says without being read."""
    content = next((str(info[key]).strip('"') for key in _CONTENT_KEYS if info.get(key)), "")
    known = content or next((_seconds(info[key]) for key in _TIME_KEYS if info.get(key)), "")
    return f"{known} {info.get('size')}"


def _seconds(when: Any) -> str:
    """Write a time down; one question of a store gives it as a number, another one as a date."""
    if isinstance(when, datetime):
        when = when.timestamp()
    return f"{when:.3f}" if isinstance(when, (int, float)) else str(when)


def listed(folder: Address, *, recursive: bool) -> dict[str, dict[str, Any]] | None:
    """Return what is known of each file below a folder, by its name relative to it; ``None`` if there is none.

    Raises:
        InputError: it cannot be listed.
    """
    system, root = file_system(folder)
    try:
        system.invalidate_cache()  # of an earlier run in this process
        if not system.exists(root):
            return None
        found = system.find(root, maxdepth=None if recursive else 1, detail=True)
    except Exception as error:  # of any package
        raise InputError(f"{folder}: cannot be listed ({one_line(error)})") from error
    start = root.rstrip("/") + "/"
    return {name.removeprefix(start): info for name, info in found.items() if name.startswith(start)}


def put(file: Path, address: Address) -> None:
    """Put a file to an address: whole, or not at all.

    Raises:
        OutputError: it cannot be.
    """
    system, path = file_system(address)
    try:
        if address.scheme in _WHOLE_OR_NOT:
            system.put_file(str(file), path)
            return
        parent, _, _ = path.rpartition("/")
        temporary = f"{parent}/.dcdr-{secrets.token_hex(8)}.tmp"
        system.makedirs(parent, exist_ok=True)
        try:
            system.put_file(str(file), temporary)
            system.mv(temporary, path)
        except BaseException:
            if system.exists(temporary):
                system.rm_file(temporary)
            raise
    except Exception as error:  # of any package
        raise OutputError(f"{address}: cannot be written ({one_line(error)})") from error


def fetch(address: Address, file: Path) -> bool:
    """Get a file from an address; tell whether there was one.

    Raises:
        InputError: it cannot be fetched.
    """
    system, path = file_system(address)
    try:
        if not system.exists(path):
            return False
        system.get_file(path, str(file))
    except Exception as error:  # of any package
        raise InputError(f"{address}: cannot be fetched ({one_line(error)})") from error
    return True


def remove(address: Address) -> None:
    """Remove what lies at an address, if anything does.

    Raises:
        OutputError: it cannot be removed.
    """
    system, path = file_system(address)
    try:
        if system.exists(path):
            system.rm_file(path)
    except Exception as error:  # of any package
        raise OutputError(f"{address}: cannot be removed ({one_line(error)})") from error


def begins(address: Address) -> bytes:
    """Return the first bytes of the file at an address, for a look whether it can be read.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot.
        DcdrError: as :func:`file_system`.
    """
    system, path = file_system(address)
    try:
        with system.open(path, "rb") as file:
            return cast("bytes", file.read(64))
    except FileNotFoundError:
        raise
    except Exception as error:  # of any package
        raise OSError(None, one_line(error)) from error


def near_folder() -> AbstractContextManager[Path]:
    """Give an empty folder on this machine for files on their way from or to an address.

    It goes with the block; what killed processes left goes when the next one is made.
    """
    return scratch_folder("dcdr-near-")


def copy_out(folder: Path, target: Address, names: tuple[str, ...]) -> None:
    """Put those files of a folder that are there to an address, and remove the others there.

    Raises:
        OutputError: it cannot be done.
    """
    for name in names:
        if (folder / name).exists():
            with near_folder() as still:  # the file grows meanwhile
                put(Path(shutil.copy(folder / name, still)), target / name)
        else:
            remove(target / name)
