"""PU21: an encoding of luminance in which equal steps look equally large.

R. Mantiuk and M. Azimi, "PU21: A novel perceptually uniform encoding for adapting existing quality metrics for HDR"
(Picture Coding Symposium 2021), the variant "banding and glare" that the authors recommend. 100 cd/m2 becomes 256.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_ENCODED_NITS, MOST_ENCODED_NITS = 0.005, 10000.0
"""Luminances for which the encoding is defined; others count as the nearest of them."""

RANGE = 256.0
"""The encoded range of SDR displays, which stands for the peak in PSNR and for the dynamic range in SSIM."""

_PARAMETERS = (0.353487901, 0.3734658629, 8.277049286e-05, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142)


def encode(nits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Encode luminance, or linear colour, in cd/m2; any shape."""
    p1, p2, p3, p4, p5, p6, p7 = _PARAMETERS
    power = np.clip(nits, LEAST_ENCODED_NITS, MOST_ENCODED_NITS).astype(np.float64) ** p4
    return np.asarray(np.maximum(p7 * (((p1 + p2 * power) / (1 + p3 * power)) ** p5 - p6), 0))


def decode(encoded: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The inverse of :func:`encode`: cd/m2, between the ends of the range."""
    p1, p2, p3, p4, p5, p6, p7 = _PARAMETERS
    ratio = np.maximum(np.asarray(encoded, np.float64) / p7 + p6, 0) ** (1 / p5)
    return np.clip(np.maximum((ratio - p1) / (p2 - p3 * ratio), 0) ** (1 / p4), LEAST_ENCODED_NITS, MOST_ENCODED_NITS)
