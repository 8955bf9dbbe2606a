"""OpenEXR files byte by byte, for layouts that the Python binding reads and does not write (OpenEXR File Layout)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

Sampled = tuple[np.ndarray, int, int]
"""Samples, and the x and y sampling of a channel."""

_PIXEL_TYPE = {np.dtype(np.uint32): 0, np.dtype(np.float16): 1, np.dtype(np.float32): 2}
_TILED = 0x200
_MIPMAP = 1


def exr_bytes(
    channels: Mapping[str, np.ndarray | Sampled],
    data_window: tuple[int, int, int, int] | None = None,
    display_window: tuple[int, int, int, int] | None = None,
    attributes: Mapping[str, str | tuple[float, ...] | int] | None = None,
    compression: int = 0,
) -> bytes:
    """A single-part scanline file without compression; windows are x and y of the first and of the last pixel."""
    full = {name: value if isinstance(value, tuple) else (value, 1, 1) for name, value in sorted(channels.items())}
    height, width = next(iter(full.values()))[0].shape
    data = data_window or (0, 0, width - 1, height - 1)
    head = _header(full, data, display_window or data, attributes or {}, compression)
    chunks = []
    for y in range(data[1], data[3] + 1):
        rows = [s[y // ys - -(-data[1] // ys)].tobytes() for s, _, ys in full.values() if y % ys == 0]
        body = b"".join(rows)
        chunks.append(struct.pack("<ii", y, len(body)) + body)
    return _with_offsets(struct.pack("<II", 20000630, 2) + head, chunks)


def mip_exr_bytes(levels: list[dict[str, np.ndarray]], tile: int = 16) -> bytes:
    """A tiled file with the levels given, each half the size of the one before, rounded down."""
    full = {name: (value, 1, 1) for name, value in sorted(levels[0].items())}
    height, width = next(iter(full.values()))[0].shape
    window = (0, 0, width - 1, height - 1)
    tiles = _attribute("tiles", "tiledesc", struct.pack("<IIB", tile, tile, _MIPMAP))
    head = _header(full, window, window, {}, 0)[:-1] + tiles + b"\0"
    chunks = []
    for number, level in enumerate(levels):
        rows, columns = next(iter(level.values())).shape
        for y in range(0, rows, tile):
            for x in range(0, columns, tile):
                body = b"".join(
                    level[name][row, x : x + tile].tobytes()
                    for row in range(y, min(y + tile, rows))
                    for name in sorted(level)
                )
                place = struct.pack("<iiiii", x // tile, y // tile, number, number, len(body))
                chunks.append(place + body)
    return _with_offsets(struct.pack("<II", 20000630, 2 | _TILED) + head, chunks)


def _with_offsets(head: bytes, chunks: list[bytes]) -> bytes:
    at = len(head) + 8 * len(chunks)
    offsets = []
    for chunk in chunks:
        offsets.append(at)
        at += len(chunk)
    return head + struct.pack(f"<{len(offsets)}Q", *offsets) + b"".join(chunks)


def _header(
    channels: Mapping[str, Sampled],
    data: tuple[int, ...],
    display: tuple[int, ...],
    attributes: Mapping[str, str | tuple[float, ...] | int],
    compression: int,
) -> bytes:
    listed = b"".join(
        name.encode() + b"\0" + struct.pack("<iB3xii", _PIXEL_TYPE[samples.dtype], 0, x, y)
        for name, (samples, x, y) in channels.items()
    )
    head = _attribute("channels", "chlist", listed + b"\0")
    head += _attribute("compression", "compression", bytes([compression]))
    head += _attribute("dataWindow", "box2i", struct.pack("<4i", *data))
    head += _attribute("displayWindow", "box2i", struct.pack("<4i", *display))
    head += _attribute("lineOrder", "lineOrder", b"\0")
    head += _attribute("pixelAspectRatio", "float", struct.pack("<f", 1))
    head += _attribute("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0))
    head += _attribute("screenWindowWidth", "float", struct.pack("<f", 1))
    for name, value in attributes.items():
        if isinstance(value, str):
            head += _attribute(name, "string", value.encode())
        elif isinstance(value, int):
            head += _attribute(name, "int", struct.pack("<i", value))
        else:
            kind = {8: "chromaticities", 2: "v2f"}[len(value)]
            head += _attribute(name, kind, struct.pack(f"<{len(value)}f", *value))
    return head + b"\0"


def _attribute(name: str, kind: str, value: bytes) -> bytes:
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value
