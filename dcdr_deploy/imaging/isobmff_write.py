"""Adding to the files of AVIF and HEIC encoders what those cannot be asked for: properties and metadata items.

ISO/IEC 14496-12 (MetaBox and its tables) and ISO/IEC 23008-12 (item properties). The picture's own bytes stay.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dcdr_deploy.imaging import av1_header
from dcdr_deploy.imaging.isobmff import BrokenContainerError, boxes, read
from dcdr_deploy.imaging.light import BLACK_NITS

_HEADER = 8
_OF_FULL_BOX = 4  # version and flags
_NARROW_END = 2**32 - 2**20
"""Files that end before this have offsets of 4 bytes, wherever their tables come to an end."""

_WIDE_INDEX = 1  # flag of ipma: indexes of 15 bits


class UnknownLayoutError(ValueError):
    """A file that no encoder used here writes."""


@dataclass(frozen=True)
class MetadataItem:
    """Bytes that describe the picture.

    Attributes:
        kind: item type, ``b"Exif"`` or ``b"mime"``.
        content_type: of ``mime`` items.
        payload: the bytes.
    """

    kind: bytes
    payload: bytes
    content_type: bytes = b""


def exif_item(tiff: bytes) -> MetadataItem:
    """Return the item of an Exif block, which begins with its TIFF header (23008-12, A.2.1)."""
    return MetadataItem(b"Exif", bytes(4) + tiff)


def xmp_item(packet: bytes) -> MetadataItem:
    """Return the item of an XMP packet (23008-12, A.3)."""
    return MetadataItem(b"mime", packet, b"application/rdf+xml")


def content_light(max_cll: float, max_fall: float) -> bytes:
    """Return the body of a ``clli`` property: cd/m2, rounded (14496-12, 12.1.6)."""
    return struct.pack(">HH", *(min(max(round(level), 0), 65535) for level in (max_cll, max_fall)))


def mastering_display(display: Sequence[float], peak_nits: float) -> bytes:
    """Return the body of ``mdcv``: G, B, R, white in 1/50000; peak and black in 1/10000 cd/m2 (14496-12, 12.1.5).

    Args:
        display: chromaticities of red, green, blue and white, x before y.
        peak_nits: its white, cd/m2.
    """
    red, green, blue, white = (display[at : at + 2] for at in (0, 2, 4, 6))
    places = [round(number * 50000) for number in (*green, *blue, *red, *white)]
    return struct.pack(">8H2I", *places, round(peak_nits * 10000), round(BLACK_NITS * 10000))


def extended(data: bytes, properties: Mapping[bytes, bytes], items: Sequence[MetadataItem] = ()) -> bytes:
    """Return a file with more said of its primary picture.

    Args:
        data: the file: one ``meta`` box, and after it what its items' locations count from the file's begin.
        properties: bodies by type; descriptive ones, which a reader may ignore.
        items: metadata, whose bytes go to the end of the file.

    Raises:
        UnknownLayoutError: tables of another form.
    """
    try:
        meta = next(each for each in boxes(data) if each.kind == b"meta")
        inner = bodies(data, meta.begin + _OF_FULL_BOX, meta.end)
        primary = _primary(inner[b"pitm"])
        inner[b"iprp"] = _with_properties(inner[b"iprp"], primary, properties)
        first = max((entry.item for entry in _locations(inner[b"iloc"])), default=0) + 1
        numbers = range(first, first + len(items))
        if items:
            inner[b"iinf"] = _with_entries(inner[b"iinf"], numbers, items)
            inner[b"iref"] = _with_references(inner.get(b"iref", bytes(_OF_FULL_BOX)), numbers, primary)
        head = data[meta.begin : meta.begin + _OF_FULL_BOX]

        def whole(shift: int) -> bytes:
            end = len(data) + shift + _HEADER
            locations = [entry.moved(shift, meta.end) for entry in _locations(inner[b"iloc"])]
            for number, item in zip(numbers, items, strict=True):
                locations.append(_Location(number, 0, ((end, len(item.payload)),)))
                end += len(item.payload)
            tables = {**inner, b"iloc": _location_table(locations, wide=end > _NARROW_END)}
            return box(b"meta", head + b"".join(box(kind, body) for kind, body in tables.items()))

        shift = len(whole(0)) - (meta.end - meta.header)  # how long the tables are does not depend on their numbers
        appended = box(b"mdat", b"".join(item.payload for item in items)) if items else b""
        return data[: meta.header] + whole(shift) + data[meta.end :] + appended
    except (StopIteration, KeyError, IndexError, struct.error, BrokenContainerError) as error:
        raise UnknownLayoutError(f"no picture file as expected: {error!r}") from error


def with_colours(data: bytes, primaries: int, transfer: int) -> bytes:
    """Return an AVIF whose ``nclx`` properties and primary AV1 stream say other primaries and another curve, in place.

    The matrix stays, by which samples were made of R, G and B (14496-12, 12.1.5.2).

    Raises:
        UnknownLayoutError: there is no such property, or a stream that tells no colours.
    """
    changed, found = bytearray(data), False
    try:
        container = read(data)
        ((begin, size),) = container.items[container.primary].extents
        changed[begin : begin + size] = av1_header.with_colours(data[begin : begin + size], primaries, transfer)
        meta = next(each for each in boxes(data) if each.kind == b"meta")
        (iprp,) = (each for each in boxes(data, meta.begin + _OF_FULL_BOX, meta.end) if each.kind == b"iprp")
        (ipco,) = (each for each in boxes(data, iprp.begin, iprp.end) if each.kind == b"ipco")
        for each in boxes(data, ipco.begin, ipco.end):
            if each.kind == b"colr" and data.startswith(b"nclx", each.begin):
                struct.pack_into(">HH", changed, each.begin + 4, primaries, transfer)
                found = True
    except (StopIteration, ValueError, struct.error) as error:
        raise UnknownLayoutError(f"no picture file as expected: {error!r}") from error
    if not found:
        raise UnknownLayoutError("no property of colours")
    return bytes(changed)


@dataclass(frozen=True)
class _Location:
    """Where an item's bytes lie: offsets and lengths, by a construction method."""

    item: int
    method: int
    extents: tuple[tuple[int, int], ...]

    def moved(self, shift: int, behind: int) -> _Location:
        """Return it after everything from an offset on has moved."""
        if self.method:
            return self
        return replace(self, extents=tuple((at + shift if at >= behind else at, size) for at, size in self.extents))


