"""What counts as 1.0, and how bright that is."""

from __future__ import annotations

import math

import numpy as np

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.light import SDR_WHITE_NITS
from dcdr_deploy.imaging.read_hdr import Picture
from dcdr_deploy.metrics.pair import Pair

GT_MAX = "gt-max"
"""Full scale is the largest value of each ground truth."""

FullScale = float | str | None
"""A number in units of SDR white, :data:`GT_MAX`, or ``None`` for what the files say."""


def check_full_scale(full_scale: FullScale) -> None:
    """Refuse a full scale that is none.

    Raises:
        InputError: neither a positive number nor :data:`GT_MAX`.
    """
    fits = full_scale is None or full_scale == GT_MAX
    if not fits and not (isinstance(full_scale, int | float) and math.isfinite(full_scale) and full_scale > 0):
        raise InputError(f"full scale {full_scale!r}: give a positive number or {GT_MAX}")


def to_full_scale(
    prediction: Picture, truth: Picture, full_scale: FullScale = None, white_nits: float = SDR_WHITE_NITS
) -> Pair:
    """Bring both pictures to full scale 1.0.

    Integer files are at full scale already: 65535 is 1.0. Values of EXR and Radiance files are divided by the full
    scale: the number given, else the ``peak`` that the prediction, or else the truth, carries in its header.

    Args:
        prediction, truth: of one size.
        full_scale: see :data:`FullScale`.
        white_nits: luminance of SDR white in cd/m2; times the full scale it is the luminance of 1.0.

    Raises:
        InputError: different sizes; or a full scale that nobody knows, or that a black truth cannot give.
    """
    check_sizes(prediction, truth)
    if full_scale == GT_MAX:
        return _by_maximum(prediction, truth, white_nits)
    known = full_scale if isinstance(full_scale, int | float) else prediction.peak or truth.peak
    if known is None:
        floating = next((picture for picture in (prediction, truth) if not picture.integer), None)
        if floating is not None:
            raise InputError(
                f"{floating.path}: does not say which value is full scale; give `full_scale` "
                f"(8 for the demo weights, {GT_MAX} for each truth's maximum)"
            )
        return Pair(prediction.pixels, truth.pixels, None)
    scaled = [
        picture.pixels if picture.integer else picture.pixels / np.float32(known) for picture in (prediction, truth)
    ]
    return Pair(scaled[0], scaled[1], known * white_nits)


def check_sizes(prediction: Picture, truth: Picture) -> None:
    """Refuse two pictures of different sizes.

    Raises:
        InputError: they are.
    """
    if prediction.size != truth.size:
        raise InputError(
            f"{prediction.path}: {_pixels(prediction)}, but {truth.path} is {_pixels(truth)}; they must be of one size"
        )


def _by_maximum(prediction: Picture, truth: Picture, white_nits: float) -> Pair:
    if prediction.integer != truth.integer:
        raise InputError(
            f"{truth.path}: {GT_MAX} needs both files in one scale, but only one of this and {prediction.path} "
            "holds integers; give a number"
        )
    largest = float(truth.pixels.max())
    if largest <= 0:
        raise InputError(f"{truth.path}: is black, so its maximum is no full scale; give a number")
    nits = None if truth.integer else largest * white_nits
    return Pair(prediction.pixels / np.float32(largest), truth.pixels / np.float32(largest), nits)


def _pixels(picture: Picture) -> str:
    return f"{picture.size[1]} x {picture.size[0]} pixels"
