"""Where a scene is cut: pure functions on the luma of small pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 32
TILES = 4
"""Of the picture along each axis: two shots of like brightness differ by where it lies."""

CUT = 0.3
"""Least distance of two frames between which there is a cut. Frames of slow pans over four held-out panoramas are less
than 0.05 apart, frames of two panoramas 0.5 to 0.9."""

Histograms = NDArray[np.float32]


def histograms(luma: NDArray[np.float32]) -> Histograms:
    """Return how luma is spread in each of the picture's tiles, (tiles, :data:`BINS`), rows adding up to 1.

    Args:
        luma: (h, w) in [0, 1].
    """
    bins = np.minimum((luma * BINS).astype(np.uint8), BINS - 1)
    found = [
        np.bincount(tile.ravel(), minlength=BINS) / max(tile.size, 1)
        for row in np.array_split(bins, TILES, axis=0)
        for tile in np.array_split(row, TILES, axis=1)
    ]
    return np.asarray(found, np.float32)


def distance(before: Histograms, now: Histograms) -> float:
    """Return the share of luma that is elsewhere in the histograms, mean over the tiles: 0 (the same) to 1."""
    return float(np.abs(now - before).sum(axis=1).mean() / 2)


def is_cut(before: Histograms, now: Histograms) -> bool:
    """Tell whether another scene begins with the second of two frames."""
    return distance(before, now) >= CUT
