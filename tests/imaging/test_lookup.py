"""Curves by table, and halves by OpenCV: as exact as they say, whatever the numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dcdr_deploy.imaging import lookup
from dcdr_deploy.imaging.half import to_half
from dcdr_deploy.imaging.hdr_transfer import pq_encode
from dcdr_deploy.imaging.lookup import look_up, look_up_codes, table_of

IDENTITY = table_of(lambda values: values)


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(2.0**-23, 2.0**23, width=32)))
def test_a_value_is_off_by_at_most_1_8192_of_itself(values):
    np.testing.assert_allclose(look_up(IDENTITY, values), values, rtol=1 / 8192)


def test_what_is_no_light_is_black_or_the_brightest():
    values = np.array([0, -0.0, -1, -np.inf, 1e-30, np.inf, np.nan, 3e38], np.float32)
    black, brightest = [0.0] * 5, [float(IDENTITY[np.isfinite(IDENTITY)].max())] * 3
    assert look_up(IDENTITY, values).tolist() == black + brightest


def test_a_curve_never_goes_back():
    ramp = np.geomspace(1e-6, 2e4, 200_000, dtype=np.float32)
    assert np.all(np.diff(look_up(table_of(pq_encode), ramp)) >= 0)


def test_a_table_of_other_numbers_gives_those():
    codes = (np.minimum(IDENTITY, 100)).astype(np.uint16)
    assert look_up(codes, np.array([0, 7.5, 1e6], np.float32)).tolist() == [0, 7, 100]


@given(hnp.arrays(np.float32, (2, 3, 3), elements=st.floats(-65504, 65504, width=32)))
def test_halves_are_rounded_as_numpy_rounds_them(values):
    np.testing.assert_array_equal(to_half(values), values.astype(np.float16))


@pytest.mark.parametrize("value", [2.0**-24, 2.0**-25, 2.0**-15 + 2.0**-26, 1 + 2.0**-11, 1 + 3 * 2.0**-11])
def test_halves_near_the_smallest_and_halfway_between_two(value):
    values = np.full((1, 2, 3), value, np.float32)
    np.testing.assert_array_equal(to_half(values), values.astype(np.float16))


def test_a_curve_is_applied_to_any_number_of_values_and_in_place():
    values = np.geomspace(1e-3, 1e3, 2**16 + 5, dtype=np.float32)
    expected = IDENTITY[values.view(np.uint32) >> 11]
    assert look_up(IDENTITY, values, values) is values
    np.testing.assert_array_equal(values, expected)


def test_halves_go_where_they_are_wanted():
    picture = np.zeros((4, 5, 3), np.float16)
    values = np.linspace(0, 1, 30, dtype=np.float32).reshape(2, 5, 3)
    to_half(values, picture[1:3])
    np.testing.assert_array_equal(picture[1:3], values.astype(np.float16))
    assert not picture[[0, 3]].any()
    with pytest.raises(ValueError, match="do not fit"):
        to_half(values, picture[:, :, :2])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("opencv_takes_16_bits", [False, True])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_codes_are_replaced_by_what_the_table_has(bits, opencv_takes_16_bits, kind, monkeypatch):
    if not opencv_takes_16_bits:
        monkeypatch.setattr(lookup, "_opencv_takes_16_bits", lambda: False)
    table = np.random.default_rng(bits).random(1 << bits).astype(kind)
    codes = np.arange(1 << bits, dtype=f"u{bits // 8}").reshape(-1, 16, 4)
    for part in (codes, codes[..., 0], codes[..., :3], codes[:, 2:5, 1]):
        expected, place = table[part], np.empty(part.shape, kind)
        np.testing.assert_array_equal(look_up_codes(table, part), expected)
        look_up_codes(table, part, place)
        np.testing.assert_array_equal(place, expected)
