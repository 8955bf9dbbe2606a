"""What was recovered, in numbers and a word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.run.gain import code_tables
from dcdr_deploy.run.recovery import Recovery
from dcdr_deploy.run.strips import measured


def recovery_of(codes: np.ndarray, gain: float) -> Recovery:
    light = code_tables(8).light
    return measured(codes, codes.max(axis=-1), light, light[codes] * np.float32(gain))


def test_a_picture_in_which_nothing_clips_says_so():
    found = recovery_of(np.full((8, 8, 3), 253, np.uint8), 2)
    assert found.as_dict() == {"clipped_share": 0, "stops_recovered": 0, "recovery": "nothing clipped"}


def test_a_clipped_channel_beside_sound_ones_is_restored():
    codes = np.full((10, 10, 3), 120, np.uint8)
    codes[:5, :5, 0] = 255
    found = recovery_of(codes, 4)
    assert found.as_dict() == {"clipped_share": 0.25, "stops_recovered": 2, "recovery": "restored"}


def test_pixels_of_which_nothing_is_left_are_guessed():
    codes = np.full((10, 10, 3), 255, np.uint8)
    codes[:4, :, 2] = 100
    assert recovery_of(codes, 1.5).word == "mostly guessed"


def test_as_many_guessed_as_restored_is_not_mostly_guessed():
    codes = np.full((10, 10, 3), 255, np.uint8)
    codes[:5, :, 2] = 100
    assert recovery_of(codes, 1.5).word == "restored"


@pytest.mark.parametrize("code", [(255, 255, 255), (255, 90, 90)])
def test_where_nothing_came_back_nothing_was_restored_or_guessed(code):
    codes = np.full((10, 10, 3), code, np.uint8)
    for gain in (1, 1.03):
        assert recovery_of(codes, gain).word == "nothing recovered"
    assert recovery_of(codes, 1.04).word != "nothing recovered"


@given(st.floats(1, 200))
def test_stops_are_the_99th_percentile_of_the_gain_to_a_hundredth(gain):
    found = recovery_of(np.full((12, 12, 3), 255, np.uint8), gain)
    assert found.stops_recovered == pytest.approx(np.log2(gain), abs=0.011)


@pytest.mark.parametrize(("glints", "stops"), [(1, 1), (2, 6)])
def test_one_glint_in_a_hundred_pixels_does_not_count_as_what_was_recovered(glints, stops):
    codes = np.full((10, 10, 3), 255, np.uint8)
    light = np.ones(256, np.float32)
    result = np.full(codes.shape, 2, np.float32)
    result[0, :glints] = 64
    assert measured(codes, codes.max(axis=-1), light, result).stops_recovered == pytest.approx(stops, abs=0.01)


@given(st.integers(1, 9))
def test_parts_add_up_to_the_whole(row):
    codes = np.random.default_rng(row).integers(240, 256, (10, 16, 3)).astype(np.uint8)
    whole, first, second = (recovery_of(part, 3) for part in (codes, codes[:row], codes[row:]))
    assert (first + second).as_dict() == whole.as_dict()
