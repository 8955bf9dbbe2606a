"""CIE 1976 u'v' chromaticity (CIE 15:2004, 8.2.1): colour without brightness, in which a cast shows.

A clipped highlight that comes back too dark is a fault of brightness, one that comes back green is a cast, and errors
of code values cannot tell them apart. Distances in u'v' can: they do not change when all channels are scaled. A
difference of 0.004 is about the least that the eye tells apart side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

XYZ_OF_REC709 = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
"""Rows X, Y, Z of linear RGB with Rec. 709 primaries and D65 white (IEC 61966-2-1)."""

DARKEST = 1e-4
"""Least value of a channel, in units of full scale: black has no chromaticity."""


def uv_prime(red: Any, green: Any, blue: Any) -> tuple[Any, Any]:
    """u' and v' of linear Rec. 709 light, for anything that adds, multiplies and divides: numbers, arrays, tensors.

    Args:
        red: of any unit, positive.
        green: likewise.
        blue: likewise.
    """
    x, y, z = (row[0] * red + row[1] * green + row[2] * blue for row in XYZ_OF_REC709)
    scale = x + 15 * y + 3 * z
    return 4 * x / scale, 9 * y / scale


def uv_difference(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distance in the u'v' diagram at every pixel.

    Args:
        prediction: linear Rec. 709, (H, W, 3), full scale 1.0; channels below :data:`DARKEST` count as that.
        truth: likewise.

    Returns:
        (H, W), 0 to about 0.6.
    """
    (u, v), (true_u, true_v) = (
        uv_prime(*np.moveaxis(np.maximum(each.astype(np.float64), DARKEST), -1, 0)) for each in (prediction, truth)
    )
    return np.hypot(u - true_u, v - true_v)
