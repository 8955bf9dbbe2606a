"""The container of HEIF, AVIF and JPEG XL: boxes, items, their properties and where their bytes lie.

ISO/IEC 14496-12 (boxes, MetaBox and its tables) and ISO/IEC 23008-12 (HEIF: image properties and references). Read
from untrusted bytes: every length is checked against what is there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_MOST_ITEMS = 4096
"""Grids of large pictures have some hundred tiles."""


class BrokenContainerError(ValueError):
    """Boxes or tables that contradict each other or reach beyond the end."""


@dataclass(frozen=True)
class Box:
    """A box: its four-character type, where its body begins and ends, and where its header begins."""

    kind: bytes
    begin: int
    end: int
    header: int


@dataclass
class Item:
    """An item of a MetaBox.

    Attributes:
        kind: item type, such as ``b"hvc1"``, ``b"av01"``, ``b"grid"``, ``b"tmap"``, ``b"Exif"``, ``b"mime"``.
        content_type: of ``mime`` items.
        properties: (type, body) in the order of association.
        extents: (offset, length) of the bytes in the file, in order.
        flags_at: offset of the byte whose lowest bit hides the item.
    """

    kind: bytes = b""
    content_type: bytes = b""
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    extents: list[tuple[int, int]] = field(default_factory=list)
    flags_at: int = 0

    def property(self, kind: bytes) -> bytes | None:
        """The first property of a type."""
        return next((body for name, body in self.properties if name == kind), None)


@dataclass
class Container:
    """A file's items.

    Attributes:
        data: the file.
        primary: id of the primary item.
        primary_at: offset of the number in the box ``pitm``, and its bytes.
        items: by id.
        references: (type, from, to).
    """

    data: bytes
    primary: int = 0
    primary_at: tuple[int, int] = (0, 2)
    items: dict[int, Item] = field(default_factory=dict)
    references: list[tuple[bytes, int, tuple[int, ...]]] = field(default_factory=list)

    def payload(self, item: int) -> bytes:
        """The bytes of an item.

        Raises:
            BrokenContainerError: no such item, bytes beyond the end, or more than the file has.
        """
        extents = self._item(item).extents
        if sum(length for _, length in extents) > len(self.data):
            raise BrokenContainerError("a part of the picture larger than its file")
        if any(begin + length > len(self.data) for begin, length in extents):
            raise BrokenContainerError("the file ends too early")
        return b"".join(self.data[begin : begin + length] for begin, length in extents)

    def check_complete(self, item: int) -> None:
        """Refuse an image of which bytes are missing, its tiles and alpha included.

        Raises:
            BrokenContainerError: the file ends too early.
        """
        parts = {item, *self.targets(b"dimg", item), *self.sources(b"auxl", item)}
        for alpha in self.sources(b"auxl", item):
            parts.update(self.targets(b"dimg", alpha))
        for part in parts:
            for begin, length in self._item(part).extents:
                if begin + length > len(self.data):
                    raise BrokenContainerError("the file ends too early")

    def targets(self, kind: bytes, source: int) -> tuple[int, ...]:
        """Items to which an item refers."""
        return tuple(target for name, of, to in self.references if (name, of) == (kind, source) for target in to)

    def sources(self, kind: bytes, target: int) -> tuple[int, ...]:
        """Items that refer to an item."""
        return tuple(of for name, of, to in self.references if name == kind and target in to)

    def size_of(self, item: int) -> tuple[int, int]:
        """(width, height) by the property ``ispe``, before it is cropped and turned.

        Raises:
            BrokenContainerError: there is none.
        """
        body = self._item(item).property(b"ispe")
        if body is None or len(body) < 12:
            raise BrokenContainerError("a picture without a size")
        width, height = struct.unpack_from(">II", body, 4)
        return width, height

    def coded_kind(self, item: int) -> bytes:
        """What an item's pixels are coded as: its type, or that of the first tile of a grid or an overlay."""
        for _ in range(4):  # derived of derived: nobody goes deeper
            found = self._item(item)
            inner = self.targets(b"dimg", item)
            if found.kind not in (b"grid", b"iovl", b"iden") or not inner:
                return found.kind
            item = inner[0]
        raise BrokenContainerError("pictures derived of themselves")

    def with_primary(self, item: int) -> bytes:
        """The file with another primary item, not hidden: what decoders that show only such ones are given.

        Raises:
            BrokenContainerError: no such item, or one whose number does not fit into the box ``pitm``.
        """
        at, size = self.primary_at
        if item >= 1 << 8 * size:
            raise BrokenContainerError(f"item {item} beside a primary picture of {size} bytes")
        changed = bytearray(self.data)
        changed[self._item(item).flags_at] &= 0xFE
        changed[at : at + size] = item.to_bytes(size, "big")
        return bytes(changed)

    def _item(self, item: int) -> Item:
        try:
            return self.items[item]
        except KeyError:
            raise BrokenContainerError(f"no item {item}") from None


def brands(head: bytes) -> frozenset[bytes]:
    """Major and compatible brands of a file by its first bytes; none where it has no ``ftyp`` box."""
    if head[4:8] != b"ftyp" or len(head) < 12:
        return frozenset()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return frozenset({head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))})


