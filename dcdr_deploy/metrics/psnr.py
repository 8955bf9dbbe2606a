"""PSNR in linear light and after the mu-law, for HDR pictures of a known full scale.

Pictures are linear with full scale 1.0, so the peak in every formula is 1. ``PSNR-L = -10 log10 MSE(a, b)`` and
``PSNR-mu = -10 log10 MSE(T(a), T(b))`` with ``T(x) = log(1 + mu x) / log(1 + mu)``. The paper takes mu = 10
(section 4.1.2); other papers take 5000, so a figure without its mu means nothing.

Normalisation: the full scale is one and the same for all pictures, 65535 of the 16-bit files, and not each picture's
own maximum. The paper chooses its data set because the maximum is known there (section 4.1.1) and normalises to [0, 1]
(section 4.1.3); it names no division by each picture's maximum, as the NTIRE 2021 challenge does it (ntire2021.py),
where one pixel moves the figure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.frame import CLIPPED_CODE

PAPER_MU = 10.0


def mu_law(x: NDArray[np.floating], mu: float = PAPER_MU) -> NDArray[np.float64]:
    """Compress linear light by the mu-law; ``x`` is clipped to [0, 1] first. Any shape."""
    return np.log1p(mu * np.clip(x, 0.0, 1.0).astype(np.float64)) / np.log1p(mu)


def psnr_from_mse(mse: float) -> float:
    """Decibels of a mean squared error for full scale 1.0; infinite for an error of zero."""
    return float("inf") if mse == 0 else -10.0 * float(np.log10(mse))


def psnr_l(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """PSNR-L in dB of two linear pictures of one shape, full scale 1.0."""
    return psnr_from_mse(float(np.mean((prediction.astype(np.float64) - truth.astype(np.float64)) ** 2)))


def psnr_mu(prediction: NDArray[np.floating], truth: NDArray[np.floating], mu: float = PAPER_MU) -> float:
    """PSNR-mu in dB of two linear pictures of one shape, full scale 1.0."""
    return psnr_from_mse(float(np.mean((mu_law(prediction, mu) - mu_law(truth, mu)) ** 2)))


def clipped_region(ldr: NDArray[np.uint8], surround: int = 8, threshold: int = CLIPPED_CODE) -> NDArray[np.bool_]:
    """Mask of clipped pixels and their surroundings.

    Args:
        ldr: (H, W, 3) uint8.
        surround: every pixel within this many pixels (in both axes) of a clipped one counts too.
        threshold: a pixel is clipped when one channel is at least this.

    Returns:
        (H, W) bool.
    """
    clipped = (ldr.max(axis=-1) >= threshold).astype(np.int32)
    window = 2 * surround + 1
    # A box sum is positive exactly where a clipped pixel lies within the window: a dilation without any library.
    for axis in (0, 1):
        padded = np.pad(clipped, [(surround + 1, surround) if a == axis else (0, 0) for a in (0, 1)])
        total = np.cumsum(padded, axis=axis)
        length = total.shape[axis]
        upper = np.take(total, range(window, length), axis=axis)
        lower = np.take(total, range(0, length - window), axis=axis)
        clipped = ((upper - lower) > 0).astype(np.int32)
    return clipped.astype(bool)


@dataclass
class PooledError:
    """Squared errors pooled over many pictures: one mean squared error, so that every pixel counts the same."""

    total: float = 0.0
    count: int = 0
    per_picture: list[float] = field(default_factory=list)

    def add(self, prediction: NDArray[np.floating], truth: NDArray[np.floating], mask: NDArray[np.bool_]) -> None:
        """Add the masked pixels of one picture; both (H, W, 3), already in the domain of the metric."""
        error = (prediction.astype(np.float64) - truth.astype(np.float64))[mask] ** 2
        self.total += float(error.sum())
        self.count += error.size
        self.per_picture.append(float(error.mean()) if error.size else float("nan"))

    @property
    def psnr(self) -> float:
        """PSNR in dB of the pooled error; NaN when nothing was added."""
        return psnr_from_mse(self.total / self.count) if self.count else float("nan")
