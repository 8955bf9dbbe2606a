"""False colour in stops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.view.false_colour import BANDS, HIGHEST, LOWEST, band_of, edges, false_colour


def gray(*values: float) -> np.ndarray:
    return np.repeat(np.asarray(values, np.float32)[:, None], 3, axis=1)


def test_there_is_a_band_on_either_side_of_every_edge():
    assert len(BANDS) == len(edges()) + 1
    assert len(set(BANDS)) == len(BANDS)


@pytest.mark.parametrize("stop", range(LOWEST, HIGHEST + 1))
def test_a_band_begins_exactly_at_its_stop(stop):
    below, at, above = band_of(gray(2.0**stop * 0.999, 2.0**stop, 2.0**stop * 1.999))
    assert at == above == below + 1 == stop - LOWEST + 1


def test_sdr_white_is_the_first_warm_band_and_a_mid_grey_is_grey():
    white, grey = false_colour(gray(1.0, 0.18))
    assert white.tolist() == [255, 228, 84]
    assert len(set(grey.tolist())) == 1


def test_white_that_a_rounding_darkened_is_white():
    assert band_of(gray(np.nextafter(np.float32(1), np.float32(0)))) == band_of(gray(1))


def test_what_has_no_stop_has_the_darkest_band_and_what_has_many_the_brightest():
    assert band_of(gray(0, -1, 1e-9)).tolist() == [0, 0, 0]
    assert band_of(gray(64, 65504)).tolist() == [len(BANDS) - 1] * 2


def test_it_is_luminance_that_counts():
    red, green, blue = band_of(np.eye(3, dtype=np.float32))
    assert (red, green, blue) == tuple(int(np.floor(np.log2(y))) - LOWEST + 1 for y in (0.2126, 0.7152, 0.0722))


@given(st.floats(2**-20, 2**16), st.floats(2**-20, 2**16))
def test_more_light_is_never_a_darker_band(a, b):
    dark, bright = band_of(gray(*sorted((a, b))))
    assert dark <= bright
