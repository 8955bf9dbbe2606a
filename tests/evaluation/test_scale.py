"""What counts as 1.0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.evaluation.scale import GT_MAX, check_full_scale, to_full_scale
from dcdr_deploy.imaging.read_hdr import Picture


def picture(value: float, *, integer: bool = False, peak: float | None = None, size: int = 4) -> Picture:
    name = f"{value:g}.{'png' if integer else 'exr'}"
    return Picture(Path(name), np.full((size, size, 3), value, np.float32), integer, peak)


def test_integers_are_at_full_scale_and_their_luminance_is_not_known():
    pair = to_full_scale(picture(0.5, integer=True), picture(0.25, integer=True))
    assert (pair.prediction.max(), pair.truth.max(), pair.nits) == (0.5, 0.25, None)


def test_the_peak_of_the_prediction_scales_both():
    pair = to_full_scale(picture(4.0, peak=8.0), picture(0.25, integer=True))
    assert (pair.prediction.max(), pair.truth.max()) == (0.5, 0.25)
    assert pair.nits == 8 * 203


def test_the_truths_peak_serves_where_the_prediction_has_none():
    assert to_full_scale(picture(4.0), picture(2.0, peak=8.0)).prediction.max() == 0.5


def test_a_number_given_goes_before_what_files_say():
    pair = to_full_scale(picture(4.0, peak=8.0), picture(2.0, peak=8.0), 16.0, white_nits=100)
    assert (pair.prediction.max(), pair.truth.max(), pair.nits) == (0.25, 0.125, 1600)


def test_the_truths_maximum_can_be_full_scale():
    pair = to_full_scale(picture(3.0), picture(4.0), GT_MAX)
    assert (pair.prediction.max(), pair.truth.max(), pair.nits) == (0.75, 1.0, 4 * 203)
    assert to_full_scale(picture(0.2, integer=True), picture(0.4, integer=True), GT_MAX).nits is None


def test_a_truth_as_dark_as_numbers_get_is_a_full_scale_too():
    pair = to_full_scale(picture(2e-40), picture(1e-40), GT_MAX)
    assert (pair.prediction.max(), pair.truth.max()) == pytest.approx((2.0, 1.0), rel=1e-4)


@pytest.mark.parametrize(
    ("prediction", "truth", "full_scale", "said"),
    [
        (picture(1.0), picture(2.0), None, r"^1\.exr: does not say which value is full scale; give `full_scale`"),
        (picture(0.5, integer=True), picture(2.0), None, r"^2\.exr: does not say"),
        (picture(0.5, integer=True), picture(2.0), GT_MAX, r"^2\.exr: gt-max needs both files in one scale"),
        (picture(1.0), picture(0.0), GT_MAX, r"^0\.exr: is black"),
        (picture(1.0, size=4), picture(2.0, size=5), 8.0, r"^1\.exr: 4 x 4 pixels, but 2\.exr is 5 x 5 pixels"),
    ],
)
def test_what_cannot_be_scaled_is_named(prediction, truth, full_scale, said):
    with pytest.raises(InputError, match=said):
        to_full_scale(prediction, truth, full_scale)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf"), "max"])
def test_a_full_scale_that_is_none_is_refused(wrong):
    with pytest.raises(InputError, match="full scale"):
        check_full_scale(wrong)
