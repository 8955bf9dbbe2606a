"""sRGB transfer function."""

import numpy as np
import pytest

from dcdr_deploy.imaging import linear_to_srgb, luminance, srgb_to_linear


@pytest.mark.parametrize(
    ("encoded", "linear"),
    [(0.0, 0.0), (0.04045, 0.0031308), (0.5, 0.21404114), (118 / 255, 0.18116424), (1.0, 1.0)],
)
def test_known_pairs_of_the_standard(encoded, linear):
    assert srgb_to_linear(np.array([encoded]))[0] == pytest.approx(linear, abs=1e-7)
    assert linear_to_srgb(np.array([linear]))[0] == pytest.approx(encoded, abs=1e-6)


@pytest.mark.parametrize("top", [255, 65535])
def test_every_code_survives_the_round_trip_in_float32(top):
    codes = np.arange(top + 1)
    back = linear_to_srgb(srgb_to_linear((codes / top).astype(np.float32)))
    assert back.dtype == np.float32
    np.testing.assert_array_equal(np.rint(back * top), codes)


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (7,), (5, 4), (3, 5, 3), (2, 3, 2, 2)])
def test_float32_is_encoded_as_float64_but_for_rounding_in_any_shape(shape):
    linear = np.random.default_rng(0).uniform(-1, 4, shape)
    encoded = linear_to_srgb(np.float32(linear) if shape == () else linear.astype(np.float32))
    assert encoded.shape == shape
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded, linear_to_srgb(linear), atol=1e-6)


def test_decoding_is_strictly_increasing_through_the_knee_and_beyond_white():
    assert np.all(np.diff(srgb_to_linear(np.linspace(-0.5, 2, 5001))) > 0)


def test_power_segment_goes_on_above_one_and_the_curve_is_odd_below_zero():
    assert srgb_to_linear(np.array([2.0]))[0] == pytest.approx(((2 + 0.055) / 1.055) ** 2.4)
    x = np.linspace(0, 1, 100)
    np.testing.assert_array_equal(srgb_to_linear(-x), -srgb_to_linear(x))


def test_luminance_weighs_rec709_and_gives_one_for_white():
    assert luminance(np.ones((2, 3, 3))) == pytest.approx(np.ones((2, 3)))
    assert luminance(np.eye(3)).tolist() == pytest.approx([0.2126, 0.7152, 0.0722])
