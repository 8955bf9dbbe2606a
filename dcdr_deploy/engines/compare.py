"""Whether a network still computes the same after it was exported or built: sample pictures, comparison, bounds.

An exported file is compared with torch (export/verify.py), an engine with its ONNX file (run/gate.py): on the same
pictures, in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.metrics.psnr import psnr_from_mse

LARGEST_PSNR = 200.0
"""Decibels; stands for "no difference", as JSON has no infinity."""


@dataclass(frozen=True)
class Difference:
    """How far results are from what was expected.

    Attributes:
        psnr: of the worst picture in dB at full scale 1.0, at most :data:`LARGEST_PSNR`; NaN if a result is not finite.
        max_abs_error: largest absolute difference in network units, of values above 1 as a share of them; NaN if a
            result is not finite.
    """

    psnr: float
    max_abs_error: float

    @property
    def finite(self) -> bool:
        """Whether all results are."""
        return not math.isnan(self.psnr)


@dataclass(frozen=True)
class Bounds:
    """What results may differ by."""

    min_psnr: float = -math.inf
    max_abs_error: float = math.inf

    def hold(self, difference: Difference) -> bool:
        """Tell whether a difference is within them; one of results that are not finite never is."""
        return difference.psnr >= self.min_psnr and difference.max_abs_error <= self.max_abs_error


EXPORTED: dict[str, Bounds] = {"fp32": Bounds(max_abs_error=1e-4), "fp16": Bounds(min_psnr=60.0)}
"""For an ONNX file against torch, by the file's precision. Both compute in FP32: with the same weights they differ by
the order of sums, with weights in FP16 by those weights' rounding."""

BUILT: dict[str, Bounds] = {"fp32": Bounds(min_psnr=80.0), "fp16": Bounds(min_psnr=50.0)}
"""For an engine against its ONNX file, by the engine's precision: rounding of its arithmetic adds to that of its
weights, and GPUs multiply FP32 in fewer bits."""


def compare(found: NDArray[np.float32], expected: NDArray[np.float32]) -> Difference:
    """Compare results with what was expected, both (N, 3, H, W) in network units."""
    if not np.isfinite(found).all():
        return Difference(math.nan, math.nan)
    # Light far above full scale, as networks without a peak of their own give it, has no more digits than 1 has.
    error = (found.astype(np.float64) - expected) / np.maximum(np.abs(expected), 1)
    worst = max(float(mse) for mse in np.mean(error**2, axis=(1, 2, 3)))
    return Difference(min(psnr_from_mse(worst), LARGEST_PSNR), float(np.abs(error).max()))


def sample_tiles(height: int, width: int) -> NDArray[np.uint8]:
    """Return two pictures (2, height, width, 3) that hold what a network has to cope with; always the same ones.

    The first is photographic in its statistics: structures of all sizes with a 1/f spectrum, a bright light that clips
    and a dark corner. The second is graphic: hard edges, fine stripes, saturated and clipped colours.
    """
    rng = np.random.default_rng(2024)
    y, x = (axis.astype(np.float32) for axis in np.mgrid[0:height, 0:width])
    return np.stack([_photographic(rng, y, x), _graphic(y, x)])


def _photographic(rng: np.random.Generator, y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.uint8]:
    picture = np.full((*y.shape, 3), 0.4, np.float32)
    for octave in range(7):
        wave, strength = 512.0 / 2**octave, 0.12 / 1.4**octave
        for _ in range(3):
            angle, phase, colour = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.0, 3)
            along = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / wave)
            picture += (strength * np.sin(along + phase))[..., None] * colour.astype(np.float32)
    height, width = y.shape
    distance = np.hypot((y / height - 0.3) * 4, (x / width - 0.65) * 4)
    picture += (1.6 * np.exp(-distance * 3))[..., None] * np.array(
        [1.0, 0.95, 0.8], np.float32
    )  # a lamp, clipped in its middle
    picture *= np.clip(0.15 + 1.3 * np.hypot(1 - y / height, x / width), 0, 1)[..., None]
    picture += rng.normal(0, 0.008, picture.shape)
    return np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)


def _graphic(y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.uint8]:
    checks = ((x // 24 + y // 16) % 2).astype(np.uint8)
    stripes = ((x + y) // 2 % 2).astype(np.uint8)
    ramp = (x / max(x.shape[1] - 1, 1) * 255).astype(np.uint8)
    disc = (np.hypot(y - y.shape[0] / 2, x - x.shape[1] / 2) < min(y.shape) / 4).astype(np.uint8)
    upper = np.stack([checks * 255, ramp, (1 - checks) * 200], axis=-1)
    lower = np.stack([stripes * 180 + 40, 255 - ramp, stripes * 90], axis=-1)
    picture = np.where((y < y.shape[0] / 2)[..., None], upper, lower)
    return np.where(disc[..., None] == 1, np.array([255, 255, 250], np.uint8), picture).astype(np.uint8)
