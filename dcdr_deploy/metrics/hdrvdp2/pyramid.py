"""The steerable pyramid (E. Simoncelli and W. Freeman, ICIP 1995) with spatial filters and mirrored edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.metrics.hdrvdp2.filters import SteerableFilters

Array = NDArray[np.float64]

Bands = list[list[Array]]
"""Level by level: the high-pass residual alone, each level's orientations from fine to coarse, the base band alone."""


def height_of(size: tuple[int, int], filters: SteerableFilters) -> int:
    """How many levels a picture of (height, width) carries: halvings until the low-pass filter no longer fits."""
    least, levels = len(filters.low_pass), 0
    while min(size) >= least:
        size, levels = (size[0] // 2, size[1] // 2), levels + 1
    return levels


def build(plane: Array, filters: SteerableFilters) -> Bands:
    """Decompose (H, W) into ``height_of(...) + 2`` levels."""
    bands: Bands = [[_correlate(plane, filters.high_pass)]]
    low = _correlate(plane, filters.first_low_pass)
    for _ in range(height_of((plane.shape[0], plane.shape[1]), filters)):
        bands.append([_correlate(low, kernel) for kernel in filters.oriented])
        low = np.ascontiguousarray(_correlate(low, filters.low_pass)[::2, ::2])
    bands.append([low])
    return bands


def reconstruct(bands: Sequence[Sequence[Array]], filters: SteerableFilters) -> Array:
    """Put a picture together again; near its edges not exactly, because the oriented filters are odd."""
    (low,) = bands[-1]
    for level in reversed(bands[1:-1]):
        stuffed = np.zeros_like(level[0])
        stuffed[::2, ::2] = low
        low = _convolve(stuffed, filters.low_pass)
        for band, kernel in zip(level, filters.oriented, strict=True):
            low += _convolve(band, kernel)
    return _convolve(low, filters.first_low_pass) + _convolve(bands[0][0], filters.high_pass)


def _correlate(plane: Array, kernel: Array) -> Array:
    """Correlation; beyond the edges the picture is mirrored without repeating the edge pixel."""
    import cv2

    return np.asarray(cv2.filter2D(plane, cv2.CV_64F, kernel, borderType=cv2.BORDER_REFLECT_101))


def _convolve(plane: Array, kernel: Array) -> Array:
    return _correlate(plane, np.ascontiguousarray(kernel[::-1, ::-1]))
