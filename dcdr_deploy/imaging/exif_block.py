"""Exif blocks (Exif 3.0, 4.5 and 4.6; TIFF 6.0, section 2): taken apart, made fit for another picture, put together.

Read from untrusted bytes: a directory that cannot be read is a refusal, an entry that makes no sense is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dcdr_deploy.system.words import number_of

EXIF_POINTER, GPS_POINTER = 34665, 34853
ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 2, 3, 4, 5, 7

IMAGE_DESCRIPTION, MAKE, MODEL, ORIENTATION, SOFTWARE, DATE_TIME = 270, 271, 272, 274, 305, 306
ARTIST, COPYRIGHT = 315, 33432
EXPOSURE_TIME, F_NUMBER, SENSITIVITY, ORIGINAL_DATE, ORIGINAL_OFFSET = 33434, 33437, 34855, 36867, 36881
SUBJECT_DISTANCE, FOCAL_LENGTH, USER_COMMENT = 37382, 37386, 37510
COLOR_SPACE, PIXEL_WIDTH, PIXEL_HEIGHT = 40961, 40962, 40963
BODY_SERIAL, LENS_MAKE, LENS_MODEL, LENS_SERIAL = 42033, 42035, 42036, 42037
LATITUDE_REF, LATITUDE, LONGITUDE_REF, LONGITUDE, ALTITUDE_REF, ALTITUDE = 1, 2, 3, 4, 5, 6

UNCALIBRATED = 65535

_SIZES = {1: 1, ASCII: 1, SHORT: 2, LONG: 4, RATIONAL: 8, 6: 1, UNDEFINED: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 129: 1}
_WORDS = {SHORT: 2, LONG: 4, RATIONAL: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8}
"""Bytes that turn round with the byte order, by type; one for those that are not named."""

_FORMATS = {1: "B", SHORT: "H", LONG: "I", RATIONAL: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}
_LONGEST = 2**20
_MOST_ENTRIES = 1000
_SHARED = 2**16
"""Bytes that a directory's values may have beyond the block's own, where some lie in the same place."""

_OF_THE_PICTURE = frozenset(
    {IMAGE_DESCRIPTION, MAKE, MODEL, ORIENTATION, 269, 282, 283, 285, 296, SOFTWARE, DATE_TIME, ARTIST, 316, 18246}
    | {18249, COPYRIGHT, 40091, 40092, 40093, 40094, 40095}
)
"""Tags of the first directory that are carried over: the others say how a file's own samples lie, or what they mean."""

_OF_THE_SAMPLES = frozenset({COLOR_SPACE, PIXEL_WIDTH, PIXEL_HEIGHT, 37122, 37500, 40965, 42240, 59932, EXIF_POINTER})
"""Tags of Exif's directory that are not: colours and size of the old samples, padding, and the maker's note, whose
offsets and headroom are those of another file."""


class BrokenExifError(ValueError):
    """Bytes that are no Exif block, or one whose directories lie beyond its end."""


@dataclass(frozen=True)
class Entry:
    """A value: its type by TIFF's numbers, how many there are, and their bytes, little-endian."""

    kind: int
    count: int
    data: bytes

    def text(self) -> str:
        """A string without what ends it."""
        return self.data.split(b"\0")[0].decode("utf-8", "replace").strip()

    def numbers(self) -> tuple[float, ...]:
        """Numbers; fractions divided, those by zero left out; empty for texts."""
        letters = _FORMATS.get(self.kind)
        if letters is None:
            return ()
        flat = struct.unpack(f"<{letters * self.count}", self.data)
        if len(letters) == 1:
            return flat
        return tuple(above / below for above, below in zip(flat[::2], flat[1::2], strict=True) if below)


Directory = dict[int, Entry]


@dataclass
class Exif:
    """The directories that matter.

    Attributes:
        picture: the first directory.
        camera: Exif's own.
        place: GPS.
    """

    picture: Directory = field(default_factory=dict)
    camera: Directory = field(default_factory=dict)
    place: Directory = field(default_factory=dict)


def text_entry(text: str) -> Entry:
    """Return the entry of a text."""
    data = text.encode("utf-8", "replace").replace(b"\0", b" ") + b"\0"
    return Entry(ASCII, len(data), data)


def number_entry(number: int, kind: int = SHORT) -> Entry:
    """Return the entry of a whole number."""
    return Entry(kind, 1, struct.pack(f"<{_FORMATS[kind]}", number))


