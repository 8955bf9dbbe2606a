"""The segments of a JPEG (ITU-T T.81, annex B) and the pictures that lie behind the first (CIPA DC-007, MPF).

Read from untrusted bytes: what reaches beyond the end is not there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

EXIF = b"Exif\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
MULTI_PICTURE = b"MPF\0"
GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
PHOTOSHOP = b"Photoshop 3.0\0"
APP1, APP2, APP13 = 0xE1, 0xE2, 0xED

START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN = 0xD8, 0xD9, 0xDA
ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers that have no length, and mean nothing outside of a scan: TEM and RST (T.81, table B.1)."""

ENDS = frozenset({START_OF_IMAGE, END_OF_IMAGE})
"""Markers that have no length either. One inside of a header is more often a damaged marker of a segment."""
_IPTC_RESOURCE = 0x0404
_MP_ENTRY = 0xB002
_ENTRY_SIZE = 16
_MOST_PICTURES = 64


@dataclass(frozen=True)
class Segment:
    """A marker segment: its marker's second byte, and where its body lies; of markers without one nothing."""

    marker: int
    begin: int
    end: int


def markers(data: bytes, alone: frozenset[int] = ALONE) -> Iterator[Segment]:
    """All that stands in a file where a marker is due, up to where none does.

    A body that ends before it begins, or beyond the file, is told as its length says. What follows the segment of a
    scan are its bytes, which seldom look like a marker.

    Args:
        data: of the file.
        alone: markers that are taken to have no length.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker in alone:
            at += 2
            yield Segment(marker, at, at)
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield Segment(marker, at + 4, end)
        at = end


def segments(data: bytes) -> Iterator[Segment]:
    """The segments before the first scan, in order; ends where they are damaged."""
    for each in markers(data):
        if each.marker in ALONE:
            continue
        if each.marker in (START_OF_SCAN, END_OF_IMAGE) or not each.begin <= each.end <= len(data):
            return
        yield each


def body_of(data: bytes, marker: int, name: bytes) -> bytes | None:
    """The body, without its name, of the first segment of a kind."""
    for segment in segments(data):
        if segment.marker == marker and data.startswith(name, segment.begin):
            return data[segment.begin + len(name) : segment.end]
    return None


def xmp_extensions_of(data: bytes) -> dict[str, bytes]:
    """What of XMP did not fit into one segment, by the name that the packet has for it (XMP part 3, 1.1.3.1).

    A piece is 32 characters of its name, 4 bytes each of the whole's length and of its own place, and text. What is not
    whole is left out.
    """
    pieces: dict[tuple[bytes, int], list[tuple[int, bytes]]] = {}
    for segment in segments(data):
        if segment.marker == APP1 and data.startswith(XMP_EXTENSION, segment.begin):
            body = data[segment.begin + len(XMP_EXTENSION) : segment.end]
            length, place = (int.from_bytes(body[at : at + 4], "big") for at in (32, 36))
            pieces.setdefault((body[:32], length), []).append((place, body[40:]))
    joined = {key: b"".join(piece for _, piece in sorted(found)) for key, found in pieces.items()}
    return {name.decode("latin-1"): text for (name, length), text in joined.items() if len(text) == length}


def iptc_of(data: bytes) -> bytes | None:
    """IPTC's records (IIM) in Photoshop's resource block."""
    block = body_of(data, APP13, PHOTOSHOP) or b""
    at = 0
    while at + 12 <= len(block) and block[at : at + 4] == b"8BIM":
        number, name_length = int.from_bytes(block[at + 4 : at + 6], "big"), block[at + 6]
        at += 6 + (name_length + 2) // 2 * 2
        size = int.from_bytes(block[at : at + 4], "big")
        body = block[at + 4 : at + 4 + size]
        if number == _IPTC_RESOURCE and len(body) == size:
            return body or None
        at += 4 + (size + 1) // 2 * 2
    return None


def iptc_resource(records: bytes) -> bytes:
    """IPTC's records in a resource of Photoshop's (Adobe Photoshop File Formats, image resource blocks)."""
    head = b"8BIM" + _IPTC_RESOURCE.to_bytes(2, "big") + b"\0\0" + len(records).to_bytes(4, "big")
    return head + records + bytes(len(records) % 2)


def pictures_behind(data: bytes) -> Iterator[bytes]:
    """The other pictures of a file by its MP index, the first of very many; none of a damaged one."""
    for segment in segments(data):
        if segment.marker == APP2 and data.startswith(MULTI_PICTURE, segment.begin):
            start = segment.begin + len(MULTI_PICTURE)
            try:
                found = list(islice(_entries(data[start : segment.end]), _MOST_PICTURES))
            except struct.error:
                return
            for offset, size in found:
                at = start + offset  # from the index's own header; 0 is the first picture
                if offset and at + size <= len(data) and data.startswith(b"\xff\xd8", at):
                    yield data[at : at + size]
            return


def _entries(index: bytes) -> Iterator[tuple[int, int]]:
    """(offset, size) of each picture in an MP index (DC-007, 5.2)."""
    order = "<" if index[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", index, 4)
    (count,) = struct.unpack_from(f"{order}H", index, at)
    for entry in range(count):
        tag, _, size, value = struct.unpack_from(f"{order}HHII", index, at + 2 + 12 * entry)
        if tag != _MP_ENTRY:
            continue
        for each in range(value, value + size - size % _ENTRY_SIZE, _ENTRY_SIZE):
            _, length, offset = struct.unpack_from(f"{order}III", index, each)
            yield offset, length
