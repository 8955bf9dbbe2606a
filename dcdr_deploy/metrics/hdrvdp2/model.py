"""HDR-VDP-2: which differences between two pictures in cd/m2 are seen, and how much they matter.

Our own code of the model of R. Mantiuk, K. J. Kim, A. Rempel and W. Heidrich, "HDR-VDP-2: A calibrated visual metric
for visibility and quality predictions in all luminance conditions" (ACM Transactions on Graphics 30(4), 2011), with the
parameters and the pooling of release 2.2.0 (M. Narwaria and others, "HDR-VDP-2.2: a calibrated method for objective
quality prediction of high-dynamic range and standard images", Journal of Electronic Imaging 24(1), 2015) and the score
of release 2.2.1.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.metrics.hdrvdp2 import parameters
from dcdr_deploy.metrics.hdrvdp2.filters import SteerableFilters, sp3_filters
from dcdr_deploy.metrics.hdrvdp2.fourier import filter_padded, padded_frequencies
from dcdr_deploy.metrics.hdrvdp2.masking import MaskedBands, masked_differences
from dcdr_deploy.metrics.hdrvdp2.parameters import COLOR_ENCODINGS, RGB_TO_LMSR, Options
from dcdr_deploy.metrics.hdrvdp2.pyramid import Bands, build, reconstruct
from dcdr_deploy.metrics.hdrvdp2.resize import imresize
from dcdr_deploy.metrics.hdrvdp2.sensitivity import neural_csf, optical_mtf, photoreceptors

Array = NDArray[np.float64]

VERSION = "2.2.1"
MINIMUM_SIZE = 17
"""Least width and height in pixels: the filter of the pyramid's first level."""

_LEAST_LUMINANCE, _LARGEST_LUMINANCE = 1e-5, 1e10
_SAME = 0.001  # relative difference below which pixels count as the same in the quality score
_EPSILON = 1e-12


@dataclass(frozen=True)
class Result:
    """Predictions for a pair.

    Attributes:
        Q: quality correlate of release 2.2.0; higher is worse, and its best value depends on the picture's size.
        Q221: quality of release 2.2.1: 100 for identical pictures, lower is worse, may be negative.
        P_det: probability that a difference is seen anywhere, 0 to 1.
        C_max: largest threshold-normalised contrast; 1 is where ``P_det`` is 0.5.
        C_map: (H, W) threshold-normalised contrast.
    """

    Q: float
    Q221: float
    P_det: float
    C_max: float
    C_map: Array

    @property
    def P_map(self) -> Array:  # noqa: N802 - the original's name
        """(H, W) probability of detection."""
        return np.asarray(detection_probability(self.C_map))


@dataclass(frozen=True)
class VisualResponse:
    """A picture after optics, photoreceptors and decomposition.

    Attributes:
        adaptation: (H, W) adapting luminance in cd/m2.
        bands: the achromatic response by frequency and orientation, the base band filtered by the CSF.
        base_surround: what surrounds the base band in its filter; the reference's serves for both pictures.
    """

    adaptation: Array
    bands: Bands
    base_surround: float


def hdrvdp2(
    test: NDArray[np.floating],
    reference: NDArray[np.floating],
    *,
    pixels_per_degree: float = 24.0,
    color_encoding: str = "rgb-bt.709",
    options: Options | None = None,
) -> Result:
    """Compare two pictures.

    Args:
        test: (H, W, 3) linear Rec. 709 in cd/m2, finite; at least :data:`MINIMUM_SIZE` pixels each way.
        reference: the same shape.
        pixels_per_degree: angular resolution; the paper takes 24.
        color_encoding: one of :data:`COLOR_ENCODINGS`, which mean the same.
        options: parameters other than the release's.

    Raises:
        ValueError: other shapes, sizes or encodings.
    """
    options = options or Options()
    _check(test, reference, pixels_per_degree, color_encoding)
    filters = _filters()
    test_nits, reference_nits = test.astype(np.float64), reference.astype(np.float64)
    surround = _surround(reference_nits, options)
    seen = visual_response(reference_nits, pixels_per_degree, options, surround)
    tested = visual_response(test_nits, pixels_per_degree, options, surround, seen.base_surround)
    frequencies = band_frequencies(len(seen.bands), pixels_per_degree)
    adaptation = (seen.adaptation + tested.adaptation) / 2
    masked = masked_differences(tested.bands, seen.bands, adaptation, frequencies, options)
    del tested, seen
    q, q221 = _quality(masked, frequencies, _different(test_nits, reference_nits))
    contrast = np.abs(reconstruct(masked.visibility, filters))
    if options.do_spatial_pooling:
        contrast = contrast.sum() / (contrast.max() + _EPSILON) * contrast
    largest = float(contrast.max())
    return Result(q, q221, float(detection_probability(largest)), largest, contrast)


def detection_probability(contrast: Array | float) -> Array | float:
    """Probability of detection at a threshold-normalised contrast; a half at 1."""
    return 1 - np.exp(math.log(0.5) * contrast)


