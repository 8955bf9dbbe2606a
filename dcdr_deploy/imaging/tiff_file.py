"""The TIFF container (TIFF 6.0, section 2): one directory behind its data.

Used to write pictures, and to hand single planes of a TIFF of more than 8 bits to libtiff's decompressors.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO

from dcdr_deploy.imaging.exif_block import Entry, Exif, directories

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
DESCRIPTION, STRIP_OFFSETS, SAMPLES_PER_PIXEL, ROWS_PER_STRIP, STRIP_BYTES = 270, 273, 277, 278, 279
PLANAR, SOFTWARE, PREDICTOR = 284, 305, 317
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339

DEFLATE = 8
NO_PREDICTOR, HORIZONTAL_PREDICTOR, FLOATING_PREDICTOR = 1, 2, 3
ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA = 1, 2

_ASCII, _SHORT, _LONG, _UNDEFINED = 2, 3, 4, 7
_SHORT_TAGS = frozenset(
    {BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES_PER_PIXEL, PLANAR, PREDICTOR, EXTRA_SAMPLES, SAMPLE_FORMAT}
)

ICC_PROFILE = 34675

_HEADER_SIZE = 8

Value = int | str | bytes | Sequence[int]


def write(
    stream: BinaryIO,
    tags: Mapping[int, Value],
    segments: Iterable[bytes | memoryview],
    byte_order: str = "<",
    described: Exif | None = None,
) -> None:
    """Write a classic TIFF of one page, each segment as it comes.

    Args:
        stream: empty; it can seek.
        tags: all but the offsets and byte counts. The presence of TILE_WIDTH says that the segments are tiles.
        segments: the encoded strips or tiles, in order.
        byte_order: ``"<"`` or ``">"``; also the order of the samples inside the segments.
        described: Exif of the picture, in little-endian files; ``tags`` take precedence.

    Raises:
        ValueError: the file would pass 4 GiB, which a classic TIFF cannot address.
    """
    mark = b"II" if byte_order == "<" else b"MM"
    start = stream.write(mark + bytes(_HEADER_SIZE - len(mark)))
    offsets, sizes = [], []
    for segment in segments:
        offsets.append(start)
        sizes.append(len(segment))
        start += stream.write(segment) + stream.write(b"\0" * (len(segment) & 1))  # TIFF asks for word boundaries
        if start + 2**20 > 2**32:
            raise ValueError("a classic TIFF ends at 4 GiB")
    tiled = TILE_WIDTH in tags
    complete: dict[int, Value] = {
        **tags,
        (TILE_OFFSETS if tiled else STRIP_OFFSETS): offsets,
        (TILE_BYTES if tiled else STRIP_BYTES): sizes,
    }
    if described is None:
        stream.write(_directory(complete, start, byte_order))
    else:
        own = {tag: Entry(*_field(tag, value, byte_order)) for tag, value in complete.items()}
        stream.write(directories({**described.picture, **own}, described, start))
    stream.seek(len(mark))
    stream.write(struct.pack(f"{byte_order}HI", 42, start))


def assemble(tags: Mapping[int, Value], segments: Iterable[bytes | memoryview], byte_order: str = "<") -> bytes:
    """Return a file of :func:`write`."""
    stream = io.BytesIO()
    write(stream, tags, segments, byte_order)
    return stream.getvalue()


def _directory(tags: Mapping[int, Value], at: int, order: str) -> bytes:
    """The directory that starts at byte ``at``, followed by the values that do not fit into their entries."""
    entries: list[bytes] = []
    overflow = b""
    overflow_at = at + 2 + 12 * len(tags) + 4
    for tag in sorted(tags):
        kind, count, packed = _field(tag, tags[tag], order)
        if len(packed) > 4:
            pointer = struct.pack(f"{order}I", overflow_at + len(overflow))
            overflow += packed + b"\0" * (len(packed) & 1)
        else:
            pointer = packed.ljust(4, b"\0")
        entries.append(struct.pack(f"{order}HHI", tag, kind, count) + pointer)
    return struct.pack(f"{order}H", len(entries)) + b"".join(entries) + b"\0\0\0\0" + overflow


def _field(tag: int, value: Value, order: str) -> tuple[int, int, bytes]:
    """Type, count and packed bytes of one value."""
    if isinstance(value, str):
        text = value.encode("ascii", "replace") + b"\0"
        return _ASCII, len(text), text
    if isinstance(value, bytes):
        return _UNDEFINED, len(value), value
    numbers = [value] if isinstance(value, int) else list(value)
    kind, letter = (_SHORT, "H") if tag in _SHORT_TAGS else (_LONG, "I")
    return kind, len(numbers), struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
