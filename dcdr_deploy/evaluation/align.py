"""Bringing relative HDR to the scale of its ground truth before it is measured.

Networks trained on relative light state no absolute scale, and a camera's curve guessed wrong moves every pixel. What
the literature does about that: one gain; percentiles mapped to a display's range (SingleHDR and HDRUNet after
ExpandNet); or a tone curve fitted where nothing is clipped, so that a method is judged by what it restores (Eilertsen
et al., "How to cheat with metrics in single-image HDR reconstruction", ICCVW 2021, arXiv 2108.08713, section 4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.transfer import luminance

NONE, GAIN, PERCENTILE, CURVE = "none", "gain", "percentile", "curve"
ALIGNMENTS = (NONE, GAIN, PERCENTILE, CURVE)

PERCENTILES = (0.1, 99.9)
DISPLAY_RANGE = (1.0, 999.0)
"""To what the percentiles of prediction and truth are mapped, in cd/m2."""

CURVE_KNOTS = 64
"""Most knots of a tone curve: quantiles of the prediction's logarithm."""

LEAST_PIXELS = 16
"""Fewer pixels than this say nothing about a curve or a gain."""

Pixels = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


class CannotAlignError(ValueError):
    """A picture that gives no alignment: black, or of one brightness."""


def stops_apart(prediction: Pixels, truth: Pixels, valid: Mask | None = None) -> float:
    """log2 of the ratio of the median luminances, prediction over truth; NaN where one is not positive."""
    medians = [float(np.median(luminance(_chosen(pixels, valid)))) for pixels in (prediction, truth)]
    if min(medians) <= 0:
        return float("nan")
    return float(np.log2(medians[0] / medians[1]))


def by_gain(prediction: Pixels, truth: Pixels, valid: Mask | None = None) -> tuple[Pixels, float]:
    """Multiply the prediction by the gain that is best by least squares in the logarithm of luminance.

    Args:
        prediction, truth: (H, W, 3) linear.
        valid: (H, W), pixels that count; ``None`` for all.

    Returns:
        The prediction times the gain, and the gain.

    Raises:
        CannotAlignError: next to nothing is positive in both.
    """
    x, y = _log_pairs(luminance(_chosen(prediction, valid)), luminance(_chosen(truth, valid)))
    gain = float(np.exp((y - x).mean()))
    return prediction * np.float32(gain), gain


def by_percentiles(pixels: Pixels, valid: Mask | None = None) -> Pixels:
    """Map the 0.1 and 99.9 percentiles of all samples to 1 and 999 cd/m2, linearly; below 0 becomes 0.

    Raises:
        CannotAlignError: both percentiles are the same.
    """
    low, high = np.percentile(_chosen(pixels, valid), PERCENTILES)
    if not high > low:
        raise CannotAlignError("is of one brightness, so that its percentiles give no scale")
    dark, bright = DISPLAY_RANGE
    mapped = (pixels.astype(np.float64) - low) / (high - low) * (bright - dark) + dark
    return np.maximum(mapped, 0).astype(np.float32)


def by_curve(prediction: Pixels, truth: Pixels, unclipped: Mask) -> Pixels:
    """Send the prediction through the monotone tone curve that brings it closest to the truth where nothing is clipped.

    One curve for the three channels, fitted by isotonic regression of the logarithms at quantiles of the prediction.
    Beyond the fitted range it goes on as a gain: what was clipped keeps its ratios to the brightest pixels seen.

    Args:
        prediction, truth: (H, W, 3) linear.
        unclipped: (H, W), pixels from which the curve is taken.

    Raises:
        CannotAlignError: next to nothing unclipped is positive in both.
    """
    x, y = _log_pairs(_chosen(prediction, unclipped).ravel(), _chosen(truth, unclipped).ravel())
    order = np.argsort(x, kind="stable")
    bins = np.array_split(order, min(CURVE_KNOTS, max(1, len(order) // LEAST_PIXELS)))
    knots = np.array([x[members].mean() for members in bins])
    heights = _isotonic(np.array([y[members].mean() for members in bins]), np.array([len(members) for members in bins]))
    distinct = np.concatenate([[True], np.diff(knots) > 0])
    knots, heights = knots[distinct], heights[distinct]
    # The curve as a gain over the prediction: constant beyond its ends, and zero and negative values keep the first.
    logarithm = np.log(np.maximum(prediction.astype(np.float64), np.exp(knots[0])))
    gain = np.exp(np.interp(logarithm, knots, heights - knots))
    return (prediction * gain).astype(np.float32)


def _isotonic(values: NDArray[np.float64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """The closest sequence that never falls, by pooling adjacent violators (Barlow et al., 1972)."""
    means: list[float] = []
    masses: list[float] = []
    lengths: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        means.append(value)
        masses.append(weight)
        lengths.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            mass = masses[-2] + masses[-1]
            means[-2] = (means[-2] * masses[-2] + means[-1] * masses[-1]) / mass
            masses[-2], lengths[-2] = mass, lengths[-2] + lengths[-1]
            del means[-1], masses[-1], lengths[-1]
    return np.repeat(means, lengths)


def _chosen(pixels: Pixels, valid: Mask | None) -> Pixels:
    return pixels if valid is None else pixels[valid]


def _log_pairs(x: Pixels, y: Pixels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms of two arrays where both are positive."""
    x, y = np.ravel(x).astype(np.float64), np.ravel(y).astype(np.float64)
    both = (x > 0) & (y > 0)
    if both.sum() < min(LEAST_PIXELS, x.size) or not both.any():
        raise CannotAlignError("has next to nothing above black that could be aligned")
    return np.log(x[both]), np.log(y[both])
