"""Linear light in 16-bit integers, for PNG and TIFF: the network's [0, 1] x 65535, rounded.

Not dithered: they are read as numbers, and a step is less than half of the darkest one of an 8-bit SDR picture.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.writers.base import Job
from dcdr_deploy.system.strips import for_strips

TOP = 65535


def linear_codes(job: Job, *, bgr: bool = False) -> NDArray[np.uint16]:
    """(H, W, 3) light in the file's primaries, R, G, B or B, G, R: 65535 is the model's peak, more is clipped."""
    codes = np.empty(job.linear.shape, np.uint16)
    rows = rows_of(job, bgr=bgr)

    def fill(start: int, stop: int) -> None:
        codes[start:stop] = rows(start, stop)

    for _ in for_strips(len(codes), fill):
        pass
    return codes


def rows_of(job: Job, *, bgr: bool = False) -> Callable[[int, int], NDArray[np.uint16]]:
    """What gives rows ``start`` to ``stop`` of :func:`linear_codes`."""
    light = job.relative(TOP, TOP, bgr=bgr)

    def rows(start: int, stop: int) -> NDArray[np.uint16]:
        block = light(start, stop)
        return np.rint(block, out=block).astype(np.uint16)

    return rows


def held(job: Job) -> NDArray[np.float32]:
    """Light of :func:`linear_codes`, in units of SDR white."""
    return linear_codes(job) * np.float32(job.peak / TOP)


def with_alpha(codes: NDArray[np.uint16], alpha: NDArray[np.float32] | None) -> NDArray[np.uint16]:
    """Put alpha in [0, 1] beside the colours, as a fourth sample."""
    if alpha is None:
        return codes
    return np.dstack([codes, np.rint(alpha * np.float32(TOP)).astype(np.uint16)])
