"""Small pictures and hand-made files for the imaging tests."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48

PRIMARIES = {  # x, y of R, G, B; white D65
    "srgb": (0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    "display-p3": (0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    "adobe-rgb": (0.64, 0.33, 0.21, 0.71, 0.15, 0.06),
}
_D65 = np.array([0.3127 / 0.3290, 1.0, (1 - 0.3127 - 0.3290) / 0.3290])
_D50 = np.array([0.96422, 1.0, 0.82521])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def smooth_rgb(dtype: type = np.uint8) -> np.ndarray:
    """(48, 64, 3): two ramps and a diagonal, smooth enough for lossy formats, unlike in every direction."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    rgb = np.stack([x / (WIDTH - 1), y / (HEIGHT - 1), (x + y) / (WIDTH + HEIGHT - 2)], axis=-1)
    return np.rint(rgb * np.iinfo(dtype).max).astype(dtype)


def noise(channels: int, dtype: type = np.uint16, seed: int = 0) -> np.ndarray:
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def pillow_bytes(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(stream, kind, **options)
    return stream.getvalue()


def tifffile_bytes(samples: np.ndarray, **options: Any) -> bytes:
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(stream, samples, **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png_bytes(
    samples: np.ndarray, colour_type: int, extra: bytes = b"", depth: int = 16, interlaced: bool = False
) -> bytes:
    """A PNG of whole bytes a sample without filters; ``extra`` chunks come before the data."""
    height, width = samples.shape[:2]
    wide = samples.astype(">u2" if depth == 16 else ">u1")
    passes = [wide[y::dy, x::dx] for x, y, dx, dy in _ADAM7] if interlaced else [wide]
    rows = b"".join(b"\0" + row.tobytes() for part in passes if part.size for row in part)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_header_only(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def rgb_to_xyz(primaries: tuple[float, ...], *, adapted: bool = False) -> np.ndarray:
    """(3, 3) linear RGB with a D65 white -> XYZ, by the definition of primaries; adapted to D50 by Bradford."""
    xy = np.reshape(primaries, (3, 2))
    columns = np.stack([xy[:, 0] / xy[:, 1], np.ones(3), (1 - xy.sum(axis=1)) / xy[:, 1]])
    matrix = columns * np.linalg.solve(columns, _D65)
    if not adapted:
        return matrix
    scale = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ _D65))
    return np.linalg.inv(_BRADFORD) @ scale @ _BRADFORD @ matrix


def gamma_curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def sampled_curve(function: Callable[[np.ndarray], np.ndarray], count: int = 1024) -> bytes:
    samples = np.rint(function(np.linspace(0, 1, count)) * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", count) + samples.tobytes()


def parametric_curve(kind: int, *parameters: float) -> bytes:
    numbers = struct.pack(f">{len(parameters)}i", *(round(p * 65536) for p in parameters))
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + numbers


SRGB_PARAMETRIC = (3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def icc_profile(space: str, tags: dict[bytes, bytes]) -> bytes:
    header = bytearray(128)
    header[8:12] = b"\x04\x30\0\0"
    header[12:24] = b"mntr" + space.encode().ljust(4) + b"XYZ "
    header[36:40] = b"acsp"
    header[68:80] = struct.pack(">3i", *(round(v * 65536) for v in _D50))
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    whole = bytes(header) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def description_tag(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def matrix_profile(primaries: str, curve: bytes, name: str = "test profile") -> bytes:
    columns = rgb_to_xyz(PRIMARIES[primaries], adapted=True).T
    colorants = [b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in column)) for column in columns]
    tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in _D50))
    return icc_profile("RGB", {b"desc": description_tag(name), b"wtpt": white, **tags})


def gray_profile(curve: bytes) -> bytes:
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in _D50))
    return icc_profile("GRAY", {b"desc": description_tag("gray test"), b"wtpt": white, b"kTRC": curve})
