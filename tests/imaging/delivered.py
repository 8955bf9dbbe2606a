"""A picture for the delivery formats, the codes that their files are to hold, and the way back from Y'CbCr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dcdr_deploy.imaging import WriteOptions, write_image
from dcdr_deploy.imaging.delivery import CodeRange, ContentLight, Delivery
from dcdr_deploy.imaging.light import Light

PEAK = 8.0
METADATA = {"software": "dcdr-deploy 1", "model": "a <model>"}


def picture(height: int = 64, width: int = 96) -> np.ndarray:
    """(H, W, 3) float32 network light: smooth, up to the peak."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / max(width - 1, 1), y / max(height - 1, 1)
    return np.stack([x**2, y**2, 0.02 + 0.9 * x * y], axis=-1)


def written(
    path: Path, linear: np.ndarray, alpha: np.ndarray | None = None, source: Path | None = None, **options: Any
) -> bytes:
    write_image(path, linear, peak=PEAK, alpha=alpha, options=WriteOptions(**options), metadata=METADATA, source=source)
    return path.read_bytes()


def expected(linear: np.ndarray, light: Light, bits: int = 10) -> tuple[np.ndarray, ContentLight]:
    """(H, W, 3) codes before they are encoded, with fractions, and the brightness."""
    signals, level = Delivery(light, PEAK).signals(linear)
    return signals * np.float32(CodeRange(bits).top), level


WEIGHTS = {"rec2020": (0.2627, 0.0593), "rec709": (0.2126, 0.0722), "p3": (0.2126, 0.0722)}


def rgb_of(planes: list[np.ndarray], top: float, weights: tuple[float, float]) -> np.ndarray:
    """R'G'B' codes of Y'CbCr in full range (ITU-T H.273, equations 44 to 46); chroma repeated where it is halved."""
    red, blue = weights
    luma = planes[0]
    cb, cr = (
        plane.repeat(2, 0).repeat(2, 1)[: luma.shape[0], : luma.shape[1]] if plane.shape != luma.shape else plane
        for plane in planes[1:3]
    )
    cb, cr = cb - (top + 1) / 2, cr - (top + 1) / 2
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([r, g, b], axis=-1), 0, top)


def close(found: np.ndarray, codes: np.ndarray, top: int, factor: float = 1) -> None:
    """Within half a percent of the code range for half of the samples, and 4 % for 99 % of them."""
    apart = np.abs(found - codes) / top
    assert np.median(apart) <= 0.005 * factor
    assert np.percentile(apart, 99) <= 0.04 * factor
