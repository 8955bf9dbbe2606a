"""PU21: the points its authors name, and that it can be undone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.metrics import pu21


def test_the_darkest_luminance_is_0_and_100_nits_are_about_256():
    assert pu21.encode(np.array([0.005])) == pytest.approx(0, abs=1e-6)
    assert pu21.encode(np.array([100.0])) == pytest.approx(256, abs=1)


def test_the_brightest_luminance_is_what_its_authors_state():
    assert pu21.encode(np.array([10000.0])) == pytest.approx(595.3939, abs=1e-4)  # the encoder's P_max


def test_luminance_beyond_the_range_counts_as_its_end():
    assert np.array_equal(pu21.encode(np.array([0.0, -1.0])), pu21.encode(np.array([0.005, 0.005])))
    assert np.array_equal(pu21.encode(np.array([1e6])), pu21.encode(np.array([1e4])))


@given(st.floats(0.005, 10000), st.floats(0.005, 10000))
def test_brighter_is_more_and_decoding_undoes_encoding(a, b):
    low, high = pu21.encode(np.array(sorted((a, b))))
    assert low <= high
    assert pu21.decode(pu21.encode(np.array([a]))) == pytest.approx(a, rel=1e-6)
