"""Flicker: what changes in clipped areas from frame to frame, along a known motion, beyond what the input does."""

from __future__ import annotations

import numpy as np
import pytest

from dcdr_deploy.metrics.flicker import Flicker

SIZE = (60, 80)
ALL = np.ones(SIZE, np.float32)
STILL = np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0])), axis=-1).astype(np.float32)


def noise(seed, sigma):
    return np.random.default_rng(seed).normal(0, sigma, SIZE).astype(np.float32)


def measured(gains, inputs=None, clipped=ALL, places=STILL):
    found = Flicker()
    inputs = inputs or [np.zeros(SIZE, np.float32)] * len(gains)
    for number in range(1, len(gains)):
        pair = slice(number - 1, number + 1)
        found.add(tuple(gains[pair]), tuple(inputs[pair]), (clipped, clipped), places)
    return found


def test_it_is_the_variance_of_errors_that_are_new_in_every_frame() -> None:
    found = measured([2 + noise(number, 0.1) for number in range(6)])
    assert found.stops == pytest.approx(0.1, rel=0.05)
    assert found.count == 5 * ALL.size


def test_a_steady_error_is_no_flicker() -> None:
    assert measured([noise(0, 0.5)] * 4).variance == 0


def test_a_slow_change_hardly_counts() -> None:
    """A stop over a hundred frames."""
    assert measured([np.full(SIZE, number / 100, np.float32) for number in range(9)]).stops < 0.01


def test_what_the_input_does_itself_is_taken_off() -> None:
    gains = [noise(number, 0.1) for number in range(6)]
    inputs = [noise(number + 10, 0.06) for number in range(6)]
    assert measured(gains, inputs).stops == pytest.approx(0.08, rel=0.05)
    assert measured(gains, inputs).gain_stops == pytest.approx(0.1, rel=0.05)
    assert measured(inputs, gains).variance == 0


def test_points_are_followed_along_the_motion() -> None:
    scene = noise(0, 1)
    moving = [np.roll(scene, 3 * number, axis=1) for number in range(3)]
    places = STILL - np.array([3, 0], np.float32)
    followed = measured(moving, places=places)
    assert followed.variance == pytest.approx(0, abs=1e-9)
    assert followed.count == 2 * SIZE[0] * (SIZE[1] - 3)  # what comes in at the edge was not there before
    assert measured(moving).stops > 0.5


def test_between_pixels_the_finest_errors_come_out_smaller() -> None:
    """A mean of four has a quarter of the variance: half of 1 + 1/4 is measured."""
    found = measured([noise(number, 0.1) for number in range(6)], places=STILL + np.float32(0.5))
    assert found.variance == pytest.approx(0.01 * (1 + 1 / 4) / 2, rel=0.05)
    assert found.count == 5 * (SIZE[0] - 1) * (SIZE[1] - 1)


def test_only_points_that_had_clipped_in_both_frames_count() -> None:
    clipped = np.zeros(SIZE, np.float32)
    clipped[10:20, 10:20] = 1
    assert measured([noise(0, 1), noise(1, 1)], clipped=clipped).count == 100
    for before, now in ((clipped, 0 * ALL), (0 * ALL, clipped)):
        found = Flicker()
        found.add((noise(0, 1), noise(1, 1)), (ALL, ALL), (before, now), STILL)
        assert found.count == 0
    nothing = measured([noise(0, 1), noise(1, 1)], clipped=0 * ALL)
    assert np.isnan(nothing.stops)
    assert np.isnan(nothing.gain_stops)
