"""The first directory of a TIFF: tags with the types that the standard gives them, and where the pixel data lies."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dcdr_deploy.imaging import tiff_file as t
from dcdr_deploy.imaging.decoders import libtiff
from dcdr_deploy.imaging.decoders.common import PILLOW_ERRORS, UnreadableError, check_size, damaged, unsupported

BIG_ENDIAN_BIG_TIFF = b"MM\0+"
"""How such a file begins; Pillow does not read it as a picture."""

UNSIGNED, SIGNED, FLOAT, VOID = 1, 2, 3, 4
"""SampleFormat."""

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType."""

_NEW_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706
_SEPARATE_PLANES = 2
_LARGEST_NUMBER = 2**40


@dataclass(frozen=True)
class Directory:
    """The first page's tags; every reader refuses values of a wrong type or without sense as damage.

    Attributes:
        tags: as Pillow reads them.
        data: the whole file; its header names this page as the first.
        following: where the next page's directory lies, 0 for none.
        left_out: whether reduced pictures or masks lie before this page.
    """

    tags: Mapping[int, Any]
    data: bytes
    following: int
    left_out: bool = False

    def number(self, tag: int, default: int | None = None) -> int:
        """A tag of one whole number; the first of several."""
        numbers = self.numbers(tag)
        if numbers:
            return numbers[0]
        if default is None:
            raise damaged(f"its directory lacks tag {tag}")
        return default

    def numbers(self, tag: int) -> tuple[int, ...]:
        """A tag of whole numbers, empty where it is missing."""
        value = self.tags.get(tag)
        if value is None:
            return ()
        found = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(number, int) and 0 <= number < _LARGEST_NUMBER for number in found):
            raise damaged(f"tag {tag} holds {' '.join(map(str, found[:3]))[:40]!r}")
        return found

    def fractions(self, tag: int, default: tuple[float, ...]) -> tuple[float, ...]:
        """A tag of as many rational numbers as ``default`` has, which counts where it is missing."""
        value = self.tags.get(tag)
        if value is None:
            return default
        try:
            found = tuple(float(number) for number in value)
        except (TypeError, ValueError, ArithmeticError):
            found = ()
        if len(found) != len(default) or not all(math.isfinite(number) for number in found):
            raise damaged(f"tag {tag} does not hold {len(default)} numbers")
        return found

    def text(self, tag: int) -> str:
        """A tag of text, empty where it is missing or something else."""
        value = self.tags.get(tag)
        return value if isinstance(value, str) else ""

    @property
    def byte_order(self) -> str:
        """``"<"`` or ``">"``."""
        return "<" if self.data[:2] == b"II" else ">"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.number(t.HEIGHT), self.number(t.WIDTH)

    @property
    def samples(self) -> int:
        """Samples a pixel."""
        return self.number(t.SAMPLES_PER_PIXEL, 1)

    @property
    def bits(self) -> set[int]:
        """Bits of the samples: one number, or several where they differ."""
        return set(self.numbers(t.BITS)) or {1}

    @property
    def formats(self) -> set[int]:
        """SampleFormat of the samples."""
        return set(self.numbers(t.SAMPLE_FORMAT)) or {UNSIGNED}

    @property
    def compression(self) -> int:
        """Number of the compression."""
        return self.number(t.COMPRESSION, 1)

    @property
    def separate(self) -> bool:
        """Whether each sample has a plane of its own."""
        return self.number(t.PLANAR, 1) == _SEPARATE_PLANES

    @property
    def tiled(self) -> bool:
        """Whether the segments are tiles."""
        return t.TILE_WIDTH in self.tags

    @property
    def segment_size(self) -> tuple[int, int]:
        """(height, width) of a tile, or of a strip as the directory states it."""
        height, width = self.size
        if self.tiled:
            size = self.number(t.TILE_HEIGHT), self.number(t.TILE_WIDTH)
        else:
            size = min(self.number(t.ROWS_PER_STRIP, height), height), width
        if min(size) < 1:
            raise damaged(f"its segments are {size[1]} x {size[0]} pixels")
        return size

    def segments(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Offsets and byte counts of the strips or tiles; empty counts where an old writer left them out."""
        offsets = self.numbers(t.TILE_OFFSETS if self.tiled else t.STRIP_OFFSETS)
        if not offsets:
            raise damaged("the directory names no pixel data")
        return offsets, self.numbers(t.TILE_BYTES if self.tiled else t.STRIP_BYTES)


def first_directory(data: bytes) -> Directory:
    """Read the first picture of a TIFF or BigTIFF: its tags, checked for what every decoder needs.

    Pages before it that say they are reduced pictures or masks are left out, unless there are no others.

    Raises:
        UnreadableError: no directory, too many pixels, a camera RAW file, a compression that cannot be decoded here, or
            pixel data beyond the end of the file.
    """
    libtiff.silence()
    first = directory = _page(data)
    _refuse_raw(first)
    seen: set[int] = set()
    while _is_left_out(directory) and directory.following and directory.following not in seen:
        seen.add(directory.following)
        directory = replace(_page(_beginning_with(data, directory.following)), left_out=True)
        _refuse_raw(directory)
    if _is_left_out(directory):
        directory = first
    height, width = directory.size
    check_size(width, height)
    if directory.tiled:
        tile_height, tile_width = directory.segment_size
        check_size(tile_width, tile_height)
    if not libtiff.can_decode(directory.compression):
        raise unsupported(f"TIFF compression {libtiff.name_of(directory.compression)} is not supported")
    offsets, counts = directory.segments()
    sizes = counts if len(counts) == len(offsets) else (0,) * len(offsets)
    if any(offset + size > len(data) for offset, size in zip(offsets, sizes, strict=True)):
        raise damaged("the pixel data ends too early")
    return directory


def _page(data: bytes) -> Directory:
    """The page that the header names first."""
    from PIL import TiffImagePlugin

    try:
        if data[:4] == BIG_ENDIAN_BIG_TIFF:
            tags = TiffImagePlugin.ImageFileDirectory_v2(b"MM\0*\0\0\0\0")
            tags._bigtiff = True  # Pillow looks for this in the byte where little-endian files have it
            (first,) = struct.unpack_from(">Q", data, 8)
        else:
            tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[:4] == b"II+\0" else 8])
            first = tags.next
        stream = io.BytesIO(data)
        stream.seek(first)
        tags.load(stream)
        return Directory(dict(tags), data, tags.next or 0)
    except PILLOW_ERRORS as error:
        raise damaged(error) from error


def _beginning_with(data: bytes, place: int) -> bytes:
    """The same file with the directory at ``place`` as its first."""
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        return data[:8] + struct.pack(f"{order}Q", place) + data[16:]
    return data[:4] + struct.pack(f"{order}I", place) + data[8:]


def _is_left_out(directory: Directory) -> bool:
    kind = directory.tags.get(_NEW_SUBFILE_TYPE, 0)
    return isinstance(kind, int) and bool(kind & (_REDUCED | _MASK))


def _refuse_raw(directory: Directory) -> None:
    is_raw_preview = directory.tags.get(_NEW_SUBFILE_TYPE, 0) == _REDUCED and _SUB_IFDS in directory.tags
    if _DNG_VERSION in directory.tags or is_raw_preview:
        raise UnreadableError("is a camera RAW file; develop it to an 8- or 16-bit SDR picture first")
