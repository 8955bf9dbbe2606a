"""16-bit integer pictures of linear light: the network's [0, 1] x 65535. PNG and TIFF."""

from __future__ import annotations

import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import tiff_file as t
from dcdr_deploy.imaging.icc_write import linear_rec709

_PNG_SIGNATURE_AND_IHDR = 8 + 25
_DEFLATE_LEVEL = 4  # half the time of the default 6 for a few percent of size
_ROWS_PER_STRIP = 64

# gAMA 1.0 (linear light) and cHRM, both times 100,000 (W3C PNG, 11.3.2.1 and 11.3.2.2): white, red, green, blue.
_PNG_GAMMA = struct.pack(">I", 100000)
_PNG_REC709 = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


def write_png16(
    path: Path, linear: NDArray[np.float32], *, alpha: NDArray[np.float32] | None, metadata: dict[str, str]
) -> None:
    """Write a 16-bit RGB or RGBA PNG, marked as linear Rec. 709 by its gAMA and cHRM chunks.

    Args:
        path: where to write; not atomic by itself.
        linear: (H, W, 3) in [0, 1]; other values are clipped, NaN becomes 0.
        alpha: (H, W) in [0, 1]; not multiplied into the colours (PNG's convention).
        metadata: written as iTXt chunks.

    Raises:
        OSError: the file could not be written, or OpenCV cannot encode pictures of this size.
    """
    import cv2

    bgr = cv2.cvtColor(to_codes(linear, None), cv2.COLOR_RGB2BGR)
    if alpha is not None:
        bgr = np.dstack([bgr, to_codes(alpha, None)])
    try:
        done, packed = cv2.imencode(".png", bgr)
    except cv2.error as error:
        raise OSError(f"OpenCV cannot encode it: {error.err}") from error
    if not done:
        raise OSError("OpenCV cannot encode it as PNG")
    encoded = packed.data
    extra = [_png_chunk(b"gAMA", _PNG_GAMMA), _png_chunk(b"cHRM", _PNG_REC709)]
    extra += [_png_chunk(b"iTXt", _png_text(key, value)) for key, value in metadata.items()]
    with path.open("wb") as stream:
        stream.writelines([encoded[:_PNG_SIGNATURE_AND_IHDR], *extra, encoded[_PNG_SIGNATURE_AND_IHDR:]])


def write_tiff16(
    path: Path, linear: NDArray[np.float32], *, alpha: NDArray[np.float32] | None, metadata: dict[str, str]
) -> None:
    """Write a 16-bit RGB or RGBA TIFF, marked as linear Rec. 709 by an ICC profile.

    Deflate with horizontal predictor, in strips of 64 rows that are packed on all cores.

    Our own writer, because OpenCV's leaves out ExtraSamples (TIFF 6.0, section 18) and the text tags.

    Args:
        path: where to write; not atomic by itself.
        linear: (H, W, 3) in [0, 1]; other values are clipped, NaN becomes 0.
        alpha: (H, W) in [0, 1]; stored unassociated (ExtraSamples = 2).
        metadata: ``software`` goes into the tag Software, all the rest as ``key=value`` lines into ImageDescription.

    Raises:
        OSError: the file could not be written, or would pass the 4 GiB of a classic TIFF.
    """
    codes = to_codes(linear, alpha)
    height, width, samples = codes.shape
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        strips = list(
            pool.map(_pack_strip, (codes[y : y + _ROWS_PER_STRIP] for y in range(0, height, _ROWS_PER_STRIP)))
        )
    tags: dict[int, t.Value] = {
        t.WIDTH: width,
        t.HEIGHT: height,
        t.BITS: [16] * samples,
        t.COMPRESSION: t.DEFLATE,
        t.PHOTOMETRIC: 2,
        t.SAMPLES_PER_PIXEL: samples,
        t.ROWS_PER_STRIP: _ROWS_PER_STRIP,
        t.PLANAR: 1,
        t.PREDICTOR: t.HORIZONTAL_PREDICTOR,
        t.SAMPLE_FORMAT: [1] * samples,
        t.ICC_PROFILE: linear_rec709(),
    }
    if samples == 4:
        tags[t.EXTRA_SAMPLES] = t.UNASSOCIATED_ALPHA
    described = {key: value for key, value in metadata.items() if key != "software"}
    if "software" in metadata:
        tags[t.SOFTWARE] = metadata["software"]
    if described:
        tags[t.DESCRIPTION] = "\n".join(f"{key}={value}" for key, value in described.items())
    try:
        path.write_bytes(t.assemble(tags, strips))
    except ValueError as error:
        raise OSError(str(error)) from error


def _pack_strip(rows: NDArray[np.uint16]) -> bytes:
    """Horizontal differences modulo 65536 (TIFF 6.0, section 14), little-endian, deflated."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.astype("<u2", copy=False), _DEFLATE_LEVEL)


def to_codes(linear: NDArray[np.floating[Any]], alpha: NDArray[np.float32] | None) -> NDArray[np.uint16]:
    """Values x 65535, rounded and clipped to [0, 65535], NaN 0; alpha becomes the fourth sample."""
    samples = linear.shape[2:] if alpha is None else (4,)
    codes = np.empty((*linear.shape[:2], *samples), np.uint16)
    colour = codes if alpha is None else codes[..., :3]
    for row in range(0, linear.shape[0], 64):  # blocks stay in the cache
        block = slice(row, row + 64)
        # fmax takes the number where one side is NaN
        colour[block] = np.rint(np.minimum(np.fmax(linear[block], np.float32(0)), 1) * np.float32(65535))
        if alpha is not None:
            codes[block, :, 3] = np.rint(np.clip(alpha[block], 0, 1) * np.float32(65535))
    return codes


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_text(key: str, value: str) -> bytes:
    """The body of an uncompressed iTXt chunk; ``software`` is spelt as the standard's keyword."""
    keyword = ("Software" if key == "software" else key).encode("latin-1", "replace")[:79]
    return keyword + b"\0\0\0\0\0" + value.replace("\0", " ").encode("utf-8")
