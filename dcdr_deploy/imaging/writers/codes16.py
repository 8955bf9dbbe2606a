"""Linear light in 16-bit integers, for PNG and TIFF: the network's [0, 1] x 65535, rounded.

Not dithered: they are read as numbers, and a step is less than half of the darkest one of an 8-bit SDR picture.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.writers.base import Job
from dcdr_deploy.system.strips import Scratch, for_strips

TOP = 65535


def linear_codes(job: Job, *, bgr: bool = False) -> NDArray[np.uint16]:
    """(H, W, 3) light in the file's primaries, R, G, B or B, G, R: 65535 is the model's peak, more is clipped."""
    codes = np.empty(job.linear.shape, np.uint16)
    rows = rows_of(job, bgr=bgr)

    def fill(start: int, stop: int) -> None:
        rows(start, stop, codes[start:stop])

    for _ in for_strips(len(codes), fill):
        pass
    return codes


def rows_of(job: Job, *, bgr: bool = False) -> Callable[[int, int, NDArray[np.uint16]], NDArray[np.uint16]]:
    """What writes rows ``start`` to ``stop`` of :func:`linear_codes` into an array, which it returns."""
    light, scratch = job.relative(TOP, TOP), Scratch()

    def rows(start: int, stop: int, out: NDArray[np.uint16]) -> NDArray[np.uint16]:
        block = light(start, stop, scratch.array("light", out.shape, np.float32))
        codes = scratch.array("codes", out.shape, np.uint16) if bgr else out
        np.copyto(codes, np.rint(block, out=block), casting="unsafe")
        if bgr:
            import cv2

            cv2.cvtColor(codes, cv2.COLOR_RGB2BGR, out)
        return out

    return rows


def held(job: Job) -> NDArray[np.float32]:
    """Light of :func:`linear_codes`, in units of SDR white."""
    return linear_codes(job) * np.float32(job.peak / TOP)
