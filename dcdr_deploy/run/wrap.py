"""Panoramas: pictures whose left and right edges are neighbours, restored without a seam at +-180 degrees.

The network sees a picture's edge as an edge: what it puts there depends on padding, and the two sides of the seam would
differ. So columns of the other side are put on both, more than the network can look, and cut off again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError

SHARE = 0.125
"""Columns put on each side, as a part of the width: at a working size of 1024 pixels more than the network looks."""


def extra_columns(width: int, overlap: int) -> int:
    """Columns to put on each side of a picture, at most all of them.

    Args:
        width: of the picture in pixels.
        overlap: context that the model asks for around a tile, in pixels of the network.
    """
    return min(max(round(width * SHARE), overlap), width)


def unrolled(pixels: NDArray[np.generic], columns: int) -> NDArray[np.generic]:
    """Put the last columns before the first and the first after the last; (H, W, ...) -> (H, W + 2 columns, ...).

    Raises:
        InputError: the picture has no two columns.
    """
    if pixels.shape[1] < 2:
        raise InputError("is one column wide, which is no panorama; leave --wrap out")
    return np.concatenate([pixels[:, -columns:], pixels, pixels[:, :columns]], axis=1)


def rolled_up(pixels: NDArray[np.generic], columns: int) -> NDArray[np.generic]:
    """Cut the columns off again that :func:`unrolled` has put there; a copy, so that the rest is not held."""
    return np.ascontiguousarray(pixels[:, columns : pixels.shape[1] - columns])
