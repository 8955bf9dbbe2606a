"""A JPEG as its segments (ITU-T T.81, annex B): taken apart and put together without a byte changed."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from dcdr_deploy.imaging import jpeg_file
from dcdr_deploy.system.words import number_of

APP0, APP1, APP2 = 0xE0, 0xE1, 0xE2

START = b"\xff\xd8"
END = b"\xff\xd9"

LARGEST_PAYLOAD = 65533
"""Bytes in a segment besides its marker and its length."""

_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


class NoJpegError(ValueError):
    """Bytes that are no JPEG with a picture in it."""


@dataclass(frozen=True)
class Segment:
    """One marker segment.

    Attributes:
        marker: its second byte.
        payload: what follows the length.
        raw: all of its bytes as they were found, fill bytes included.
    """

    marker: int
    payload: bytes
    raw: bytes

    def begins(self, marker: int, signature: bytes) -> bool:
        """Tell whether it is of this kind and its payload begins so."""
        return self.marker == marker and self.payload.startswith(signature)


@dataclass(frozen=True)
class Jpeg:
    """The first picture of a file.

    Attributes:
        segments: those before its first scan.
        scans: from the first start of scan to the end of the image, both included.
        beyond: bytes that followed in the file: previews, other gain maps, films.
    """

    segments: tuple[Segment, ...]
    scans: bytes
    beyond: bytes = b""


def segment(marker: int, payload: bytes) -> Segment:
    """Make one.

    Raises:
        ValueError: the payload has more than :data:`LARGEST_PAYLOAD` bytes.
    """
    if len(payload) > LARGEST_PAYLOAD:
        raise ValueError(f"a payload of {number_of(len(payload), 'byte')}")
    return Segment(marker, payload, b"\xff" + bytes([marker]) + struct.pack(">H", len(payload) + 2) + payload)


def split(data: bytes) -> Jpeg:
    """Take a file apart.

    Raises:
        NoJpegError: it has no scan, or its segments run beyond its end.
    """
    if not data.startswith(START):
        raise NoJpegError("no start of image")
    segments: list[Segment] = []
    begin = len(START)
    for each in jpeg_file.markers(data):
        if each.marker == jpeg_file.START_OF_SCAN:
            at = each.begin - 4
            end = _end_of_image(data, at)
            scans = data[at:end]
            return Jpeg(tuple(segments), scans if scans.endswith(END) else scans + END, data[end:])
        if each.marker not in jpeg_file.ALONE:
            if not each.begin <= each.end <= len(data):
                raise NoJpegError("a segment beyond the end")
            segments.append(Segment(each.marker, data[each.begin : each.end], data[begin : each.end]))
        begin = each.end
    raise NoJpegError("no marker where one is due")


def join(segments: Iterable[Segment], scans: bytes) -> bytes:
    """Put a picture together."""
    return START + b"".join(each.raw for each in segments) + scans


def _length(data: bytes, at: int) -> int:
    (length,) = struct.unpack_from(">H", data, at + 2)
    if length < 2 or at + 2 + length > len(data):
        raise NoJpegError("a segment beyond the end")
    return int(length)


def _end_of_image(data: bytes, at: int) -> int:
    """Return where the picture ends whose first scan begins at ``at``; the file's end if it has no EOI."""
    while True:
        at += 2 + _length(data, at)
        found = _MARKER_IN_SCAN.search(data, at)
        if found is None:
            return len(data)
        at = found.start()
        if data[at + 1] == jpeg_file.END_OF_IMAGE:
            return at + 2