def box(kind: bytes, body: bytes) -> bytes:
    """Return a box."""
    return struct.pack(">I4s", _HEADER + len(body), kind) + body


def bodies(data: bytes, begin: int = 0, end: int | None = None) -> dict[bytes, bytes]:
    """Return the bodies of boxes between two offsets, of which each kind is there once, in their order.

    Raises:
        UnknownLayoutError: two of a kind.
    """
    found = list(boxes(data, begin, end))
    if len({each.kind for each in found}) < len(found):
        raise UnknownLayoutError("two boxes of a kind")
    return {each.kind: data[each.begin : each.end] for each in found}


def _primary(body: bytes) -> int:
    return int(struct.unpack_from(">H" if body[0] == 0 else ">I", body, _OF_FULL_BOX)[0])


def _with_properties(body: bytes, primary: int, properties: Mapping[bytes, bytes]) -> bytes:
    """Add properties to ``iprp``: to their container ``ipco``, and by number to the picture in ``ipma``."""
    parts = bodies(body)
    known = sum(1 for _ in boxes(parts[b"ipco"]))
    added = range(known + 1, known + 1 + len(properties))
    parts[b"ipco"] += b"".join(box(kind, value) for kind, value in properties.items())
    table = parts[b"ipma"]
    version, wide = table[0], bool(table[3] & _WIDE_INDEX)
    form = ">H" if version == 0 else ">I"
    (count,) = struct.unpack_from(">I", table, _OF_FULL_BOX)
    at = _OF_FULL_BOX + 4
    entries = bytes([version, 0, 0, _WIDE_INDEX]) + struct.pack(">I", count)
    for _ in range(count):
        (item,) = struct.unpack_from(form, table, at)
        at += struct.calcsize(form)
        indexes, at = _indexes(table, at, wide)
        if item == primary:
            indexes += added
        entries += struct.pack(form, item) + bytes([len(indexes)]) + struct.pack(f">{len(indexes)}H", *indexes)
    parts[b"ipma"] = entries
    return b"".join(box(kind, value) for kind, value in parts.items())


