"""Numbers that describe an HDR picture in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.half import HALF_MAX, to_half
from dcdr_deploy.system.strips import for_strips

_NEGATIVE_HALVES = np.arange(0xFC00, 0x7FFF, -1)  # bits of -inf ... -0, ascending by value
_BITS_ASCENDING = np.concatenate([_NEGATIVE_HALVES, np.arange(0x7C01)])
_VALUE_ASCENDING = _BITS_ASCENDING.astype(np.uint16).view(np.float16).astype(np.float64)


def white_units_summary(linear: NDArray[np.floating[Any]], peak: float) -> dict[str, float]:
    """Minimum, median, 99th percentile and maximum of all samples of a picture, in units of SDR white.

    Args:
        linear: (H, W, 3) linear light in network units. NaN and infinities are left out.
        peak: linear value of 1.0 in units of SDR white.

    Returns:
        As :func:`light_summary`.
    """
    picture = np.asarray(linear)
    summary = light_summary(len(picture), lambda start, stop: picture[start:stop])
    return {name: value * peak for name, value in summary.items()}


def light_summary(height: int, light: Callable[[int, int], NDArray[np.floating[Any]]]) -> dict[str, float]:
    """Minimum, median, 99th percentile and maximum of all samples of a picture that comes in strips of rows.

    Every channel of every pixel counts as one sample (of what a file holds these are the numbers a user finds in it).
    Minimum and maximum are exact. Median and p99 are nearest-rank percentiles of the samples rounded to half floats
    (off by at most 1/2048 of themselves), by a histogram over the halves' bits: one pass, no sorting.

    Args:
        height: rows of the picture.
        light: gives rows ``start`` to ``stop``, of any shape; called by several threads. NaN and infinities are left
            out.

    Returns:
        ``{"min": ..., "median": ..., "p99": ..., "max": ...}``; all NaN where no sample is finite.
    """
    low, high = float("inf"), float("-inf")
    counts = np.zeros(65536, np.int64)
    for least, most, part in for_strips(height, lambda start, stop: _counted(light(start, stop))):
        low, high = min(low, least), max(high, most)
        counts += part
    count = int(counts.sum())
    if not count:
        return dict.fromkeys(("min", "median", "p99", "max"), float("nan"))
    cumulative = np.cumsum(counts[_BITS_ASCENDING])
    median, p99 = (
        # The histogram's halves may round past the exact ends.
        float(np.clip(_VALUE_ASCENDING[np.searchsorted(cumulative, np.ceil(share * count))], low, high))
        for share in (0.5, 0.99)
    )
    return {"min": low, "median": median, "p99": p99, "max": high}


def _counted(strip: NDArray[np.floating[Any]]) -> tuple[float, float, NDArray[np.int64]]:
    """Least and largest of the finite samples, and how many there are of each half float, by its bits."""
    samples = np.asarray(strip, np.float32).ravel()
    low, high = float(samples.min()), float(samples.max())
    if not (np.isfinite(low) and np.isfinite(high)):  # NaN goes into both
        samples = samples[np.isfinite(samples)]
        if not samples.size:
            return float("inf"), float("-inf"), np.zeros(65536, np.int64)
        low, high = float(samples.min()), float(samples.max())
    if low < -HALF_MAX or high > HALF_MAX:
        samples = np.clip(samples, -HALF_MAX, HALF_MAX)
    return low, high, _histogram(to_half(samples[None]).view(np.uint16))


def _histogram(bits: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Count each of 65536 numbers; numpy's bincount takes twice as long and lets no other thread run meanwhile."""
    import cv2

    # OpenCV's counts are floats, exact up to 2 ** 24.
    parts = np.array_split(bits.ravel(), -(-bits.size // (1 << 24)))
    return np.sum(
        [cv2.calcHist([part[None]], [0], None, [65536], [0, 65536]) for part in parts], axis=0, dtype=np.int64
    ).ravel()