def visual_response(
    picture: Array,
    pixels_per_degree: float,
    options: Options,
    surround: tuple[float, float, float],
    base_surround: float | None = None,
) -> VisualResponse:
    """Take a picture through the optics, the photoreceptors and the multi-channel decomposition.

    Args:
        picture: (H, W, 3) linear Rec. 709 in cd/m2.
        pixels_per_degree: angular resolution.
        options: parameters.
        surround: light around the picture, for each channel in cd/m2.
        base_surround: what surrounds the base band; ``None`` for its own mean.
    """
    light = optics(picture, pixels_per_degree, surround) if options.do_mtf else picture
    lmsr = light @ np.array(RGB_TO_LMSR)
    adaptation = lmsr[..., 0] + lmsr[..., 1]
    receptors = photoreceptors(options.rod_sensitivity, options.sensitivity_correction)
    cones = receptors.cone_response(lmsr[..., 0]) + receptors.cone_response(lmsr[..., 1])
    rods = receptors.rod_response(lmsr[..., 3])
    bands = build((cones - cones.mean()) + (rods - rods.mean()), _filters())
    (base,) = bands[-1]
    base_surround = float(base.mean()) if base_surround is None else base_surround
    # The square root of 2 is the release's own; its authors say that it works better than the 2 one would expect.
    resolution = band_frequencies(len(bands), pixels_per_degree)[-1] * 2 * math.sqrt(2)
    frequencies = padded_frequencies((base.shape[0], base.shape[1]), resolution)
    bands[-1] = [filter_padded(base, neural_csf(frequencies, adaptation.mean()), base_surround)]
    return VisualResponse(adaptation, bands, base_surround)


def optics(picture: Array, pixels_per_degree: float, surround: tuple[float, float, float]) -> Array:
    """Scatter light as the eye does, (H, W, 3) -> (H, W, 3)."""
    mtf = optical_mtf(padded_frequencies((picture.shape[0], picture.shape[1]), pixels_per_degree))
    channels = [filter_padded(picture[..., c], mtf, surround[c]) for c in range(picture.shape[2])]
    return np.clip(np.stack(channels, axis=-1), _LEAST_LUMINANCE, _LARGEST_LUMINANCE)


def band_frequencies(levels: int, pixels_per_degree: float) -> Array:
    """Peak frequency of each level in cycles per degree."""
    return np.asarray(2.0 ** -np.arange(levels) * pixels_per_degree / 2)


def _quality(masked: MaskedBands, frequencies: Array, different: Array) -> tuple[float, float]:
    """The scores of 2.2.0 and 2.2.1: weighted logarithms of each band's error."""
    weights = np.interp(frequencies, parameters.QUALITY_BAND_FREQ[::-1], parameters.QUALITY_BAND_W[::-1])
    q = q221 = 0.0
    for level, weight in zip(masked.differences, weights, strict=True):
        mask = imresize(different, (level[0].shape[0], level[0].shape[1]))
        for band in level:
            error = math.sqrt(float(np.sum((band * mask) ** 2))) / band.size
            logarithm = math.log(error + _EPSILON)
            q += logarithm * float(weight)
            q221 += (logarithm - math.log(_EPSILON)) * float(weight)
    return q / sum(len(level) for level in masked.differences), 100.0 - q221


def _different(test: Array, reference: Array) -> Array:
    """1 where a pixel differs in some channel by more than a thousandth, else 0; (H, W)."""
    with np.errstate(divide="ignore", invalid="ignore"):  # black in the reference: any other value differs
        relative = np.abs(test - reference) / reference
    return np.asarray((relative > _SAME).any(axis=-1), dtype=np.float64)


def _surround(reference: Array, options: Options) -> tuple[float, float, float]:
    given = options.surround_l
    if isinstance(given, tuple):
        return given
    if given != -1:
        return (given, given, given)
    means = np.exp(np.log(np.maximum(reference, _LEAST_LUMINANCE)).mean(axis=(0, 1)))
    return (float(means[0]), float(means[1]), float(means[2]))


def _check(
    test: NDArray[np.floating], reference: NDArray[np.floating], pixels_per_degree: float, color_encoding: str
) -> None:
    if test.shape != reference.shape or test.ndim != 3 or test.shape[2] != 3:
        raise ValueError(f"shapes {test.shape} and {reference.shape}: both must be (H, W, 3) and the same")
    if min(test.shape[:2]) < MINIMUM_SIZE:
        raise ValueError(f"{test.shape[1]} x {test.shape[0]} pixels: at least {MINIMUM_SIZE} each way are needed")
    if not pixels_per_degree > 0:
        raise ValueError(f"pixels_per_degree is {pixels_per_degree}, not a positive number")
    if color_encoding not in COLOR_ENCODINGS:
        raise ValueError(f"color_encoding {color_encoding!r} is unknown; choose one of {', '.join(COLOR_ENCODINGS)}")


@functools.cache
def _filters() -> SteerableFilters:
    return sp3_filters()
