"""An 8-bit look at an HDR picture: tone-mapped for an SDR display by the EETF of ITU-R BT.2390-8, 5.4.1."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.exr import SDR_WHITE_NITS
from dcdr_deploy.imaging.transfer import linear_to_srgb
from dcdr_deploy.system.files import atomic_path

# SMPTE ST 2084:2014, 5.2
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_PQ_PEAK_NITS = 10000.0

_ROWS_AT_ONCE = 32
_SRGB_CODE = np.rint(linear_to_srgb(np.arange(65536) / 65535) * 255).astype(np.uint8)


def pq_encode(nits: NDArray[np.floating[Any]] | float) -> NDArray[np.float64]:
    """Luminance in cd/m2 (clipped to 0..10000) -> PQ signal in [0, 1] (SMPTE ST 2084, inverse EOTF)."""
    y = np.clip(np.asarray(nits, dtype=np.float64) / _PQ_PEAK_NITS, 0, 1) ** _M1
    signal: NDArray[np.float64] = ((_C1 + _C2 * y) / (1 + _C3 * y)) ** _M2
    return signal


def pq_decode(signal: NDArray[np.floating[Any]] | float) -> NDArray[np.float64]:
    """PQ signal in [0, 1] -> luminance in cd/m2 (SMPTE ST 2084, EOTF)."""
    power = np.clip(np.asarray(signal, dtype=np.float64), 0, 1) ** (1 / _M2)
    nits: NDArray[np.float64] = _PQ_PEAK_NITS * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)
    return nits


def eetf_bt2390(nits: NDArray[np.floating[Any]], source_peak: float, target_peak: float) -> NDArray[np.float64]:
    """Map luminance from a source's range into a display's (ITU-R BT.2390-8, 5.4.1, with both blacks at 0).

    Identity up to the knee KS = 1.5 maxLum - 0.5 (in PQ relative to the source's peak), from there a Hermite spline
    that reaches ``target_peak`` at ``source_peak``. Monotone; identity where the display is as bright as the source.

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
    knee = 1.5 * max_lum - 0.5
    s = np.clip((e1 - knee) / (1 - knee), 0, 1)
    spline = (2 * s**3 - 3 * s**2 + 1) * knee + (s**3 - 2 * s**2 + s) * (1 - knee) + (-2 * s**3 + 3 * s**2) * max_lum
    return pq_decode(np.where(e1 < knee, e1, spline) * top)


def preview_sdr(linear: NDArray[np.floating[Any]], peak: float) -> NDArray[np.uint8]:
    """Tone-map a picture for an SDR display.

    The EETF maps ``203 x peak`` cd/m2 to 203 cd/m2. It is applied to max(R, G, B) of a pixel, and all three channels
    are scaled alike, so hues and saturation stay and nothing clips. Below the knee the picture is unchanged: for the
    demo weights (peak 8) up to 0.33 x SDR white, so an 18 % gray keeps its sRGB code 118. SDR white itself becomes
    darker (code 221 for peak 8) to leave room for what is brighter. Depends on ``peak`` only, not on the picture:
    frames of a sequence stay comparable.

    Args:
        linear: (H, W, 3) linear light in network units, 1.0 = ``peak`` x SDR white. NaN and negative values show black,
            infinity and values above 1 as white level.
        peak: linear value of 1.0 in units of SDR white, > 0.

    Returns:
        (H, W, 3) uint8, sRGB-encoded.
    """
    gains = _gain_by_half(float(peak))
    preview = np.empty(linear.shape, np.uint8)
    for row in range(0, linear.shape[0], _ROWS_AT_ONCE):
        block = np.asarray(linear[row : row + _ROWS_AT_ONCE], dtype=np.float32)
        block = np.fmin(np.fmax(block, np.float32(0)), np.float32(1))  # NaN becomes 0
        largest = np.maximum(np.maximum(block[..., 0], block[..., 1]), block[..., 2])
        gain = gains[largest.astype(np.float16).view(np.uint16)]
        codes = np.minimum(block * gain[..., None], np.float32(65535)) + np.float32(0.5)
        preview[row : row + _ROWS_AT_ONCE] = _SRGB_CODE[codes.astype(np.uint16)]
    return preview


def write_preview(path: str | os.PathLike[str], linear: NDArray[np.floating[Any]], peak: float) -> None:
    """Write :func:`preview_sdr` as an 8-bit sRGB PNG, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    import cv2

    preview = preview_sdr(linear, peak)
    with atomic_path(path) as temporary:
        try:
            done, encoded = cv2.imencode(".png", cv2.cvtColor(preview, cv2.COLOR_RGB2BGR))
        except cv2.error as error:
            raise OSError(f"OpenCV cannot encode it: {error.err}") from error
        if not done:
            raise OSError("OpenCV cannot encode it as PNG")
        temporary.write_bytes(encoded.data)


@functools.lru_cache(maxsize=4)
def _gain_by_half(peak: float) -> NDArray[np.float32]:
    """65535 x SDR output / network value, by the bits of max(R, G, B) as a half float.

    Halves have relative steps of 1/2048, over which the gain changes by less than that: no banding. Their denormals
    (below 6e-5) all lie under the knee, where the gain is constant.
    """
    values = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float64)
    values = np.clip(np.nan_to_num(values, nan=0.0), 2.0**-24, 1)
    source_peak = min(SDR_WHITE_NITS * peak, _PQ_PEAK_NITS)
    shown = eetf_bt2390(values * peak * SDR_WHITE_NITS, source_peak, SDR_WHITE_NITS) / SDR_WHITE_NITS
    return (65535 * shown / values).astype(np.float32)
