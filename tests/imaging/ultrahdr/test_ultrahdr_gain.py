"""The gain in stops, and as codes of a map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dcdr_deploy.imaging.ultrahdr import gain
from dcdr_deploy.imaging.ultrahdr.gain import LARGEST, OFFSET, Stops, encoded, measured, reduction
from dcdr_deploy.imaging.ultrahdr.metadata import DENOMINATOR

LIGHT = st.floats(0, 50, width=32)


def stops_of(sdr: np.ndarray, hdr: np.ndarray) -> Stops:
    return measured(*sdr.shape[:2], lambda start, stop: (sdr[start:stop], hdr[start:stop].copy()))


@given(arrays(np.float32, (5, 4, 3), elements=st.floats(0, 1, width=32)), arrays(np.float32, (5, 4, 3), elements=LIGHT))
def test_the_codes_give_the_light_back_within_half_a_step(sdr, hdr):
    codes, meaning = encoded(stops_of(sdr, hdr))
    codes = codes if codes.ndim == 3 else codes[..., None]
    step = (meaning.most - meaning.least) / 255
    stops = meaning.least + codes * step
    wanted = np.log2((np.minimum(hdr, LARGEST) + OFFSET) / (sdr + OFFSET))
    # Half a step, what half floats round, and what a gray map leaves out.
    assert np.abs(stops - wanted).max() <= step / 2 + 12 / 2048 + gain.GRAY_STOPS


@given(
    st.floats(-12, 0, width=32), st.floats(0, 12, width=32), st.integers(1, 40)
)  # black to the largest light is 12 stops
def test_no_change_is_a_whole_code(lowest, highest, size):
    values = np.linspace(lowest, highest, 3 * size, dtype=np.float32).reshape(1, size, 3)
    values[0, 0] = 0
    codes, meaning = encoded(Stops(values.astype(np.float16), lowest, highest, 1.0, 4.0))
    assert meaning.least + codes[0, 0, 0] / 255 * (meaning.most - meaning.least) == pytest.approx(0, abs=1e-9)
    assert meaning.least <= lowest + 1e-3
    assert meaning.most >= highest - 1e-3
    assert meaning.most > meaning.least


@given(st.floats(-12, 0), st.floats(0, 12), st.floats(0, LARGEST))
def test_what_both_standards_words_say_is_the_same_number(lowest, highest, brightest):
    _, meaning = encoded(Stops(np.zeros((1, 1, 3), np.float16), lowest, highest, 1.0, brightest))
    for value in (meaning.least, meaning.most, meaning.headroom):
        assert round(value * DENOMINATOR) / DENOMINATOR == value
        assert float(f"{value:.6f}") == value
    assert meaning.headroom > 0


def test_the_headroom_is_the_brightest_light():
    sdr = np.ones((4, 4, 3), np.float32)
    _, meaning = encoded(stops_of(sdr, sdr * 8))
    assert meaning.headroom == pytest.approx(3, abs=1e-6)
    assert meaning.channels == 1


def test_light_ends_where_pq_does_over_libultrahdrs_white():
    """10,000 cd/m2 over 203."""
    sdr = np.ones((4, 4, 3), np.float32)
    found = stops_of(sdr, sdr * 1000)
    assert found.brightest == pytest.approx(49.2611, abs=1e-4)
    assert float(found.values[0, 0, 0]) == pytest.approx(np.log2((49.2611 + 1 / 64) / (1 + 1 / 64)), abs=3e-3)


@pytest.mark.parametrize(
    ("megapixels", "factor"), [(0.1, 1), (8.3, 1), (15.9, 1), (24, 2), (50, 2), (100, 3), (200, 4)]
)
def test_maps_of_large_pictures_are_smaller(megapixels, factor):
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    assert reduction(width * 3 // 4, width) == factor


def test_a_smaller_map_holds_means_of_the_gain(monkeypatch):
    monkeypatch.setattr(gain, "MAP_PIXELS", 100 * 130 / 4 + 100)
    rng = np.random.default_rng(1)
    sdr = rng.random((101, 131, 3)).astype(np.float32)
    hdr = sdr * rng.uniform(1, 4, sdr.shape).astype(np.float32)
    found = stops_of(sdr, hdr).values
    assert found.shape == (51, 66, 3)
    wanted = np.log2((hdr + OFFSET) / (sdr + OFFSET))
    np.testing.assert_allclose(found[7, 9], wanted[14:16, 18:20].mean(axis=(0, 1)), atol=2e-3)
    np.testing.assert_allclose(found[50, 65], wanted[100, 130], atol=2e-3)  # the corner has one pixel
