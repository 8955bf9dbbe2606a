"""How much of a picture lies at which luminance."""

import numpy as np
import pytest

from dcdr_deploy.view.histogram import BINS_A_STOP, FROM, TO, figures, histogram


def gray(values: list[float]) -> np.ndarray:
    return np.repeat(np.asarray(values, np.float32)[None, :, None], 3, axis=2)


def test_shares_add_up_to_one_and_the_ends_hold_what_lies_beyond():
    shares = histogram(gray([0, -1, 1e-7, 0.3, 1e5, 1e6, 2, 2]))
    assert shares.sum() == pytest.approx(1)
    assert (shares[0], shares[-1]) == (3 / 8, 2 / 8)
    assert len(shares) == (TO - FROM) * BINS_A_STOP


@pytest.mark.parametrize("stops", [-7.7, -2.47, 0.2, 1.9, 5.5])
def test_a_flat_picture_is_one_bar_at_its_stops(stops):
    (bar,) = np.flatnonzero(histogram(gray([2.0**stops] * 4)))
    assert FROM + bar / BINS_A_STOP <= stops < FROM + (bar + 1) / BINS_A_STOP


def test_figures_are_those_of_luminance():
    light = np.zeros((1, 100, 3), np.float32)
    light[0, :10] = (4, 0, 0)  # brighter than white in one channel, not in luminance
    light[0, 10:20] = 3
    found = figures(light)
    assert (found.low, found.median, found.high) == (0, 0, pytest.approx(3))
    assert found.above_white == pytest.approx(0.1)


def test_sdr_white_itself_is_not_above_white():
    assert figures(gray([1.0, 1.0, np.nextafter(np.float16(1), np.float16(2))])).above_white == 0
