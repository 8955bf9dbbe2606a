"""The transfer functions of HDR signals, PQ and HLG, and BT.2390's roll-off. Pure numpy, any shape, float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PQ_PEAK_NITS = 10000.0
"""cd/m2 of a PQ signal of 1."""

HLG_PEAK_NITS = 1000.0
"""cd/m2 of an HLG signal of 1 on the nominal display, through which HLG and absolute light are exchanged (ITU-R
BT.2408-7, 7.2)."""

HLG_GAMMA = 1.2
"""System gamma of that display (ITU-R BT.2100-2, table 5, note 5f)."""

PQ_M1, PQ_M2 = 2610 / 16384, 2523 / 4096 * 128
PQ_C1, PQ_C2, PQ_C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
"""Constants of the perceptual quantiser (SMPTE ST 2084:2014, 5.2; ITU-R BT.2100-2, table 4)."""

# ITU-R BT.2100-2, table 5
_A = 0.17883277
_B, _C = 1 - 4 * _A, 0.5 - _A * np.log(4 * _A)


def pq_encode(nits: NDArray[np.floating[Any]] | float) -> NDArray[np.float64]:
    """Luminance in cd/m2 (clipped to 0..10000) -> PQ signal in [0, 1] (SMPTE ST 2084, inverse EOTF)."""
    y = np.clip(np.asarray(nits, dtype=np.float64) / PQ_PEAK_NITS, 0, 1) ** PQ_M1
    signal: NDArray[np.float64] = ((PQ_C1 + PQ_C2 * y) / (1 + PQ_C3 * y)) ** PQ_M2
    return signal


def pq_decode(signal: NDArray[np.floating[Any]] | float) -> NDArray[np.float64]:
    """PQ signal in [0, 1] -> luminance in cd/m2 (SMPTE ST 2084, EOTF)."""
    power = np.clip(np.asarray(signal, dtype=np.float64), 0, 1) ** (1 / PQ_M2)
    nits: NDArray[np.float64] = PQ_PEAK_NITS * (np.maximum(power - PQ_C1, 0) / (PQ_C2 - PQ_C3 * power)) ** (1 / PQ_M1)
    return nits


def hlg_encode(scene: NDArray[np.floating[Any]] | float) -> NDArray[np.float64]:
    """Scene light (clipped to 0..1) -> HLG signal in [0, 1] (ITU-R BT.2100-2, table 5: OETF)."""
    light = np.clip(np.asarray(scene, dtype=np.float64), 0, 1)
    upper = _A * np.log(np.maximum(12 * light - _B, 1e-9)) + _C
    signal: NDArray[np.float64] = np.where(light <= 1 / 12, np.sqrt(3 * light), upper)
    return signal


def hlg_decode(signal: NDArray[np.floating[Any]] | float) -> NDArray[np.float64]:
    """HLG signal in [0, 1] -> scene light in [0, 1] (ITU-R BT.2100-2, table 5: inverse OETF)."""
    encoded = np.asarray(signal, dtype=np.float64)
    return np.where(encoded <= 0.5, encoded**2 / 3, (np.exp((encoded - _C) / _A) + _B) / 12)


def hlg_scene_factor(nits: NDArray[np.floating[Any]] | float) -> NDArray[np.float64]:
    """What the light of a display, in parts of its 1000 cd/m2, is multiplied by to be HLG's scene light.

    The inverse OOTF (ITU-R BT.2100-2, table 5, note 5i): (Y / 1000)^((1 - gamma) / gamma) of a pixel's luminance Y.

    Args:
        nits: Y in cd/m2; what is below 1e-6 counts as that.
    """
    y = np.maximum(np.asarray(nits, np.float64), 1e-6) / HLG_PEAK_NITS
    factor: NDArray[np.float64] = y ** ((1 - HLG_GAMMA) / HLG_GAMMA)
    return factor


def eetf_bt2390(nits: NDArray[np.floating[Any]], source_peak: float, target_peak: float) -> NDArray[np.float64]:
    """Map luminance from a source's range into a display's (ITU-R BT.2390-8, 5.4.1, with both blacks at 0).

    Identity up to the knee KS = 1.5 maxLum - 0.5 (in PQ relative to the source's peak), from there a Hermite spline
    that reaches ``target_peak`` at ``source_peak``. Monotone; identity where the display is as bright as the source.

    With its slopes of 1 and 0 at the ends the spline is KS + (maxLum - KS) (1 - (1 - T)^3). Where maxLum < 1/3, KS lies
    below black and the spline below 0 at black: darks would be crushed, those up to 0.054 cd/m2 of 1624 on a display of
    1. KS is 0 there (ours).

    Args:
        nits: luminance in cd/m2; above ``source_peak`` it counts as ``source_peak``.
        source_peak: brightest luminance of the picture, cd/m2, at most 10000.
        target_peak: brightest luminance of the display, cd/m2.
    """
    top = pq_encode(source_peak)
    e1 = pq_encode(np.minimum(nits, source_peak)) / top
    max_lum = float(pq_encode(target_peak) / top)
    if max_lum >= 1:
        return pq_decode(e1 * top)
    knee = max(1.5 * max_lum - 0.5, 0.0)
    s = np.clip((e1 - knee) / (1 - knee), 0, 1)
    spline = knee + (max_lum - knee) * (1 - (1 - s) ** 3)
    return pq_decode(np.where(e1 < knee, e1, spline) * top)


def eetf_knee_bt2390(source_peak: float, target_peak: float) -> float:
    """Luminance in cd/m2 up to which :func:`eetf_bt2390` changes nothing."""
    top = pq_encode(source_peak)
    knee = 1.5 * float(pq_encode(target_peak) / top) - 0.5
    return source_peak if knee >= 1 else float(pq_decode(max(knee, 0) * top))
