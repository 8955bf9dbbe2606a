"""Numbers that describe an HDR picture in one line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NEGATIVE_HALVES = np.arange(0xFC00, 0x7FFF, -1)  # bits of -inf ... -0, ascending by value
_BITS_ASCENDING = np.concatenate([_NEGATIVE_HALVES, np.arange(0x7C01)])
_VALUE_ASCENDING = _BITS_ASCENDING.astype(np.uint16).view(np.float16).astype(np.float64)
_HALF_MAX = np.float32(65504)
_ROWS_AT_ONCE = 64  # counting widens every sample to 8 bytes


def white_units_summary(linear: NDArray[np.floating[Any]], peak: float) -> dict[str, float]:
    """Minimum, median, 99th percentile and maximum of all samples of a picture, in units of SDR white.

    Args:
        linear: (H, W, 3) linear light in network units. NaN and infinities are left out.
        peak: linear value of 1.0 in units of SDR white.

    Returns:
        As :func:`light_summary`.
    """
    picture = np.asarray(linear)
    rows = (picture[row : row + _ROWS_AT_ONCE] for row in range(0, len(picture), _ROWS_AT_ONCE))
    return {name: value * peak for name, value in light_summary(rows).items()}


def light_summary(pieces: Iterable[NDArray[np.floating[Any]]]) -> dict[str, float]:
    """Minimum, median, 99th percentile and maximum of all samples of a picture that comes in pieces.

    Every channel of every pixel counts as one sample (of what a file holds these are the numbers a user finds in it).
    Minimum and maximum are exact. Median and p99 are nearest-rank percentiles of the samples rounded to half floats
    (off by at most 1/2048 of themselves), by a histogram over the halves' bits: one pass, no sorting.

    Args:
        pieces: arrays of any shape, best of a few rows each. NaN and infinities are left out.

    Returns:
        ``{"min": ..., "median": ..., "p99": ..., "max": ...}``; all NaN where no sample is finite.
    """
    low, high = float("inf"), float("-inf")
    counts = np.zeros(65536, np.int64)
    for piece in pieces:
        samples = np.asarray(piece, dtype=np.float32).ravel()
        samples = samples[np.isfinite(samples)]
        if samples.size:
            low, high = min(low, float(samples.min())), max(high, float(samples.max()))
            halves = np.clip(samples, -_HALF_MAX, _HALF_MAX).astype(np.float16)
            counts += np.bincount(halves.view(np.uint16), minlength=65536)
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
