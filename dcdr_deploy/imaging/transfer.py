"""The sRGB transfer function (IEC 61966-2-1:1999, clause 5.2) and Rec. 709 luminance. Pure numpy, any shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LUMINANCE_REC709 = (0.2126, 0.7152, 0.0722)
"""Weights of linear R, G, B in relative luminance Y (ITU-R BT.709-6, item 3.2; D65 white has Y = 1)."""

_ENCODED_KNEE = 0.04045
_LINEAR_KNEE = 0.0031308


def srgb_to_linear(encoded: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Decode sRGB to linear light.

    Args:
        encoded: any shape, float. [0, 1] is the standard's range. Above 1 the power segment simply goes on; below 0 the
            curve is mirrored at the origin (``f(-x) = -f(x)``, as in scRGB, IEC 61966-2-2).

    Returns:
        Linear light of the same shape; 1.0 is SDR white. float32 stays float32, everything else becomes float64.
    """
    x = _as_float(encoded)
    magnitude = np.abs(x)
    # The power of values below the knee is computed too and thrown away; np.maximum keeps it away from denormals.
    power = ((np.maximum(magnitude, _ENCODED_KNEE) + 0.055) / 1.055) ** 2.4
    linear: NDArray[np.floating[Any]] = np.copysign(np.where(magnitude <= _ENCODED_KNEE, magnitude / 12.92, power), x)
    return linear


def linear_to_srgb(linear: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Encode linear light as sRGB: the inverse of :func:`srgb_to_linear`, with the same extensions outside [0, 1].

    Args:
        linear: any shape, float; 1.0 is SDR white.

    Returns:
        sRGB-encoded values of the same shape. float32 stays float32, everything else becomes float64.
    """
    x = _as_float(linear)
    magnitude = np.abs(x)
    encoded = _power(np.maximum(magnitude, _LINEAR_KNEE), 1 / 2.4)
    encoded *= 1.055
    encoded -= 0.055
    np.copyto(encoded, magnitude * 12.92, where=magnitude <= _LINEAR_KNEE)
    return np.copysign(encoded, x, out=encoded)


def luminance(linear: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Relative luminance Y of linear Rec. 709 colours, (..., 3) -> (...)."""
    x = _as_float(linear)
    y: NDArray[np.floating[Any]] = x @ np.asarray(LUMINANCE_REC709, dtype=x.dtype)
    return y


def _power(base: NDArray[np.floating[Any]], exponent: float) -> NDArray[np.floating[Any]]:
    """Raise positive values to a power; float32 by OpenCV, four times as fast as numpy and within 4e-7 of the truth."""
    if base.dtype != np.float32 or not base.size:
        return np.asarray(base**exponent)
    import cv2

    return np.asarray(cv2.pow(base.reshape(1, -1), exponent), np.float32).reshape(base.shape)


def _as_float(values: NDArray[Any]) -> NDArray[np.floating[Any]]:
    array = np.asarray(values)
    return array if array.dtype == np.float32 else array.astype(np.float64)
