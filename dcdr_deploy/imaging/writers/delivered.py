"""What the formats of delivery share: 10 and 12 bits of PQ or HLG, and what a file says of its light."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.carried import EXIF, XMP
from dcdr_deploy.imaging.delivery import CodeRange, ContentLight
from dcdr_deploy.imaging.isobmff_write import MetadataItem, content_light, exif_item, mastering_display, xmp_item
from dcdr_deploy.imaging.light import COLOUR_CODE, COLOUR_VOLUME, PQ, TRANSFER_CODE, Light
from dcdr_deploy.imaging.writers.alpha import beside, codes_of
from dcdr_deploy.imaging.writers.base import Job
from dcdr_deploy.imaging.xmp import OWN, BrokenPacketError
from dcdr_deploy.imaging.xmp_write import extended, own_description, packet

LOSSLESS = 100
"""Quality of a file that gives back its codes."""

_IDENTITY, _REC709, _REC2020 = 0, 1, 9


def encoded(job: Job, bits: int) -> tuple[NDArray[np.uint16], ContentLight]:
    """Return (H, W, 3) codes, or (H, W, 4) with alpha, and how bright the picture is."""
    codes, level = job.delivery().codes(job.linear, CodeRange(bits))
    if job.alpha is None:
        return codes, level
    return beside(codes, codes_of(job.alpha, (1 << bits) - 1)), level


def held(job: Job) -> NDArray[np.float32]:
    """Light of the codes before they are rounded, in units of SDR white."""
    return job.delivery().nits(job.linear) / np.float32(job.light.reference_white)


def code_points(light: Light, *, lossless: bool = False) -> tuple[int, int, int]:
    """Return primaries, transfer and matrix by ITU-T H.273; lossless files hold R, G and B themselves."""
    colours = COLOUR_CODE[str(light.primaries)]
    matrix = _IDENTITY if lossless else _REC2020 if colours == COLOUR_CODE["rec2020"] else _REC709
    return colours, TRANSFER_CODE[str(light.transfer)], matrix


def properties(light: Light, level: ContentLight) -> dict[bytes, bytes]:
    """Return bodies of the boxes that say how bright a picture is: ``clli``; of PQ, which is absolute, ``mdcv`` too."""
    found = {b"clli": content_light(level.max_cll, level.max_fall)}
    if light.transfer == PQ:
        found[b"mdcv"] = mastering_display(COLOUR_VOLUME, light.peak_nits)
    return found


EXIF_AND_XMP = {EXIF: "", XMP: ""}
"""What these formats carry: none has a place for IPTC."""


def xmp_of(job: Job) -> bytes:
    """Return the picture's packet with what made it in it, or one of that alone; empty where nothing is said."""
    if job.carried.xmp is None:
        return packet(own_description(job.metadata)) if job.metadata else b""
    try:
        return extended(job.carried.xmp, own_description(job.metadata), without=(OWN,))
    except BrokenPacketError:  # well-formed, but nothing that has descriptions
        return packet(own_description(job.metadata))


def items_of(job: Job) -> list[MetadataItem]:
    """Return XMP and Exif as items of HEIF."""
    xmp, block = xmp_of(job), job.carried.exif_bytes
    return [*([xmp_item(xmp)] if xmp else []), *([exif_item(block)] if block is not None else [])]


@contextmanager
def encoder_errors(name: str) -> Iterator[None]:
    """Make what an encoder library raises an OSError, which is told with the file's name."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # imagecodecs' errors are RuntimeErrors, pillow-heif's both
        raise OSError(f"{name} cannot encode it: {' '.join(str(error).split())}") from error
