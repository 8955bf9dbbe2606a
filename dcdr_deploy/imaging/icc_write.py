"""ICC profiles of linear light (ICC.1:2022, display profiles of version 4.3)."""

from __future__ import annotations

import functools
import struct

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.icc import SRGB_TO_PCS

_D50 = np.array([0.9642, 1.0, 0.8249])
_D50_XY = (0.34567, 0.35850)
_IDENTITY_CURVE = b"curv" + bytes(8)  # no samples: light is as stored (10.6)


@functools.cache
def linear_profile(chromaticities: p.Chromaticities) -> bytes:
    """The profile, about 600 bytes; it is called for instance ``"Linear Rec. 709"``."""
    white = chromaticities[6:]
    to_pcs = SRGB_TO_PCS if p.is_rec709(chromaticities) else p.adaptation(white, _D50_XY) @ p.to_xyz(chromaticities)
    red, green, blue = (_xyz(to_pcs[:, channel]) for channel in range(3))
    tags = {
        b"desc": _text(f"Linear {p.name_of(chromaticities)}"),
        b"cprt": _text("No rights reserved"),
        b"wtpt": _xyz(_D50),
        b"chad": b"sf32" + bytes(4) + _fixed(p.adaptation(white, _D50_XY)),
        b"rXYZ": red,
        b"gXYZ": green,
        b"bXYZ": blue,
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _IDENTITY_CURVE),
    }
    header = bytearray(128)
    header[8:12] = b"\x04\x30\0\0"
    header[12:24] = b"mntrRGB XYZ "
    header[24:36] = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    header[36:40] = b"acsp"
    header[68:80] = _fixed(_D50)
    table, body = struct.pack(">I", len(tags)), b""
    start = len(header) + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    header[0:4] = struct.pack(">I", start + len(body))
    return bytes(header) + table + body


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _fixed(values: NDArray[np.float64]) -> bytes:
    """Numbers as s15Fixed16."""
    return np.rint(np.ravel(values) * 65536).astype(">i4").tobytes()
