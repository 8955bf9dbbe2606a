"""u'v' chromaticity: places that the standards print, and distances that brightness does not change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.metrics.chromaticity import DARKEST, uv_difference, uv_prime

CHANNEL = st.floats(0.01, 1.0)


def picture(*colour: float) -> np.ndarray:
    return np.full((2, 3, 3), colour)


@pytest.mark.parametrize(
    ("colour", "place"),
    [
        ((1, 1, 1), (0.1978, 0.4683)),  # D65
        ((1, 0, 0), (0.4507, 0.5229)),
        ((0, 1, 0), (0.1250, 0.5625)),
        ((0, 0, 1), (0.1754, 0.1579)),
    ],
)
def test_white_and_primaries_lie_where_rec_709_puts_them(colour, place) -> None:
    assert uv_prime(*colour) == pytest.approx(place, abs=1e-4)


@given(st.tuples(CHANNEL, CHANNEL, CHANNEL), st.floats(1.0, 50.0))
def test_brightness_does_not_matter(colour, gain) -> None:
    bright = picture(*(gain * channel for channel in colour))
    assert uv_difference(bright, picture(*colour)).max() < 1e-9


def test_the_distance_is_the_one_in_the_diagram() -> None:
    a, b = uv_prime(1.2, 1.3, 0.5), uv_prime(1.7, 1.1, 0.5)
    found = uv_difference(picture(1.2, 1.3, 0.5), picture(1.7, 1.1, 0.5))
    assert found.shape == (2, 3)
    assert found == pytest.approx(np.hypot(a[0] - b[0], a[1] - b[1]))


def test_black_and_negative_light_count_as_the_darkest_grey() -> None:
    assert uv_difference(picture(0, -0.1, 0), picture(DARKEST, DARKEST, DARKEST)).max() == 0
