"""Panoramas: pictures whose left and right edges are neighbours, restored without a seam at +-180 degrees.

To the network a picture's edge is an edge, and what it restores there depends on padding, so that the two sides of the
seam differ. A second run over the picture turned by half its width has the seam in its middle; the two are blended so
that each counts nothing where its own edges are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def half_turned(pixels: NDArray[Any]) -> NDArray[Any]:
    """Turn (H, W, ...) by W // 2 columns to the right: the seam comes to column W // 2. C-contiguous copy."""
    return np.roll(pixels, pixels.shape[1] // 2, axis=1)


def blend(straight: NDArray[np.floating[Any]], turned: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Put together what came of a picture and of the picture after :func:`half_turned`.

    Args:
        straight: (H, W, C) of the picture as it is; overwritten.
        turned: (H, W, C) of the turned picture.

    Returns:
        ``straight``, of which the columns next to the seam are now those of ``turned``, and those half a turn away its
        own.
    """
    width = straight.shape[1]
    share = weights(width).astype(straight.dtype)[:, None]
    back = width // 2
    for row in range(straight.shape[0]):  # row by row: panoramas are large
        other = np.roll(turned[row], -back, axis=0)
        straight[row] = share * straight[row] + (1 - share) * other
    return straight


def weights(width: int) -> NDArray[np.float64]:
    """(width,): how much the straight result counts in each column: a smooth step from 0 at the seam to 1 opposite."""
    column = np.arange(width) + 0.5
    distance = np.minimum(column, width - column) / (width / 2)
    return distance**2 * (3 - 2 * distance)
