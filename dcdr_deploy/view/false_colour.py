"""False colour in stops: one flat colour for each stop of luminance below and above SDR white.

Below white the colours are cold and get lighter; the stop that holds an 18 % grey is grey; above white they are warm,
so that what a network restored is seen at once. The page's shader does the same with the same table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.transfer import luminance

LOWEST, HIGHEST = -8, 6
"""Stops over SDR white at which the bands of one stop begin and end; one more band lies on either side."""

BANDS: tuple[tuple[int, int, int], ...] = (
    (14, 14, 16),  # darker than -8
    (46, 26, 82),
    (58, 48, 140),
    (46, 84, 186),
    (30, 126, 198),
    (24, 158, 176),
    (132, 132, 132),  # -3 to -2: an 18 % grey is at -2.47
    (62, 158, 78),
    (172, 212, 96),  # -1 to 0: the last stop of an SDR picture
    (255, 228, 84),  # 0 to 1
    (255, 160, 30),
    (240, 74, 26),
    (190, 20, 96),
    (222, 100, 214),
    (242, 190, 242),
    (255, 255, 255),  # 6 and brighter
)
"""8-bit sRGB colours of the bands from dark to bright."""

NUDGE = 1.0001
"""Luminance is taken this much brighter: the sum of a white pixel's channels may round to just below 1."""


def band_of(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Numbers of the bands in :data:`BANDS` of a picture's pixels.

    Args:
        light: (..., 3) linear Rec. 709, 1.0 = SDR white.

    Returns:
        (...) uint8; 0 for what is black or negative.
    """
    y = np.maximum(luminance(light), 2.0 ** (LOWEST - 1)) * np.float32(NUDGE)
    stops = np.frexp(y)[1] - 1  # floor(log2(y)), exactly
    return (np.clip(stops, LOWEST - 1, HIGHEST) - (LOWEST - 1)).astype(np.uint8)


def false_colour(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A picture in the colours of its bands: (H, W, 3) light as for :func:`band_of` -> (H, W, 3) uint8 sRGB."""
    return np.asarray(BANDS, np.uint8)[band_of(light)]


def edges() -> tuple[int, ...]:
    """The stops over SDR white between one band and the next: one less than there are bands."""
    return tuple(range(LOWEST, HIGHEST + 1))