def parse(block: bytes) -> Exif:
    """Take a block apart.

    Raises:
        BrokenExifError: no TIFF header, or a directory beyond the end.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 14:
        raise BrokenExifError("no Exif header")
    (first,) = struct.unpack_from(f"{order}I", block, 4)
    exif = Exif(picture=dict(_entries(block, first, order)))
    for pointer, into in ((EXIF_POINTER, exif.camera), (GPS_POINTER, exif.place)):
        entry = exif.picture.pop(pointer, None)
        if entry is not None and entry.kind in (LONG, 13) and entry.count == 1:
            into.update(_entries(block, struct.unpack("<I", entry.data)[0], order))
    return exif


def _entries(block: bytes, at: int, order: str) -> Iterator[tuple[int, Entry]]:
    if at + 2 > len(block):
        raise BrokenExifError("a directory beyond the end")
    (count,) = struct.unpack_from(f"{order}H", block, at)
    if count > _MOST_ENTRIES or at + 2 + 12 * count > len(block):
        raise BrokenExifError(f"a directory of {number_of(count, 'entry', 'entries')}")
    left = len(block) + _SHARED
    for number in range(count):
        place = at + 2 + 12 * number
        tag, kind, values = struct.unpack_from(f"{order}HHI", block, place)
        size = _SIZES.get(kind, 4 if kind == 13 else 0) * values
        if not 0 < size <= _LONGEST:
            continue
        begin = place + 8 if size <= 4 else struct.unpack_from(f"{order}I", block, place + 8)[0]
        data = block[begin : begin + size]
        left -= len(data)
        if left < 0:
            raise BrokenExifError("values of more bytes than there are")
        if len(data) == size:
            yield tag, Entry(kind, values, _little(data, tag, kind) if order == ">" else data)


def _little(data: bytes, tag: int, kind: int) -> bytes:
    """Big-endian values as little-endian ones."""
    width = 4 if kind == 13 else _WORDS.get(kind, 1)
    if tag == USER_COMMENT and data.startswith(b"UNICODE\0"):
        return data[:8] + _little(data[8:], 0, SHORT)
    whole = len(data) - len(data) % width
    return b"".join(data[at : at + width][::-1] for at in range(0, whole, width)) + data[whole:]


def bytes_of_longs(entry: Entry, order_mark: bytes) -> bytes:
    """Return bytes as they stand in a file: many call IPTC's bytes numbers of four, which are none to turn round."""
    return _little(entry.data, 0, LONG) if entry.kind == LONG and order_mark == b"MM" else entry.data


def relevant(exif: Exif) -> Exif:
    """Return what says something of the picture, and not of its file: no thumbnail, maker's note, layout of samples."""
    picture = {tag: entry for tag, entry in exif.picture.items() if tag in _OF_THE_PICTURE}
    camera = {tag: entry for tag, entry in exif.camera.items() if tag not in _OF_THE_SAMPLES}
    return Exif(picture, camera, dict(exif.place))


def carried(exif: Exif, size: tuple[int, int], software: str) -> Exif:
    """Return what of a picture's Exif is true of another made of it, which stands upright and has its own colours.

    Args:
        exif: of the input.
        size: (width, height) of the output.
        software: its maker.
    """
    made = relevant(exif)
    made.picture[ORIENTATION] = number_entry(1)
    made.picture[SOFTWARE] = text_entry(software)
    made.camera[COLOR_SPACE] = number_entry(UNCALIBRATED)
    made.camera[PIXEL_WIDTH], made.camera[PIXEL_HEIGHT] = (number_entry(edge, LONG) for edge in size)
    return made


def assembled(exif: Exif) -> bytes:
    """Put a block together, little-endian: TIFF header, first directory, Exif's and GPS's."""
    return b"II*\0" + struct.pack("<I", 8) + directories(exif.picture, exif, 8)


def directories(first: Mapping[int, Entry], exif: Exif, at: int) -> bytes:
    """Return a first directory that is to lie at an even offset of a file, with Exif's and GPS's behind it."""
    pointers = [(tag, inner) for tag, inner in ((EXIF_POINTER, exif.camera), (GPS_POINTER, exif.place)) if inner]
    own = {**first, **{tag: number_entry(0, LONG) for tag, _ in pointers}}
    behind = at + len(_written(own, at))
    tail = b""
    for tag, inner in pointers:
        own[tag] = number_entry(behind + len(tail), LONG)
        tail += _written(inner, behind + len(tail))
    return _written(own, at) + tail


def _written(directory: Mapping[int, Entry], at: int) -> bytes:
    """A directory of even length and, behind it, the values that do not fit into their entries."""
    entries, values = b"", b""
    start = at + 2 + 12 * len(directory) + 4
    for tag in sorted(directory):
        entry = directory[tag]
        if len(entry.data) <= 4:
            place = entry.data.ljust(4, b"\0")
        else:
            place = struct.pack("<I", start + len(values))
            values += entry.data + bytes(len(entry.data) % 2)
        entries += struct.pack("<HHI", tag, entry.kind, entry.count) + place
    return struct.pack("<H", len(directory)) + entries + bytes(4) + values
