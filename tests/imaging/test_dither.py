"""Dither: a ramp does not band, nothing wanders, and the noise is always the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.imaging.dither import quantised

ROWS, COLUMNS = 64, 2048


def ramp() -> np.ndarray:
    """Four codes over 2,048 columns: bands of 512 without dither."""
    return np.tile(np.linspace(100, 104, COLUMNS, dtype=np.float32), (ROWS, 1))


def local_error(codes: np.ndarray) -> float:
    """Largest error of the mean over 64 x 32 pixels, in codes."""
    error = codes.astype(np.float64) - ramp()
    return float(np.abs(error.reshape(ROWS, -1, 32).mean(axis=(0, 2))).max())


def test_a_dithered_ramp_does_not_band():
    assert local_error(quantised(ramp(), 0, 1023, seed=None)) > 0.45
    dithered = quantised(ramp(), 0, 1023, seed=0)
    assert local_error(dithered) < 0.08
    longest = max(len(run) for row in dithered for run in np.split(row, np.flatnonzero(np.diff(row)) + 1))
    assert longest < 40


def test_the_size_of_the_error_does_not_depend_on_the_value():
    error = quantised(ramp(), 0, 1023, seed=0) - ramp()
    spread = error.reshape(ROWS, -1, 128).std(axis=(0, 2))
    assert spread == pytest.approx(np.full(len(spread), 0.5), abs=0.04)  # 1/4 is triangular noise and rounding
    assert np.abs(error).max() <= 1.5


def test_black_stays_black_and_the_ends_hold():
    values = np.zeros((8, 300), np.float32)
    values[:, 100:200] = 64
    values[:, 200:] = 1023
    codes = quantised(values, 64, 1023, seed=3)
    assert codes[:, :200].max() == 64
    assert codes.max() == 1023
    assert codes.min() == 64


def test_rows_have_their_noise_wherever_they_are_worked_on():
    whole = quantised(ramp(), 0, 1023, seed=5)
    parts = [quantised(ramp()[row : row + 10], 0, 1023, seed=5, first_row=row) for row in range(0, ROWS, 10)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (quantised(ramp(), 0, 1023, seed=6) != whole).mean() > 0.3


def test_rows_differ_from_each_other():
    codes = quantised(ramp(), 0, 1023, seed=0)
    assert min((codes[row] != codes[row + 1]).mean() for row in range(ROWS - 1)) > 0.3


def test_a_row_longer_than_the_table_of_noise():
    assert quantised(np.full((1, 2**20 + 5), 7.5, np.float32), 0, 1023, seed=1).mean() == pytest.approx(7.5, abs=0.01)


@given(st.floats(1, 1022, width=32), st.integers(0, 10**9))
def test_the_mean_is_the_value(value, seed):
    codes = quantised(np.full((64, 512), value, np.float32), 0, 1023, seed=seed)
    assert codes.mean() == pytest.approx(value, abs=0.02)
