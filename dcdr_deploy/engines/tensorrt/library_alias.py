"""A second name for a shared library that is already loaded, made without a compiler and without touching its folder.

The dynamic linker takes a library that is in the process when somebody opens one of the same SONAME. So an empty
shared object whose SONAME is the wanted name, and whose only dependency is the real library, answers
``dlopen(wanted name)``; symbols are found in the dependency. Such an object is 500 bytes of ELF, written here.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import tempfile
from pathlib import Path

_MACHINES = {"x86_64": 62, "aarch64": 183}
_SHARED_OBJECT, _CURRENT = 3, 1
_LOAD, _DYNAMIC, _GNU_STACK = 1, 2, 0x6474E551
_READ_WRITE = 6  # the linker writes addresses into the dynamic section; nothing is executable
_NEEDED, _HASH, _STRTAB, _SYMTAB, _STRSZ, _SYMENT, _SONAME, _END = 1, 4, 5, 6, 10, 11, 14, 0
_HEADER, _SEGMENT, _SYMBOL = 64, 56, 24
_LARGEST_PAGE = 0x10000


def alias_image(name: str, needed: str, machine: str) -> bytes:
    """Return an empty ELF shared object.

    Args:
        name: its SONAME.
        needed: its one dependency, a SONAME or an absolute path.
        machine: as :func:`platform.machine` says it.

    Raises:
        ValueError: a machine other than x86_64 and aarch64.
    """
    if machine not in _MACHINES:
        raise ValueError(f"no ELF machine number known for {machine}")
    name_bytes, needed_bytes = os.fsencode(name), os.fsencode(needed)
    strings = b"\0" + name_bytes + b"\0" + needed_bytes + b"\0"
    strings += bytes(-len(strings) % 8)
    symbols = bytes(_SYMBOL)  # entry 0 of a symbol table is empty, and there is no other
    hashes = struct.pack("<4I", 1, 1, 0, 0)
    strings_at = _HEADER + 3 * _SEGMENT
    symbols_at = strings_at + len(strings)
    hashes_at = symbols_at + len(symbols)
    dynamic_at = hashes_at + len(hashes)
    entries = (
        (_SONAME, 1),
        (_NEEDED, 2 + len(name_bytes)),
        (_HASH, hashes_at),
        (_STRTAB, strings_at),
        (_SYMTAB, symbols_at),
        (_STRSZ, len(strings)),
        (_SYMENT, _SYMBOL),
        (_END, 0),
    )
    dynamic = b"".join(struct.pack("<2Q", *entry) for entry in entries)
    size = dynamic_at + len(dynamic)
    header = b"\x7fELF" + bytes((2, 1, _CURRENT)) + bytes(9)
    header += struct.pack("<2HI3QI", _SHARED_OBJECT, _MACHINES[machine], _CURRENT, 0, _HEADER, 0, 0)
    header += struct.pack("<6H", _HEADER, _SEGMENT, 3, _HEADER, 0, 0)
    segments = b"".join(
        struct.pack("<2I6Q", kind, _READ_WRITE, start, start, start, length, length, align)
        for kind, start, length, align in (
            (_LOAD, 0, size, _LARGEST_PAGE),
            (_DYNAMIC, dynamic_at, len(dynamic), 8),
            (_GNU_STACK, 0, 0, 16),  # without it the linker would ask for an executable stack
        )
    )
    return header + segments + strings + symbols + hashes + dynamic


def load_alias(name: str, library: str | os.PathLike[str]) -> None:
    """Make ``dlopen(name)`` in this process give ``library``; doing it again changes nothing.

    Args:
        name: file name without a folder, e.g. ``"libexample.so"``.
        library: the real library; an absolute path.

    Raises:
        OSError: the library cannot be loaded, or there is no place for a temporary file.
        ValueError: a machine other than x86_64 and aarch64.
    """
    image = alias_image(name, os.fspath(library), platform.machine())
    with tempfile.TemporaryDirectory(prefix="dcdr-deploy-") as folder:
        path = Path(folder, name)
        path.write_bytes(image)
        ctypes.CDLL(str(path))  # stays loaded when its file is gone


def loaded_library(prefix: str) -> Path | None:
    """Return the file behind a library of this process whose file name begins with ``prefix``; Linux only.

    Files that are gone do not count: an alias made by :func:`load_alias` is none to make another of.
    """
    with open("/proc/self/maps", "rb") as lines:  # noqa: PTH123 - a Path has no lazy reading
        for line in map(os.fsdecode, lines):
            path = line.rstrip("\n").partition("/")
            if path[1] and Path(path[2]).name.startswith(prefix) and not path[2].endswith(" (deleted)"):
                return Path("/" + path[2])
    return None
