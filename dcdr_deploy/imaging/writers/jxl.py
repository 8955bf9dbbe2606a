"""JPEG XL (ISO/IEC 18181): PQ, or linear light as halves; lossy, or lossless at quality 100.

libjxl by imagecodecs, which calls everything linear sRGB; ``imaging/jxl_header_write.py`` says what it is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.delivery import Delivery
from dcdr_deploy.imaging.half import HALF_MAX, to_half
from dcdr_deploy.imaging.isobmff_write import bodies, box
from dcdr_deploy.imaging.jxl_header import CODESTREAM
from dcdr_deploy.imaging.jxl_header_write import (
    ENCODER_NITS,
    P3,
    REC2100,
    SRGB,
    Colour,
    recoloured,
)
from dcdr_deploy.imaging.jxl_header_write import LINEAR as LINEAR_CODE
from dcdr_deploy.imaging.jxl_header_write import PQ as PQ_CODE
from dcdr_deploy.imaging.light import LINEAR, PQ
from dcdr_deploy.imaging.writers import delivered
from dcdr_deploy.imaging.writers.alpha import beside
from dcdr_deploy.imaging.writers.base import FAST, SLOW, Format, Job
from dcdr_deploy.imaging.writers.delivered import LOSSLESS, encoder_errors, xmp_of
from dcdr_deploy.system import hardware
from dcdr_deploy.system.strips import Scratch, for_strips

QUALITY = 90
BITS = 10
HALF_BITS = 16

PRIMARIES = {"rec709": SRGB, "rec2020": REC2100, "p3": P3}

_EFFORT = {FAST: 3, SLOW: 7}
_CONTAINER = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")


def write_jxl(path: Path, job: Job) -> None:
    """Write a picture of one frame."""
    import imagecodecs

    quality, bits = job.options.quality or QUALITY, job.options.bits or BITS
    lossless, linear = quality == LOSSLESS, job.light.transfer == LINEAR
    samples = _samples(job, bits, lossless=lossless)
    settings: dict[str, Any] = {"lossless": True} if lossless else {"distance": distance_of(quality)}
    if samples.dtype == np.uint16:
        settings["bitspersample"] = bits
    nits = job.light.reference_white if linear else job.light.peak_nits
    colour = Colour(PRIMARIES[str(job.light.primaries)], LINEAR_CODE if linear else PQ_CODE, nits)
    with encoder_errors("libjxl"):
        data = imagecodecs.jpegxl_encode(
            samples, effort=_EFFORT[job.options.speed], numthreads=hardware.cpu_threads(), **settings
        )
        path.write_bytes(_with(bytes(data), colour, HALF_BITS if linear else bits, _said(job)))


def _samples(job: Job, bits: int, *, lossless: bool) -> NDArray[Any]:
    """Return what the encoder is to be given, (H, W, 3) or (H, W, 4) with alpha.

    A lossy one takes light and has Rec. 709 for its colours; a lossless one takes the samples of the file.
    """
    if lossless and job.light.transfer == PQ:
        return delivered.encoded(job, bits)[0]
    if lossless:
        halves: NDArray[np.float16] = job.scene(HALF_MAX, np.float16)
    else:
        halves = _light(job)
    if job.alpha is None:
        return halves
    return beside(halves, to_half(job.alpha))


def _light(job: Job) -> NDArray[np.float16]:
    """(H, W, 3) halves, linear Rec. 709, 1.0 as many cd/m2 as the encoder takes it for."""
    light = replace(job.light, primaries="rec709")
    if job.light.transfer == LINEAR:
        scale = job.light.reference_white / ENCODER_NITS
        halves: NDArray[np.float16] = replace(job, light=light).scene(HALF_MAX, np.float16, scale * job.peak)
        return halves
    delivery = Delivery(light, job.peak, job.largest)
    halves, scratch = np.empty(job.linear.shape, np.float16), Scratch()

    def fill(start: int, stop: int) -> None:
        place = halves[start:stop]
        light = delivery.nits(job.linear[start:stop], scratch.array("light", place.shape, np.float32))
        light /= np.float32(ENCODER_NITS)
        to_half(light, place)

    for _ in for_strips(len(halves), fill):
        pass
    return halves


def _said(job: Job) -> bytes:
    """Return boxes of XMP and of Exif (18181-2, 9.4 and 9.5)."""
    xmp, block = xmp_of(job), job.carried.exif_bytes
    boxes = box(b"xml ", xmp) if xmp else b""
    return boxes + (box(b"Exif", bytes(4) + block) if block is not None else b"")


def _with(data: bytes, colour: Colour, bits: int, said: bytes) -> bytes:
    """Put a codestream of imagecodecs, bare or in its container, into one that says its colours and its maker."""
    if data.startswith(CODESTREAM):
        return _CONTAINER + box(b"jxlc", recoloured(data, colour, bits)) + said
    parts = bodies(data)
    parts[b"jxlc"] = recoloured(parts[b"jxlc"], colour, bits)
    return b"".join(box(kind, body) for kind, body in parts.items()) + said


def distance_of(quality: int) -> float:
    """Return the Butteraugli distance of a quality, 1 to 99, as libjxl counts (JxlEncoderDistanceFromQuality)."""
    if quality >= 30:
        return 0.1 + (100 - quality) * 0.09
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def _held(job: Job) -> NDArray[np.float32]:
    if job.light.transfer == PQ:
        return delivered.held(job)
    return job.scene(HALF_MAX, np.float16).astype(np.float32)


FORMAT = Format(
    (".jxl",),
    "image/jxl",
    write_jxl,
    _held,
    transfers=(PQ, LINEAR),
    primaries=tuple(PRIMARIES),
    takes=frozenset({"quality", "bits", "speed"}),
    of_linear=frozenset({"reference_white"}),
    needs=("imagecodecs", "formats"),
    carries=delivered.EXIF_AND_XMP,
)