def _indexes(table: bytes, at: int, wide: bool) -> tuple[list[int], int]:
    """Return the property numbers of an entry of ``ipma``, in the wide form, and where the entry ends."""
    count = table[at]
    at += 1
    if wide:
        return list(struct.unpack_from(f">{count}H", table, at)), at + 2 * count
    narrow = struct.unpack_from(f">{count}B", table, at)
    return [(index & 0x80) << 8 | (index & 0x7F) for index in narrow], at + count


def _locations(body: bytes) -> list[_Location]:
    """Read ``iloc`` (14496-12, 8.11.3)."""
    version, sizes = body[0], (body[4] >> 4, body[4] & 15, body[5] >> 4, body[5] & 15 if body[0] else 0)
    at = 6

    def number(size: int) -> int:
        nonlocal at
        if at + size > len(body):
            raise UnknownLayoutError("a table that ends too early")
        at += size
        return int.from_bytes(body[at - size : at], "big")

    offset_size, length_size, base_size, index_size = sizes
    found = []
    for _ in range(number(2 if version < 2 else 4)):
        item = number(2 if version < 2 else 4)
        method = number(2) & 15 if version else 0
        number(2)  # data reference
        base = number(base_size)
        extents = []
        for _ in range(number(2)):
            number(index_size)
            extents.append((base + number(offset_size), number(length_size)))
        found.append(_Location(item, method, tuple(extents)))
    return found


def _location_table(locations: Sequence[_Location], *, wide: bool) -> bytes:
    """Write ``iloc`` in version 1, lengths of 4 bytes and offsets of as many, or of 8.

    Exiv2, by which many programs find metadata, reads no others than those of 4.
    """
    size, form = (8, ">QI") if wide else (4, ">II")
    body = bytes([1, 0, 0, 0, size << 4 | 4, 0]) + struct.pack(">H", len(locations))
    for entry in locations:
        body += struct.pack(">HHHH", entry.item, entry.method, 0, len(entry.extents))
        body += b"".join(struct.pack(form, at, length) for at, length in entry.extents)
    return body


def _with_entries(body: bytes, numbers: Sequence[int], items: Sequence[MetadataItem]) -> bytes:
    """Add items to ``iinf`` (14496-12, 8.11.6)."""
    form = ">H" if body[0] == 0 else ">I"
    (count,) = struct.unpack_from(form, body, _OF_FULL_BOX)
    old = body[_OF_FULL_BOX + struct.calcsize(form) :]
    new = b""
    for number, item in zip(numbers, items, strict=True):
        entry = bytes([2, 0, 0, 0]) + struct.pack(">HH", number, 0) + item.kind + b"\0"
        new += box(b"infe", entry + (item.content_type + b"\0" if item.kind == b"mime" else b""))
    return body[:_OF_FULL_BOX] + struct.pack(form, count + len(items)) + old + new


def _with_references(body: bytes, numbers: Sequence[int], primary: int) -> bytes:
    """Add to ``iref`` that items describe a picture (23008-12, 10.2.1: ``cdsc``)."""
    form = ">HHH" if body[0] == 0 else ">IHI"
    return body + b"".join(box(b"cdsc", struct.pack(form, number, 1, primary)) for number in numbers)