def boxes(data: bytes, begin: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes between two offsets, in order. The last may end with the file before its stated size is reached.

    Raises:
        BrokenContainerError: a size that is too small.
    """
    end = len(data) if end is None else end
    at = begin
    while at + 8 <= end:
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = at + 8
        if size == 1:
            if at + 16 > end:
                raise BrokenContainerError("the file ends too early")
            size, body = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        elif size == 0:
            size = end - at
        if size < body - at:
            raise BrokenContainerError(f"a box of {size} bytes")
        yield Box(kind, body, min(at + size, end), at)
        at += size


def read(data: bytes) -> Container:
    """Read the MetaBox of a file.

    Raises:
        BrokenContainerError: there is none, or its tables cannot be read.
    """
    meta = next((box for box in boxes(data) if box.kind == b"meta"), None)
    if meta is None:
        raise BrokenContainerError("no table of its pictures")
    container = Container(data)
    inner = {box.kind: box for box in boxes(data, meta.begin + 4, meta.end)}
    try:
        if b"pitm" not in inner:
            raise BrokenContainerError("no primary picture")
        _primary(container, inner[b"pitm"])
        for kind, reader in _TABLES:
            if kind in inner:
                reader(container, inner[kind], inner)
    except (struct.error, IndexError) as error:
        raise BrokenContainerError("a table of its pictures ends too early") from error
    container._item(container.primary)
    return container


def _primary(container: Container, box: Box) -> None:
    size = 2 if container.data[box.begin] == 0 else 4
    container.primary_at = box.begin + 4, size
    container.primary = int.from_bytes(container.data[box.begin + 4 : box.begin + 4 + size], "big")


def _items(container: Container, box: Box, others: dict[bytes, Box]) -> None:
    """ItemInfoBox (14496-12, 8.11.6)."""
    data = container.data
    for entry in boxes(data, box.begin + (6 if data[box.begin] == 0 else 8), box.end):
        version = data[entry.begin]
        if entry.kind != b"infe" or version < 2:
            continue
        wide = 2 if version == 2 else 4
        at = entry.begin + 4
        item = Item(data[at + wide + 2 : at + wide + 6], flags_at=entry.begin + 3)
        if item.kind == b"mime":
            texts = data[at + wide + 6 : entry.end].split(b"\0")
            item.content_type = texts[1] if len(texts) > 1 else b""
        container.items[int.from_bytes(data[at : at + wide], "big")] = item
        if len(container.items) > _MOST_ITEMS:
            raise BrokenContainerError(f"more than {_MOST_ITEMS} items")


def _locations(container: Container, box: Box, others: dict[bytes, Box]) -> None:
    """ItemLocationBox (14496-12, 8.11.3)."""
    data = container.data
    version = data[box.begin]
    offset_size, length_size = data[box.begin + 4] >> 4, data[box.begin + 4] & 15
    base_size, index_size = data[box.begin + 5] >> 4, data[box.begin + 5] & 15 if version else 0
    cursor = _Cursor(data, box.begin + 6, box.end)
    left = len(data)
    for _ in range(cursor.number(2 if version < 2 else 4)):
        number = cursor.number(2 if version < 2 else 4)
        method = cursor.number(2) & 15 if version else 0
        cursor.number(2)  # data reference
        base = cursor.number(base_size)
        extents, count = [], cursor.number(2)
        left -= count
        if left < 0:  # they may have numbers of no bytes
            raise BrokenContainerError("more pieces of pictures than bytes")
        for _ in range(count):
            cursor.number(index_size)
            offset = cursor.number(offset_size)
            extents.append((base + offset, cursor.number(length_size)))
        item = container.items.get(number)
        if item is None:
            continue
        if method == 1 and b"idat" in others:
            start = others[b"idat"].begin
            extents = [(start + offset, length) for offset, length in extents]
        elif method:
            raise BrokenContainerError("a picture made of other items' bytes")
        # A length of 0 goes to the end of the file.
        item.extents = [(begin, length or max(len(data) - begin, 0)) for begin, length in extents]


def _references(container: Container, box: Box, others: dict[bytes, Box]) -> None:
    """ItemReferenceBox (14496-12, 8.11.12)."""
    wide = 2 if container.data[box.begin] == 0 else 4
    for entry in boxes(container.data, box.begin + 4, box.end):
        cursor = _Cursor(container.data, entry.begin, entry.end)
        source = cursor.number(wide)
        targets = tuple(cursor.number(wide) for _ in range(cursor.number(2)))
        container.references.append((entry.kind, source, targets))


def _properties(container: Container, box: Box, others: dict[bytes, Box]) -> None:
    """ItemPropertiesBox (23008-12, 9.3)."""
    data = container.data
    inner = list(boxes(data, box.begin, box.end))
    known = [
        (each.kind, data[each.begin : each.end])
        for container_of in inner
        if container_of.kind == b"ipco"
        for each in boxes(data, container_of.begin, container_of.end)
    ]
    for table in inner:
        if table.kind != b"ipma":
            continue
        version, long_index = data[table.begin], data[table.begin + 3] & 1
        cursor = _Cursor(data, table.begin + 4, table.end)
        for _ in range(cursor.number(4)):
            item = container.items.get(cursor.number(2 if version < 1 else 4))
            for _ in range(cursor.number(1)):
                index = cursor.number(2) & 0x7FFF if long_index else cursor.number(1) & 0x7F
                if item is not None and 0 < index <= len(known):
                    item.properties.append(known[index - 1])


class _Cursor:
    """Big-endian numbers one after the other."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data, self._at, self._end = data, at, end

    def number(self, size: int) -> int:
        if self._at + size > self._end:
            raise BrokenContainerError("a table of its pictures ends too early")
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at], "big")


_Table = Callable[[Container, Box, "dict[bytes, Box]"], None]
_TABLES: tuple[tuple[bytes, _Table], ...] = (
    (b"iinf", _items),
    (b"iloc", _locations),
    (b"iref", _references),
    (b"iprp", _properties),
)
