"""The part of a video's pictures that its container wants shown: MP4's clean aperture, Matroska's cropping.

FFmpeg's library hands it on beside the pictures, and PyAV does not, so it is read from the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dcdr_deploy.imaging import isobmff
from dcdr_deploy.imaging.decoders.items import clean_aperture

Window = tuple[slice, slice]
"""Rows and columns of a picture as stored."""

_LARGEST_INDEX = 2**28
_SAMPLE_ENTRY = 78  # bytes before the boxes of a VisualSampleEntry (ISO/IEC 14496-12, 12.1.3.2)
_TO_ENTRIES = (b"mdia", b"minf", b"stbl", b"stsd")
_TABLE_HEADER = 8
_IDENTITY_AT = {0: 12, 1: 20}  # of track_ID in ``tkhd``, by its version

_MATROSKA_HEAD = 2**22
_SEGMENT, _TRACKS, _ENTRY, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_CROPS = {0x54BB: "top", 0x54AA: "bottom", 0x54CC: "left", 0x54DD: "right"}
"""PixelCropTop and its like (RFC 9559, 5.1.4.1.28.8 to 5.1.4.1.28.11)."""


def window_of(path: Path, container: Any, stream: Any, size: tuple[int, int]) -> Window | None:
    """Return the part to be shown; ``None`` for all of it, and where a file cannot be followed.

    Args:
        path: the file.
        container, stream: PyAV's.
        size: (height, width) in pixels, as decoded.
    """
    height, width = size
    try:
        with path.open("rb") as file:
            if container.format.name.startswith("mov,"):
                clap = _clean_aperture(_index(file), stream.id)
                found = clean_aperture(clap, width, height, [])
            elif container.format.name.startswith("matroska"):  # of which FFmpeg tells no track's number
                crops = _crops(file.read(_MATROSKA_HEAD))
                found = _cropped(crops[container.streams.video.index(stream)], height, width)
            else:
                return None
    except (OSError, ValueError, IndexError):  # the demuxer has told what is damaged, if it matters
        return None
    return None if found == (slice(0, height), slice(0, width)) else found


def _index(file: BinaryIO) -> bytes:
    """The body of ``moov``; empty without."""
    at, end = 0, os.fstat(file.fileno()).st_size
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, header = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(head[8:16], "big"), 16
        size = size or end - at
        if head[4:8] == b"moov":
            file.seek(at + header)
            return file.read(min(size - header, _LARGEST_INDEX))
        if size < header:
            break
        at += size
    return b""


def _clean_aperture(index: bytes, track: int) -> bytes | None:
    """The body of ``clap`` in a track's first sample entry."""
    for trak in isobmff.boxes(index):
        if trak.kind != b"trak":
            continue
        header = _inner(index, trak, b"tkhd")
        place = header and _IDENTITY_AT.get(index[header.begin])
        if not header or not place or int.from_bytes(index[header.begin + place :][:4], "big") != track:
            continue
        box: isobmff.Box | None = trak
        for kind in _TO_ENTRIES:
            box = box and _inner(index, box, kind)
        entry = next(isobmff.boxes(index, box.begin + _TABLE_HEADER, box.end), None) if box else None
        if entry is None:
            return None
        inside = isobmff.boxes(index, entry.begin + _SAMPLE_ENTRY, entry.end)
        return next((index[each.begin : each.end] for each in inside if each.kind == b"clap"), None)
    return None


def _inner(index: bytes, box: isobmff.Box, kind: bytes) -> isobmff.Box | None:
    return next((each for each in isobmff.boxes(index, box.begin, box.end) if each.kind == kind), None)


def _crops(head: bytes) -> list[dict[str, int]]:
    """What the pictures of each video track lose at their edges, by Matroska."""
    return [
        {_CROPS[kind]: int.from_bytes(head[a:b], "big") for kind, a, b in _elements(head, *video) if kind in _CROPS}
        for video in _all_inside(head, [(0, len(head))], (_SEGMENT, _TRACKS, _ENTRY, _VIDEO))
    ]


def _all_inside(data: bytes, parts: list[tuple[int, int]], kinds: tuple[int, ...]) -> list[tuple[int, int]]:
    for kind in kinds:
        parts = [(begin, end) for part in parts for found, begin, end in _elements(data, *part) if found == kind]
    return parts


def _elements(data: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """EBML elements (RFC 8794, 4 to 6): number, where the body begins, where it ends."""
    at = begin
    while at < end:
        length = 9 - data[at].bit_length()
        kind = int.from_bytes(data[at : at + length], "big")
        at += length
        if at >= end:
            return  # what was read of the file ends within a head
        length = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
        at += length
        unknown = size == (1 << 7 * length) - 1
        stop = end if unknown else min(at + size, end)
        yield kind, at, stop
        at = stop


def _cropped(crops: dict[str, int], height: int, width: int) -> Window | None:
    rows = slice(crops.get("top", 0), height - crops.get("bottom", 0))
    columns = slice(crops.get("left", 0), width - crops.get("right", 0))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None
