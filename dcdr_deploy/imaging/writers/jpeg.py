"""Ultra HDR JPEG: the SDR picture for everyone, and a gain map for HDR viewers; see ``imaging/ultrahdr/``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import OutputError
from dcdr_deploy.imaging.carried import WHOLE
from dcdr_deploy.imaging.ultrahdr.gain import LARGEST
from dcdr_deploy.imaging.ultrahdr.write import write_ultrahdr
from dcdr_deploy.imaging.writers.base import Format, Job

QUALITY = 95


def write_jpeg(path: Path, job: Job) -> None:
    """Write it; alpha is left out.

    Raises:
        OutputError: there is no SDR picture.
    """
    if job.source is None:
        raise OutputError(
            f"{path}: an Ultra HDR file holds the SDR picture too; name the file that the light was made from, "
            "or write another format"
        )
    quality = job.options.quality or QUALITY
    write_ultrahdr(
        path, job.linear, job.peak, source=job.source, quality=quality, metadata=job.metadata, carried=job.carried
    )


def _held(job: Job) -> NDArray[np.float32]:
    held: NDArray[np.float32] = job.scene(LARGEST)
    return held


FORMAT = Format(
    (".jpg", ".jpeg"),
    "image/jpeg",
    write_jpeg,
    _held,
    transfers=(),
    primaries=(),
    takes=frozenset({"quality"}),
    carries=WHOLE,
    alpha=False,
)
