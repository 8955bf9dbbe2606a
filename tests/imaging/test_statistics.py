"""The line of numbers about a picture."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dcdr_deploy.imaging import statistics, white_units_summary


def test_known_picture_in_units_of_sdr_white():
    samples = np.zeros((1, 100, 3), np.float32)
    samples[0, 1:, :] = 0.25
    samples[0, 99, 0] = 0.5
    assert white_units_summary(samples, 8.0) == {"min": 0.0, "median": 2.0, "p99": 2.0, "max": 4.0}


def test_counts_are_exact_beyond_the_integers_of_floats():
    counts = statistics._histogram(np.full(2**24 + 3, 7, np.uint16))
    assert (counts[7], counts.sum()) == (2**24 + 3, 2**24 + 3)


@given(hnp.arrays(np.float32, (4, 5, 3), elements=st.floats(-2, 2, width=16)), st.sampled_from([1.0, 8.0]))
def test_agrees_with_sorting(samples, peak):
    summary = white_units_summary(samples, peak)
    ordered = np.sort(samples, axis=None).astype(np.float64) * peak
    assert summary["min"] == ordered[0]
    assert summary["max"] == ordered[-1]
    assert summary["median"] == ordered[math.ceil(0.5 * 60) - 1]
    assert summary["p99"] == ordered[math.ceil(0.99 * 60) - 1]


def test_ends_are_exact_beyond_half_precision_and_range():
    samples = np.array([[[1e-9, 0.1234567, 1e6]]], np.float32)
    summary = white_units_summary(samples, 1.0)
    assert summary["min"] == np.float32(1e-9)
    assert summary["max"] == np.float32(1e6)
    assert summary["median"] == pytest.approx(0.1234567, rel=2**-11)


def test_values_that_are_not_finite_are_left_out():
    samples = np.array([[[np.nan, 0.5, np.inf], [0.25, -np.inf, 1.0]]], np.float32)
    assert white_units_summary(samples, 2.0) == {"min": 0.5, "median": 1.0, "p99": 2.0, "max": 2.0}
    nothing = white_units_summary(np.full((2, 2, 3), np.nan, np.float32), 8.0)
    assert all(math.isnan(value) for value in nothing.values())
