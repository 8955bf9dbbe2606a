"""Primaries: every named set against the matrix that its standard, or B. Lindbloom's tables, print for it."""

from __future__ import annotations

import numpy as np
import pytest

from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.h273 import PRIMARIES

# RGB to XYZ, row by row. Tables take D65 as X, Z = 0.95047, 1.08883, or the chromaticities of the standard.
PRINTED = {
    "BT.709, IEC 61966-2-1": (p.REC709, (0.4124, 0.3576, 0.1805, 0.2126, 0.7152, 0.0722, 0.0193, 0.1192, 0.9505)),
    "BT.2020, BT.2087": (p.REC2020, (0.6370, 0.1446, 0.1689, 0.2627, 0.6780, 0.0593, 0.0, 0.0281, 1.0610)),
    "P3 D65, EG 432-1": (p.DISPLAY_P3, (0.4866, 0.2657, 0.1982, 0.2290, 0.6917, 0.0793, 0.0, 0.0451, 1.0439)),
    "DCI-P3, RP 431-2": (p.DCI_P3, (0.4452, 0.2771, 0.1723, 0.2095, 0.7216, 0.0689, 0.0, 0.0471, 0.9074)),
    "Adobe RGB (1998), 4.3.5.3": (
        p.ADOBE_RGB,
        (0.57667, 0.18556, 0.18823, 0.29734, 0.62736, 0.07529, 0.02703, 0.07069, 0.99134),
    ),
    "ProPhoto, ISO 22028-2": (p.PROPHOTO, (0.7977, 0.1352, 0.0313, 0.2880, 0.7119, 0.0001, 0.0, 0.0, 0.8249)),
    "AP0, ST 2065-1": (
        p.ACES_AP0,
        (0.9525523959, 0.0, 0.0000936786, 0.3439664498, 0.7281660966, -0.0721325464, 0.0, 0.0, 1.0088251844),
    ),
    "AP1, S-2014-004": (
        p.ACES_AP1,
        (
            (0.6624541811, 0.1340042065, 0.1561876870),
            (0.2722287168, 0.6740817658, 0.0536895174),
            (-0.0055746495, 0.0040607335, 1.0103391003),
        ),
    ),
    "NTSC 1953": (PRIMARIES[4], (0.6069, 0.1735, 0.2003, 0.2989, 0.5866, 0.1145, 0.0, 0.0661, 1.1162)),
    "PAL and SECAM": (PRIMARIES[5], (0.4306, 0.3415, 0.1783, 0.2220, 0.7066, 0.0713, 0.0202, 0.1296, 0.9391)),
    "SMPTE C": (PRIMARIES[6], (0.3936, 0.3652, 0.1916, 0.2124, 0.7010, 0.0865, 0.0187, 0.1119, 0.9582)),
}


@pytest.mark.parametrize("name", PRINTED)
def test_the_matrix_to_xyz_is_the_printed_one(name: str) -> None:
    chromaticities, printed = PRINTED[name]
    # White of NTSC is C, in H.273 rounded to 0.310, 0.316.
    tolerance = {"AP0, ST 2065-1": 1e-9, "AP1, S-2014-004": 1e-9, "NTSC 1953": 1.5e-3}.get(name, 3e-4)
    np.testing.assert_allclose(p.to_xyz(chromaticities).ravel(), np.ravel(printed), atol=tolerance)


def test_aces_becomes_rec709_by_bradford() -> None:
    """The Academy's matrix (TB-2014-004 and OpenColorIO's ACES configurations), D60 to D65 by Bradford, not CAT02."""
    printed = [[2.52169, -1.13413, -0.38756], [-0.27648, 1.37272, -0.09624], [-0.01538, -0.15298, 1.16835]]
    np.testing.assert_allclose(p.to_rec709(p.ACES_AP0), printed, atol=1e-5)


def test_d50_becomes_d65_by_bradford() -> None:
    """Lindbloom's matrix; his whites are X, Z = 0.96422, 0.82521 and 0.95047, 1.08883."""
    printed = [
        [0.9555766, -0.0230393, 0.0631636],
        [-0.0282895, 1.0099416, 0.0210077],
        [0.0122982, -0.0204830, 1.3299098],
    ]
    whites = ((x / (x + 1 + z), 1 / (x + 1 + z)) for x, z in ((0.96422, 0.82521), (0.95047, 1.08883)))
    np.testing.assert_allclose(p.adaptation(*whites), printed, atol=1e-6)


@pytest.mark.parametrize("name", p.NAMES)
def test_white_stays_white_and_from_is_the_inverse_of_to(name: str) -> None:
    chromaticities = p.NAMES[name]
    np.testing.assert_allclose(p.to_rec709(chromaticities) @ np.ones(3), np.ones(3), atol=1e-9)
    both = p.from_rec709(chromaticities) @ p.to_rec709(chromaticities)
    np.testing.assert_allclose(both, np.eye(3), atol=1e-9)
