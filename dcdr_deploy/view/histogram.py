"""How much of a picture lies at which luminance, in stops over SDR white."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.transfer import luminance
from dcdr_deploy.view.false_colour import HIGHEST, LOWEST

BINS_A_STOP = 8
FROM, TO = LOWEST - 1, HIGHEST + 1
"""Stops over SDR white at which the histogram begins and ends."""


@dataclass(frozen=True)
class Light:
    """Figures of a picture's luminance in units of SDR white.

    Attributes:
        low, median, p99, high: minimum, median, 99th percentile and maximum.
        above_white: share of the pixels that are brighter than SDR white, by more than a half float's rounding.
    """

    low: float
    median: float
    p99: float
    high: float
    above_white: float


def histogram(light: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of the pixels in each bin of 1/8 stop from :data:`FROM` to :data:`TO`; the ends hold what lies beyond.

    Args:
        light: (H, W, 3) linear Rec. 709, 1.0 = SDR white.

    Returns:
        ((TO - FROM) * BINS_A_STOP,) float64, sums to 1.
    """
    y = np.maximum(luminance(light).ravel(), np.float32(2.0 ** (FROM - 1)))
    place = np.floor((np.log2(y) - FROM) * BINS_A_STOP).astype(np.int64)
    bins = (TO - FROM) * BINS_A_STOP
    counts = np.bincount(np.clip(place, 0, bins - 1), minlength=bins)
    return np.asarray(counts / max(y.size, 1), np.float64)


def figures(light: NDArray[np.float32]) -> Light:
    """Figures of a picture, (H, W, 3) as for :func:`histogram`."""
    y = luminance(light).ravel()
    median, p99 = np.quantile(y, (0.5, 0.99))
    return Light(float(y.min()), float(median), float(p99), float(y.max()), float((y > 1.001).mean()))
