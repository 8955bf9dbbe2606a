"""Filtering in the frequency domain with a surround outside the picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def padded_frequencies(size: tuple[int, int], pixels_per_degree: float) -> Array:
    """Frequencies at which :func:`filter_padded` wants a response.

    Args:
        size: (H, W) of the plane to be filtered.
        pixels_per_degree: of that plane.

    Returns:
        (W + 1, 2 H) cycles per degree: horizontal frequencies first.
    """
    horizontal = np.fft.rfftfreq(2 * size[1], 1 / pixels_per_degree)
    vertical = np.fft.fftfreq(2 * size[0], 1 / pixels_per_degree)
    return np.asarray(np.hypot(horizontal[:, None], vertical[None, :]))


def filter_padded(plane: Array, gain: Array, surround: float) -> Array:
    """Filter a plane that lies in the corner of one twice as wide and high, filled with ``surround``.

    Args:
        plane: (H, W).
        gain: real response at :func:`padded_frequencies`.
        surround: value outside the plane.

    Returns:
        (H, W).
    """
    height, width = plane.shape
    # Without the surround the padding is zero; a constant passes with the gain at frequency 0. Each direction is
    # transformed along contiguous memory, and rows of padding are never touched.
    rows = np.fft.rfft(plane - surround, n=2 * width, axis=1)
    spectrum = np.fft.fft(np.ascontiguousarray(rows.T), n=2 * height, axis=1)
    spectrum *= gain
    columns = np.fft.ifft(spectrum, axis=1)[:, :height]
    filtered = np.fft.irfft(np.ascontiguousarray(columns.T), n=2 * width, axis=1)[:, :width]
    return np.asarray(filtered + surround * gain[0, 0])
