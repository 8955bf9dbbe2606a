"""AVIF (AV1 Image File Format 1.1): PQ or HLG in 10 or 12 bits, colour at full resolution, full range.

libavif with libaom by imagecodecs. It writes ``nclx`` and no brightness, which is added to its boxes.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from dcdr_deploy.imaging.isobmff_write import extended, with_colours
from dcdr_deploy.imaging.light import HLG, PQ
from dcdr_deploy.imaging.writers.base import FAST, SLOW, Format, Job
from dcdr_deploy.imaging.writers.delivered import (
    EXIF_AND_XMP,
    LOSSLESS,
    code_points,
    encoded,
    encoder_errors,
    held,
    items_of,
    properties,
)
from dcdr_deploy.system import hardware

QUALITY = 90
BITS = 10

_SPEED = {FAST: 9, SLOW: 6}
"""libaom's: 6 takes some ten times as long as 9."""


def write_avif(path: Path, job: Job) -> None:
    """Write a picture of one frame; quality 100 is lossless."""
    import imagecodecs

    options = job.options
    quality, bits = options.quality or QUALITY, options.bits or BITS
    samples, level = encoded(job, bits)
    primaries, transfer, matrix = code_points(job.light, lossless=quality == LOSSLESS)
    settings: dict[str, Any] = {"level": quality, "speed": _SPEED[options.speed], "bitspersample": bits}
    tellable = "primaries" in inspect.signature(imagecodecs.avif_encode).parameters  # from 2025.11 on
    if tellable:
        settings |= {"primaries": primaries, "transfer": transfer, "matrix": matrix}
    with encoder_errors("libavif"):
        data = bytes(imagecodecs.avif_encode(samples, numthreads=hardware.cpu_threads(), **settings))
        if not tellable:
            data = with_colours(data, primaries, transfer)
        path.write_bytes(extended(data, properties(job.light, level), items_of(job)))


FORMAT = Format(
    (".avif",),
    "image/avif",
    write_avif,
    held,
    transfers=(PQ, HLG),
    takes=frozenset({"quality", "bits", "speed"}),
    needs=("imagecodecs", "formats"),
    carries=EXIF_AND_XMP,
)
