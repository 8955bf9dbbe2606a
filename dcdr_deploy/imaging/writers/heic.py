"""HEIC (ISO/IEC 23008-12): PQ or HLG in 10 bits of HEVC, as phones have it: colour at half resolution, full range.

libheif with x265 by pillow-heif; x265 is GPL, which is why pillow-heif is an extra of its own.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from dcdr_deploy.imaging.isobmff_write import extended
from dcdr_deploy.imaging.light import HLG, PQ
from dcdr_deploy.imaging.writers.base import FAST, SLOW, Format, Job
from dcdr_deploy.imaging.writers.delivered import (
    EXIF_AND_XMP,
    code_points,
    encoded,
    encoder_errors,
    held,
    items_of,
    properties,
)

QUALITY = 90
BITS = 10

_CENTRE = 1
"""H.273's Chroma420SampleLocType: libheif makes chroma the mean of four samples."""

_PRESET = {FAST: "ultrafast", SLOW: "medium"}


def write_heic(path: Path, job: Job) -> None:
    """Write one picture."""
    import pillow_heif

    samples, level = encoded(job, BITS)
    samples <<= 16 - BITS  # pillow-heif takes 16 bits and keeps the upper ones
    primaries, transfer, matrix = code_points(job.light)
    settings: dict[str, Any] = {
        "quality": job.options.quality or QUALITY,
        "chroma": 420,
        "color_primaries": primaries,
        "transfer_characteristics": transfer,
        "matrix_coefficients": matrix,
        "full_range_flag": 1,
        "enc_params": {"preset": _PRESET[job.options.speed], "x265:chromaloc": str(_CENTRE)},
    }
    mode = "RGB;16" if job.alpha is None else "RGBA;16"
    with encoder_errors("libheif"):
        picture = pillow_heif.from_bytes(mode=mode, size=samples.shape[1::-1], data=samples.tobytes())
        stream = io.BytesIO()
        picture.save(stream, **settings)
        path.write_bytes(extended(stream.getvalue(), properties(job.light, level), items_of(job)))


FORMAT = Format(
    (".heic",),
    "image/heic",
    write_heic,
    held,
    transfers=(PQ, HLG),
    takes=frozenset({"quality", "speed"}),
    needs=("pillow_heif", "heif"),
    carries=EXIF_AND_XMP,
)
