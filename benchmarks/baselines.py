"""What needs no training: conversions of SDR to HDR by a curve, and the filling of clipped channels by ratios.

All take the SDR picture as linear light in units of SDR white (inverse sRGB), float32 (H, W, 3), and give linear light
in the same units, at most ``peak``. A network has to beat them, not the plain conversion alone.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.transfer import luminance

FloatImage = NDArray[np.float32]

SDR_NITS, PEAK_NITS = 100.0, 1000.0
"""Luminances of SDR white and of the HDR peak that ITU-R BT.2446 is written for."""

GAMMA = 2.4

# ITU-R BT.2446-1, section 4: method A's inverse, coefficients of the exponent for Y' below and above 70.
_LOW = (1.8712e-5, -2.7334e-3, 1.3141)
_HIGH = (2.8305e-6, -7.4622e-4, 1.2528)
_KNEE = 70.0


def plain(linear: FloatImage, peak: float) -> FloatImage:
    """Inverse sRGB and nothing else."""
    return linear


def bt2446_a(linear: FloatImage, peak: float) -> FloatImage:
    """Inverse tone mapping by method A (ITU-R BT.2446-1, section 4.2): luma raised to a power that grows with it.

    Y'' = 255 Y', E = a Y''^2 + b Y'' + c, Y'_hdr = (Y'')^E, the luma of light up to 1,000 cd/m2, which stand for
    ``peak``. Colours keep the ratios of their channels; the recommendation's chroma scaling, which changes saturation
    by some per cent, is left out.
    """
    luma = np.clip(luminance(linear), 0, 1) ** (1 / GAMMA) * 255
    low, high = (a * luma**2 + b * luma + c for a, b, c in (_LOW, _HIGH))
    expanded = np.where(luma <= _KNEE, luma**low, luma**high) / PEAK_NITS
    return _rescaled(linear, np.minimum(expanded, 1) ** GAMMA * peak)


def bt2446_c(linear: FloatImage, peak: float) -> FloatImage:
    """Inverse tone mapping by method C (ITU-R BT.2446-1, section 6.2): linear to a knee, exponential above it.

    Y_sdr in per cent: Y_hdr = Y_sdr / k1 below 58.5, else Y_ip (exp((Y_sdr - k4) / k2) + k3), in cd/m2, with
    k1 = 0.83802, k2 = 15.09968, k3 = 0.74204, k4 = 78.99439 and Y_ip = 58.5 / k1.
    """
    k1, k2, k3, k4, inflection = 0.83802, 15.09968, 0.74204, 78.99439, 58.5 / 0.83802
    percent = np.maximum(luminance(linear), 0) * 100
    above = inflection * (np.exp((percent - k4) / k2) + k3)
    nits = np.where(percent < 58.5, percent / k1, above)
    return _rescaled(linear, np.minimum(nits / SDR_NITS, peak))


def reinhard(linear: FloatImage, peak: float) -> FloatImage:
    """The inverse of Reinhard's global operator (Reinhard et al. 2002, eq. 4), white at ``peak``.

    L_d = L (1 + L / w^2) / (1 + L), scaled so that L = w gives 1; solved for L. Low light is scaled so that it stays.
    """
    display = np.clip(luminance(linear), 0, 1)
    # L^2 / w^2 + (1 - d) L - d = 0, solved without a difference, of which single precision leaves nothing in the dark.
    inner = (1 - display) ** 2 + 4 * display / peak**2
    return _rescaled(linear, 2 * display / (1 - display + np.sqrt(inner)))


def channel_ratios(linear: FloatImage, peak: float, reach: float = 24.0) -> FloatImage:
    """Clipped channels filled from the unclipped channels of the same pixel and the ratios of unclipped neighbours.

    A guess by hand of what a network has to learn: ratios of channels are blurred over ``reach`` pixels of the
    unclipped surroundings. Pixels with all channels clipped stay.
    """
    clipped = linear >= 0.99
    sound = (~clipped.any(axis=-1)).astype(np.float32)
    weight = cv2.GaussianBlur(sound, (0, 0), reach) + 1e-4
    log = np.log(np.maximum(linear, 1e-4))
    blurred = cv2.GaussianBlur(log * sound[..., None], (0, 0), reach) / weight[..., None]
    known = (~clipped).astype(np.float32)
    count = known.sum(axis=-1)
    # The level that the unclipped channels have above their surroundings carries over to the clipped ones.
    level = ((log - blurred) * known).sum(axis=-1) / np.maximum(count, 1)
    guess = np.exp(np.minimum(blurred + level[..., None], np.log(peak)))
    fill = clipped & (count > 0)[..., None] & (weight > 0.01)[..., None]
    return np.where(fill, np.maximum(guess, linear), linear).astype(np.float32)


def _rescaled(linear: FloatImage, target: NDArray[np.floating]) -> FloatImage:
    """A picture whose luminance becomes ``target`` and whose channels keep their ratios."""
    source = np.maximum(luminance(linear), 1e-6)
    return np.asarray(linear * (target / source)[..., None], np.float32)


BASELINES: dict[str, Callable[[FloatImage, float], FloatImage]] = {
    "inverse sRGB": plain,
    "BT.2446 A inverse": bt2446_a,
    "BT.2446 C inverse": bt2446_c,
    "Reinhard inverse": reinhard,
    "channel ratios": channel_ratios,
}
"""By the names of table rows; gains are against the first one."""
