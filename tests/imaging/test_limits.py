"""Light is brought into its range by the bits of its numbers, with the result that comparing numbers has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dcdr_deploy.imaging.limits import limit, limited


@given(
    hnp.arrays(np.uint32, (3, 11), elements=st.integers(0, 2**32 - 1)),
    st.sampled_from([0.0, 1e-40, 1.0, 65504.0, 3.4e38]),
)
def test_any_bits_become_what_comparing_the_numbers_makes_of_them(bits, most):
    values = bits.view(np.float32)
    expected = np.where(values > 0, np.minimum(values, np.float32(most)), np.float32(0))
    expected[np.isnan(values)] = 0
    found = limit(values.copy(), most)
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))  # +0 is not -0


def test_it_is_done_in_place():
    values = np.array([[-1, 2]], np.float32)
    assert limit(values, 1) is values
    assert values.tolist() == [[0, 1]]


def test_or_elsewhere():
    values, place = np.array([[np.nan, -1, 2]], np.float32), np.full((1, 3), 5, np.float32)
    kept = values.copy()
    assert limit(values, 1, place) is place
    assert place.tolist() == [[0, 0, 1]]
    np.testing.assert_array_equal(values, kept)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_or_in_a_copy_of_any_layout(kind):
    values = np.array([[-1, 0.5], [np.nan, 7]], kind).T
    kept = values.copy()
    found = limited(values, 1)
    np.testing.assert_array_equal(values, kept)
    assert found.flags.c_contiguous
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 0], [0.5, 1]]
