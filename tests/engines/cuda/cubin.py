"""What compiled kernels need of a multiprocessor, read from a cubin.

A cubin is an ELF file. NVIDIA's tool ``cuobjdump -res-usage`` prints the same figures, but is not part of the pip
packages that compile; the few structures that matter are read here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dcdr_deploy.engines.cuda import compiler
from dcdr_deploy.errors import EngineError

_SPILLING_NOTHING = ("13.2", "13.3")
"""The versions of NVRTC that keep all of our kernels' registers; 13.2 comes with the pins."""
_SPILLED_BY_OTHERS = 64
"""Bytes a thread: 13.4 and 13.5, which pip takes where torch does not ask for 13.2, spill as many in one kernel."""

_TEXT = ".text."
_SHARED = ".nv.shared."
_INFO = ".nv.info"

# Attributes of .nv.info: a format byte, a kind byte, two bytes of value or size, then that many bytes.
_FORMAT_SIZED = 0x04
_FRAME_SIZE = 0x11
_REGISTER_COUNT = 0x2F


@dataclass(frozen=True)
class Resources:
    """What one kernel needs.

    Attributes:
        registers: registers of a thread.
        local_bytes: stack frame of a thread in local memory; registers that were spilled are there.
        shared_bytes: static shared memory of a block; dynamic shared memory comes on top.
    """

    registers: int
    local_bytes: int
    shared_bytes: int


class _Section(NamedTuple):
    name: str
    offset: int
    size: int
    link: int


def most_local_bytes() -> int:
    """Return how many bytes of local memory a thread of our kernels may take, by the installed NVRTC."""
    return 0 if compiler.compiler_version() in _SPILLING_NOTHING else _SPILLED_BY_OTHERS


def resource_usage(cubin: bytes) -> dict[str, Resources]:
    """Return what every kernel of a cubin needs, by the kernel's name.

    Raises:
        EngineError: not a whole cubin.
    """
    try:
        return _resource_usage(cubin)
    except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise EngineError(f"this is not a whole cubin ({error}); compile the kernels again") from error


def _resource_usage(cubin: bytes) -> dict[str, Resources]:
    sections = _sections(cubin)
    kernels = [section.name[len(_TEXT) :] for section in sections if section.name.startswith(_TEXT)]
    info = next((section for section in sections if section.name == _INFO), None)
    if info is None:
        raise ValueError("no section .nv.info")
    symbols = _symbol_names(cubin, sections, sections[info.link])
    registers: dict[str, int] = {}
    frames: dict[str, int] = {}
    for kind, symbol, value in _attributes(cubin[info.offset : info.offset + info.size]):
        if kind == _REGISTER_COUNT:
            registers[symbols[symbol]] = value
        elif kind == _FRAME_SIZE:
            frames[symbols[symbol]] = value
    shared = {section.name[len(_SHARED) :]: section.size for section in sections if section.name.startswith(_SHARED)}
    missing = [kernel for kernel in kernels if kernel not in registers]
    if missing:
        raise ValueError(f"no register count for {', '.join(missing)}")
    return {name: Resources(registers[name], frames.get(name, 0), shared.get(name, 0)) for name in kernels}


def _sections(cubin: bytes) -> list[_Section]:
    if cubin[:5] != b"\x7fELF\x02":
        raise ValueError("no 64-bit ELF header")
    (table,) = struct.unpack_from("<Q", cubin, 40)
    size, count, names_index = struct.unpack_from("<3H", cubin, 58)
    headers = [struct.unpack_from("<2I4Q2I", cubin, table + size * number) for number in range(count)]
    names = headers[names_index][4]
    return [_Section(_text(cubin, names + header[0]), header[4], header[5], header[6]) for header in headers]


def _symbol_names(cubin: bytes, sections: list[_Section], table: _Section) -> list[str]:
    strings = sections[table.link].offset
    offsets = range(table.offset, table.offset + table.size, 24)
    return [_text(cubin, strings + struct.unpack_from("<I", cubin, offset)[0]) for offset in offsets]


def _attributes(info: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (kind, symbol's number, value) of the attributes that belong to a kernel."""
    position = 0
    while position < len(info):
        form, kind, size = struct.unpack_from("<2BH", info, position)
        position += 4
        if form == _FORMAT_SIZED:
            if size == 8:
                yield kind, *struct.unpack_from("<2I", info, position)
            position += size


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()
