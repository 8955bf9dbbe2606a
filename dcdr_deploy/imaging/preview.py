"""An 8-bit look at an HDR picture: tone-mapped for an SDR display by the EETF of ITU-R BT.2390-8, 5.4.1."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.hdr_transfer import PQ_PEAK_NITS, eetf_bt2390
from dcdr_deploy.imaging.light import SDR_WHITE_NITS
from dcdr_deploy.imaging.own import THIS_TOOL
from dcdr_deploy.imaging.transfer import linear_to_srgb
from dcdr_deploy.imaging.writers.png import text_chunk, write_codes
from dcdr_deploy.system.files import atomic_path

_ROWS_AT_ONCE = 32
_SRGB_CODE = np.rint(linear_to_srgb(np.arange(65536) / 65535) * 255).astype(np.uint8)


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
    """Write :func:`preview_sdr` as an 8-bit sRGB PNG that names this tool, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    import cv2

    preview = cv2.cvtColor(preview_sdr(linear, peak), cv2.COLOR_RGB2BGR)
    with atomic_path(path) as temporary:
        write_codes(temporary, np.asarray(preview, np.uint8), [text_chunk("software", THIS_TOOL)])


@functools.lru_cache(maxsize=4)
def _gain_by_half(peak: float) -> NDArray[np.float32]:
    """65535 x SDR output / network value, by the bits of max(R, G, B) as a half float.

    Halves have relative steps of 1/2048, over which the gain changes by less than that: no banding. Their denormals
    (below 6e-5) all lie under the knee, where the gain is constant.
    """
    values = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float64)
    values = np.clip(np.nan_to_num(values, nan=0.0), 2.0**-24, 1)
    source_peak = min(SDR_WHITE_NITS * peak, PQ_PEAK_NITS)
    shown = eetf_bt2390(values * peak * SDR_WHITE_NITS, source_peak, SDR_WHITE_NITS) / SDR_WHITE_NITS
    return (65535 * shown / values).astype(np.float32)
