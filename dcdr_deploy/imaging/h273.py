"""Code points of ITU-T H.273 (ISO/IEC 23091-2), as in PNG's cICP chunk and the ``cicp`` tag of ICC profiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.hdr_transfer import PQ_PEAK_NITS, hlg_decode, pq_decode
from dcdr_deploy.imaging.transfer import srgb_to_linear

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Encoded value in [0, 1] -> linear light in [0, 1]."""

_D65, _C = (0.3127, 0.3290), (0.310, 0.316)

PRIMARIES: dict[int, p.Chromaticities] = {
    1: p.REC709,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, *_C),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_C),
    9: p.REC2020,
    10: p.XYZ,
    11: p.DCI_P3,
    12: p.DISPLAY_P3,
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65),
}
"""ColourPrimaries (table 2)."""

UNSPECIFIED, SRGB, PQ, HLG = 2, 13, 16, 18


@dataclass(frozen=True)
class Transfer:
    """A transfer characteristic: its name, and the inverse of its formula; no curve for HDR."""

    name: str
    curve: Curve | None


def _bt709(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    alpha, beta = 1.09929682680944, 0.018053968510807
    return np.where(encoded < 4.5 * beta, encoded / 4.5, ((encoded + alpha - 1) / alpha) ** (1 / 0.45))


def _smpte240(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(encoded < 4 * 0.0228, encoded / 4, ((encoded + 0.1115) / 1.1115) ** (1 / 0.45))


def _power(exponent: float, gain: float = 1.0) -> Curve:
    return lambda encoded: np.minimum(gain * np.maximum(encoded, 0) ** exponent, 1)


def _logarithmic(decades: float) -> Curve:
    return lambda encoded: np.where(encoded > 0, 10 ** (decades * (encoded - 1)), 0.0)


def _srgb(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(srgb_to_linear(encoded), np.float64)


_BT709 = Transfer("BT.709", _bt709)

TRANSFERS: dict[int, Transfer] = {
    1: _BT709,
    4: Transfer("gamma 2.2", _power(2.2)),
    5: Transfer("gamma 2.8", _power(2.8)),
    6: _BT709,
    7: Transfer("SMPTE 240M", _smpte240),
    8: Transfer("linear", lambda encoded: encoded),
    9: Transfer("logarithmic, 100:1", _logarithmic(2)),
    10: Transfer("logarithmic, 316:1", _logarithmic(2.5)),
    11: _BT709,  # xvYCC and BT.1361 differ from it outside [0, 1] only
    12: _BT709,
    SRGB: Transfer("sRGB", _srgb),
    14: _BT709,
    15: _BT709,
    PQ: Transfer("PQ", None),
    17: Transfer("SMPTE 428", _power(2.6, 52.37 / 48)),
    HLG: Transfer("HLG", None),
}
"""TransferCharacteristics (table 3)."""


def of_curve(curve: Curve) -> int | None:
    """:data:`PQ` or :data:`HLG` where a tone curve (scaled to 1 at 1) is theirs, with or without HLG's OOTF.

    Profiles without code points say it by their curve alone. No SDR curve comes near: PQ's middle lies at 0.0092 of
    its end, that of a gamma of 2.6 at 0.165.
    """
    ramp = np.linspace(0.2, 1, 81)
    light = np.maximum(curve(ramp), 1e-9)
    hlg = hlg_decode(ramp)
    for code, expected in ((PQ, pq_decode(ramp) / PQ_PEAK_NITS), (HLG, hlg), (HLG, hlg**1.2)):
        if np.abs(np.log(light / expected)).max() < 0.1:
            return code
    return None
