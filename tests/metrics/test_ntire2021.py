"""The challenge's figures, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dcdr_deploy.metrics.ntire2021 import by_maximum, compressed
from dcdr_deploy.metrics.pair import Pair
from dcdr_deploy.metrics.registry import METRICS


def test_psnr_l_divides_both_by_the_maximum_of_the_truth():
    prediction, truth = by_maximum(np.full((2, 2, 3), 3.0), np.full((2, 2, 3), 4.0))
    assert (float(prediction.max()), float(truth.max())) == (0.75, 1.0)


def test_a_black_truth_is_left_alone():
    prediction, truth = by_maximum(np.ones((2, 2, 3)), np.zeros((2, 2, 3)))
    assert (float(prediction.max()), float(truth.max())) == (1.0, 0.0)
    assert np.isfinite(compressed(np.ones((2, 2, 3)), np.zeros((2, 2, 3)))[0]).all()


def test_psnr_mu_goes_through_percentile_tanh_and_mu_law():
    truth = np.linspace(0, 2, 300).reshape(10, 10, 3)
    scale = np.percentile(truth, 99)
    expected = np.log(1 + 5000 * np.tanh(0.5 / scale)) / np.log(5001)
    assert compressed(np.full_like(truth, 0.5), truth)[0] == pytest.approx(np.full(truth.shape, expected))


def test_gamma_is_undone_before_the_percentile_is_taken():
    truth = np.linspace(0, 1, 300).reshape(10, 10, 3)
    encoded = truth ** (1 / 2.24)
    assert compressed(encoded, encoded, gamma=2.24)[1] == pytest.approx(compressed(truth, truth)[1])


def test_the_whole_figure_is_that_of_the_challenges_script():
    """Both to the power of 2.24, by the truth's 99th percentile, tanh, mu-law; -10 log10 of the mean squared error."""
    rng = np.random.default_rng(1)
    truth = rng.random((16, 20, 3)).astype(np.float32)
    prediction = np.clip(truth + 0.05 * rng.standard_normal(truth.shape), 0, 1).astype(np.float32)
    linear = [picture.astype(np.float64) ** 2.24 for picture in (prediction, truth)]
    a, b = (np.log(1 + 5000 * np.tanh(each / np.percentile(linear[1], 99))) / np.log(5001) for each in linear)
    found = METRICS["psnr-mu5000-ntire21-gamma"].score(Pair(prediction, truth), None)
    assert found == pytest.approx(-10 * np.log10(((a - b) ** 2).mean()), abs=1e-6)


def test_both_are_free_of_the_unit():
    rng = np.random.default_rng(0)
    prediction, truth = rng.random((8, 8, 3)), rng.random((8, 8, 3))
    for function in (by_maximum, compressed):
        for one, other in zip(function(prediction, truth), function(7 * prediction, 7 * truth), strict=True):
            assert one == pytest.approx(other)
