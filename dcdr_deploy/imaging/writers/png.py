"""16-bit PNG (W3C PNG, third edition): linear light, or PQ and HLG."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.carried import WHOLE, Carried
from dcdr_deploy.imaging.delivery import CodeRange, ContentLight
from dcdr_deploy.imaging.jpeg_file import iptc_resource
from dcdr_deploy.imaging.kept import RAW_IPTC, XMP_KEYWORD
from dcdr_deploy.imaging.light import BLACK_NITS, COLOUR_CODE, COLOUR_VOLUME, HLG, LINEAR, PQ, TRANSFER_CODE, Light
from dcdr_deploy.imaging.writers import codes16
from dcdr_deploy.imaging.writers.alpha import beside, codes_of
from dcdr_deploy.imaging.writers.base import Format, Job

_SIGNATURE_AND_IHDR = 8 + 25
_CODES = CodeRange(16)
_HEX_DIGITS = 72  # of a line


def write_png16(path: Path, job: Job) -> None:
    """Write RGB or RGBA; alpha is not multiplied into the colours, which is PNG's convention.

    Linear light is marked by gAMA, cHRM and cICP; PQ and HLG by cICP, PQ by mDCV and cLLI too. PQ and HLG are not
    dithered: a step of 16 bits is 1/64 of a 10-bit one.

    Raises:
        OSError: the file could not be written, or OpenCV cannot encode pictures of this size.
    """
    codes, chunks = _encoded(job)
    if job.alpha is not None:
        codes = beside(codes, codes_of(job.alpha, codes16.TOP))
    write_codes(path, codes, [*chunks, *map(text_chunk, job.metadata, job.metadata.values()), *_described(job.carried)])


def write_codes(path: Path, codes: NDArray[np.uint8] | NDArray[np.uint16], chunks: Iterable[bytes]) -> None:
    """Write codes, (H, W, 3 or 4) in the order B, G, R, as PNG with chunks behind its header.

    Raises:
        OSError: the file could not be written, or OpenCV cannot encode pictures of this size.
    """
    import cv2

    try:
        done, packed = cv2.imencode(".png", codes)
    except cv2.error as error:
        raise OSError(f"OpenCV cannot encode it: {error.err}") from error
    if not done:
        raise OSError("OpenCV cannot encode it as PNG")
    encoded = packed.data
    with path.open("wb") as stream:
        stream.writelines([encoded[:_SIGNATURE_AND_IHDR], *chunks, encoded[_SIGNATURE_AND_IHDR:]])


def _encoded(job: Job) -> tuple[NDArray[np.uint16], list[bytes]]:
    """Codes in the order B, G, R, and the chunks that say what they are."""
    if job.light.transfer == LINEAR:
        return codes16.linear_codes(job, bgr=True), list(_linear_chunks(job.light))
    codes, level = job.delivery().codes(job.linear, _CODES, seed=None, bgr=True)
    return codes, list(_delivery_chunks(job.light, level))


def _linear_chunks(light: Light) -> Iterator[bytes]:
    """gAMA 1.0 and cHRM, both times 100,000 (11.3.2.1 and 2): white, red, green, blue; cICP where there is a code."""
    *colours, white_x, white_y = light.chromaticities
    if light.primaries in COLOUR_CODE:
        yield _cicp(light)
    yield _chunk(b"gAMA", struct.pack(">I", 100000))
    yield _chunk(b"cHRM", struct.pack(">8I", *(round(each * 100000) for each in (white_x, white_y, *colours))))


def _delivery_chunks(light: Light, level: ContentLight) -> Iterator[bytes]:
    """cICP; mDCV and cLLI (11.3.2.7 and 8), which speak of absolute light, and so of PQ."""
    yield _cicp(light)
    if light.transfer == PQ:
        colours = [round(each * 50000) for each in COLOUR_VOLUME]
        nits = [round(each * 10000) for each in (light.peak_nits, BLACK_NITS)]
        yield _chunk(b"mDCV", struct.pack(">8H2I", *colours, *nits))
        yield _chunk(b"cLLI", struct.pack(">2I", round(level.max_cll * 10000), round(level.max_fall * 10000)))


def _cicp(light: Light) -> bytes:
    """Primaries and transfer by H.273, RGB, full range (11.3.2.6)."""
    return _chunk(b"cICP", bytes([COLOUR_CODE[str(light.primaries)], TRANSFER_CODE[str(light.transfer)], 0, 1]))


def _described(carried: Carried) -> Iterator[bytes]:
    """EXIf (11.3.3.2), the text that XMP's part 3 names, and IPTC as ImageMagick began to write it."""
    block = carried.exif_bytes
    if block is not None:
        yield _chunk(b"eXIf", block)
    if carried.xmp is not None:
        yield _chunk(b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + carried.xmp)
    if carried.iptc is not None:
        digits = iptc_resource(carried.iptc).hex()
        lines = "\n".join(digits[at : at + _HEX_DIGITS] for at in range(0, len(digits), _HEX_DIGITS))
        text = f"\niptc\n{len(digits) // 2:8d}\n{lines}\n"
        yield _chunk(b"zTXt", RAW_IPTC + b"\0\0" + zlib.compress(text.encode()))


def _held(job: Job) -> NDArray[np.float32]:
    if job.light.transfer == LINEAR:
        return codes16.held(job)
    return job.delivery().nits(job.linear) / np.float32(job.light.reference_white)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def text_chunk(key: str, value: str) -> bytes:
    """Return an uncompressed iTXt chunk; ``software`` is spelt as the standard's keyword."""
    keyword = ("Software" if key == "software" else key).encode("latin-1", "replace")[:79]
    return _chunk(b"iTXt", keyword + b"\0\0\0\0\0" + value.replace("\0", " ").encode("utf-8"))


# cHRM has no negative numbers, which ACES2065-1's blue needs.
FORMAT = Format(
    (".png",),
    "image/png",
    write_png16,
    _held,
    lambda job: job.peak if job.light.transfer == LINEAR else math.inf,
    transfers=(LINEAR, PQ, HLG),
    primaries=("rec709", "p3", "rec2020", "acescg"),
    carries=WHOLE,
)
