"""Radiance .hdr: RGBE with rounded mantissas, in units of SDR white."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import radiance
from dcdr_deploy.imaging.carried import EXIF
from dcdr_deploy.imaging.writers.base import Format, Job
from dcdr_deploy.imaging.writers.capture import radiance_lines


def write_hdr(path: Path, job: Job) -> None:
    """Write light without alpha, which the format has no place for.

    Raises:
        OSError: the file could not be written.
    """
    captured = radiance_lines(job.carried.exif) if job.carried.exif is not None else {}
    radiance.write_radiance(
        path,
        job.scene(radiance.RGBE_MAX),
        metadata={**captured, **job.metadata},
        chromaticities=job.light.chromaticities,
    )


def _held(job: Job) -> NDArray[np.float32]:
    return radiance.decode_rgbe(radiance.encode_rgbe(job.scene(radiance.RGBE_MAX)))


FORMAT = Format((".hdr",), "image/vnd.radiance", write_hdr, _held, carries={EXIF: "date and place"}, alpha=False)
