"""RGB primaries and white points: from any of them to Rec. 709 and back, white on white.

A set is given as eight CIE 1931 x, y: red, green, blue, white, as in OpenEXR's attribute ``chromaticities`` and the
header line PRIMARIES of Radiance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.transfer import LUMINANCE_REC709

Chromaticities = tuple[float, float, float, float, float, float, float, float]

_D65 = (0.3127, 0.3290)
_ACES_WHITE = (0.32168, 0.33767)

REC709: Chromaticities = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65)
"""ITU-R BT.709-6, item 1.3; sRGB has the same."""

REC2020: Chromaticities = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65)
DISPLAY_P3: Chromaticities = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, *_D65)
DCI_P3: Chromaticities = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.314, 0.351)
ADOBE_RGB: Chromaticities = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65)
PROPHOTO: Chromaticities = (0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001, 0.3457, 0.3585)
ACES_AP0: Chromaticities = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.0770, *_ACES_WHITE)
ACES_AP1: Chromaticities = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, *_ACES_WHITE)
XYZ: Chromaticities = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3)

NAMES: dict[str, Chromaticities] = {
    "Rec. 709": REC709,
    "Rec. 2020": REC2020,
    "Display P3": DISPLAY_P3,
    "DCI-P3": DCI_P3,
    "Adobe RGB (1998)": ADOBE_RGB,
    "ProPhoto RGB": PROPHOTO,
    "ACES AP0": ACES_AP0,
    "ACES AP1": ACES_AP1,
    "CIE XYZ": XYZ,
}

_SAME = 1.5e-3  # of x and y: what rounding to three digits, or a white given as 0.3333, may move
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


class ImpossiblePrimariesError(ValueError):
    """Chromaticities that span no colour space: on one line, or a white without luminance."""


def name_of(chromaticities: Sequence[float]) -> str:
    """The usual name, or the numbers where there is none."""
    for name, known in NAMES.items():
        if np.abs(np.subtract(chromaticities, known)).max() <= _SAME:
            return name
    return "primaries " + " ".join(f"{number:.4g}" for number in chromaticities)


def is_rec709(chromaticities: Sequence[float]) -> bool:
    """Whether nothing has to be converted."""
    return bool(np.abs(np.subtract(chromaticities, REC709)).max() <= _SAME)


def to_xyz(chromaticities: Sequence[float]) -> NDArray[np.float64]:
    """(3, 3): linear RGB -> XYZ with the white's Y = 1 (SMPTE RP 177, 3.3).

    Raises:
        ImpossiblePrimariesError: they span no colour space.
    """
    numbers = np.asarray(chromaticities, np.float64)
    if numbers.shape != (8,) or not np.isfinite(numbers).all() or np.abs(numbers).max() > 10 or numbers[7] < 1e-3:
        raise ImpossiblePrimariesError("primaries that are no chromaticities")
    red_green_blue = numbers[:6].reshape(3, 2)
    # By x, y, z and not by X/y, Z/y: primaries may lie on y = 0, as X and Z do.
    columns = np.column_stack([red_green_blue, 1 - red_green_blue.sum(axis=1)]).T
    if abs(np.linalg.det(columns)) < 1e-6:
        raise ImpossiblePrimariesError("primaries that span no colour space")
    shares: NDArray[np.float64] = columns * np.linalg.solve(columns, white_xyz(numbers[6:]))
    return shares


def white_xyz(white: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """x, y -> X, Y, Z with Y = 1."""
    x, y = white
    return np.array([x / y, 1.0, (1 - x - y) / y])


def adaptation(from_white: Sequence[float], to_white: Sequence[float]) -> NDArray[np.float64]:
    """(3, 3) on XYZ: the linear Bradford transform (ICC.1:2022, annex E) from one white to another, both x, y."""
    before, after = (_BRADFORD @ white_xyz(white) for white in (from_white, to_white))
    matrix: NDArray[np.float64] = np.linalg.solve(_BRADFORD, (after / before)[:, None] * _BRADFORD)
    return matrix


def to_rec709(chromaticities: Sequence[float], neutral: Sequence[float] | None = None) -> NDArray[np.float64]:
    """(3, 3): linear RGB of these primaries -> linear Rec. 709, unclipped.

    Args:
        chromaticities: of the RGB.
        neutral: x, y of what is to become neutral, where that is not the white of the RGB.

    Raises:
        ImpossiblePrimariesError: see :func:`to_xyz`.
    """
    source = to_xyz(chromaticities)
    white = tuple(chromaticities[6:] if neutral is None else neutral)
    if len(white) != 2 or not np.isfinite(white).all() or white[1] < 1e-3:
        raise ImpossiblePrimariesError("a neutral colour that is none")
    return np.asarray(np.linalg.solve(to_xyz(REC709), adaptation(white, REC709[6:]) @ source), np.float64)


def from_rec709(chromaticities: Sequence[float]) -> NDArray[np.float64]:
    """(3, 3): linear Rec. 709 -> linear RGB of these primaries, unclipped; the inverse of :func:`to_rec709`.

    Raises:
        ImpossiblePrimariesError: see :func:`to_xyz`.
    """
    if is_rec709(chromaticities):
        return np.eye(3)
    return np.asarray(np.linalg.inv(to_rec709(chromaticities)), np.float64)


def luminance_weights(chromaticities: Sequence[float]) -> NDArray[np.float64]:
    """(3,): Y of the linear R, G and B; of Rec. 709 as rounded in the standard, which is what writers take."""
    if is_rec709(chromaticities):
        return np.array(LUMINANCE_REC709)
    weights: NDArray[np.float64] = to_xyz(chromaticities)[1]
    return weights


def convert(linear: NDArray[np.floating], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """(..., 3) float -> (..., 3) float32, by a (3, 3) from this module."""
    return np.ascontiguousarray(np.asarray(linear, np.float32) @ matrix.T.astype(np.float32))
