"""Contrast sensitivity and masking of HDR-VDP-2: from responses to visible differences, band by band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.metrics.hdrvdp2.parameters import Options
from dcdr_deploy.metrics.hdrvdp2.pyramid import Bands
from dcdr_deploy.metrics.hdrvdp2.resize import imresize
from dcdr_deploy.metrics.hdrvdp2.sensitivity import LARGEST_LOG_LUMINANCE, LEAST_LOG_LUMINANCE, neural_csf

Array = NDArray[np.float64]

_CSF_ENTRIES = 256
_BOX = np.full((3, 3), 1 / 9)


@dataclass(frozen=True)
class MaskedBands:
    """Differences after sensitivity and masking, in the pyramid's shape.

    Attributes:
        differences: D of the publication; what the quality is computed from.
        visibility: the same after the psychometric function's exponent; put together they are the contrast map.
    """

    differences: Bands
    visibility: Bands


@dataclass(frozen=True)
class _Masking:
    """Exponents and weights out of their logarithms."""

    p: float
    q: float
    slope: float
    own: float
    orientations: float
    neighbours: float

    @classmethod
    def of(cls, options: Options) -> _Masking:
        p = 10.0**options.mask_p
        return cls(
            p=p,
            q=10.0**options.mask_q,
            slope=10.0**options.psych_func_slope / p,
            own=10.0**options.mask_self,
            orientations=10.0**options.mask_xo,
            neighbours=10.0**options.mask_xn,
        )


def masked_differences(
    test: Bands, reference: Bands, adaptation: Array, frequencies: Array, options: Options
) -> MaskedBands:
    """Normalise the difference of two pyramids by what sensitivity and masking leave visible.

    Args:
        test, reference: pyramids of one shape.
        adaptation: (H, W) adapting luminance in cd/m2.
        frequencies: of each level in cycles per degree.
        options: parameters.
    """
    constants = _Masking.of(options)
    log_adaptation = np.clip(np.log10(np.maximum(adaptation, 1e-5)), LEAST_LOG_LUMINANCE, LARGEST_LOG_LUMINANCE)
    mutual = [
        [_mutual(a, b) for a, b in zip(level_t, level_r, strict=True)]
        for level_t, level_r in zip(test, reference, strict=True)
    ]
    differences: Bands = []
    visibility: Bands = []
    last = len(test) - 1
    for level, (bands_t, bands_r) in enumerate(zip(test, reference, strict=True)):
        norm = 2.0**level
        size = (bands_t[0].shape[0], bands_t[0].shape[1])
        # The base band is filtered by the CSF already.
        threshold = np.ones(size) if level == last else 1 / _sensitivity(log_adaptation, size, frequencies[level])
        differences.append([])
        visibility.append([])
        for orientation, (band_t, band_r) in enumerate(zip(bands_t, bands_r, strict=True)):
            excitation = _signed_power((band_t - band_r) / norm, constants.p) * norm
            if options.do_masking:
                masking = _masking_term(mutual, level, orientation, threshold, constants)
                difference = excitation / np.sqrt(threshold ** (2 * constants.p) + masking**2)
            else:
                difference = excitation / threshold**constants.p
            differences[-1].append(difference)
            visibility[-1].append(_signed_power(difference / norm, constants.slope) * norm)
    return MaskedBands(differences, visibility)


def _masking_term(mutual: Bands, level: int, orientation: int, threshold: Array, constants: _Masking) -> Array:
    """Masking by the band itself, by the other orientations and by the neighbouring frequencies."""
    norm = 2.0**level
    own = mutual[level][orientation]
    others = np.maximum(np.sum(mutual[level], axis=0) - own, 0)
    neighbours = np.zeros_like(own)
    if level > 0:
        neighbours += _resized(mutual[level - 1], orientation, own) / (norm / 2)
    # As released: the base band masks nobody.
    if level < len(mutual) - 2:
        neighbours += _resized(mutual[level + 1], orientation, own) / (norm * 2)
    return np.asarray(
        norm
        * (
            constants.own * (own / threshold / norm) ** constants.q
            + constants.orientations * (others / threshold / norm) ** constants.q
            + constants.neighbours * (neighbours / threshold) ** constants.q
        )
    )


def _resized(level: list[Array], orientation: int, like: Array) -> Array:
    """A level's mask at another level's size; residual and base band have one orientation, which stands for all."""
    band = level[min(orientation, len(level) - 1)]
    return np.maximum(imresize(band, (like.shape[0], like.shape[1])), 0)


def _mutual(test: Array, reference: Array) -> Array:
    """What both pictures have in common in a band, averaged over 3 x 3 pixels because phase does not matter."""
    import cv2

    common = np.minimum(np.abs(test), np.abs(reference))
    return np.asarray(cv2.filter2D(common, cv2.CV_64F, _BOX, borderType=cv2.BORDER_CONSTANT))


def _sensitivity(log_adaptation: Array, size: tuple[int, int], frequency: float) -> Array:
    """Neural contrast sensitivity at every pixel of a level, by a table over luminance."""
    known = np.linspace(LEAST_LOG_LUMINANCE, LARGEST_LOG_LUMINANCE, _CSF_ENTRIES)
    resized = np.clip(imresize(log_adaptation, size), LEAST_LOG_LUMINANCE, LARGEST_LOG_LUMINANCE)
    return np.asarray(np.interp(resized, known, neural_csf(frequency, 10.0**known)))


def _signed_power(x: Array, exponent: float) -> Array:
    return np.asarray(np.sign(x) * np.abs(x) ** exponent)
