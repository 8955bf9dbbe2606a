"""Smoothing inside white areas: nothing that is finer than what is seen of them from outside, and nothing else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from bright_engine import PEAK, BrightEngine
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.run.gain import ExcessField, excess_of, log_gain_of
from dcdr_deploy.run.restore import restore
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.smoothing import SHARE, SIGMAS, smoothed

HEIGHT, WIDTH = 96, 160


def field_of(excess: np.ndarray, certainty: np.ndarray | float = 1.0) -> ExcessField:
    sure = np.broadcast_to(np.float32(certainty), (*excess.shape[:2], 1))
    return ExcessField(log_gain_of(excess.astype(np.float32)), sure, np.ones_like(sure))


def smoothed_excess(field: ExcessField, light: np.ndarray) -> np.ndarray:
    return excess_of(smoothed(field, light).log_gain)


def threads(period: float, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(h, w, 3) excess of 1 with stripes of 0.2 across."""
    wave = 1 + 0.2 * np.sin(np.arange(width) * (2 * np.pi / period) + 0.3)
    return np.broadcast_to(wave[None, :, None], (height, width, 3)).astype(np.float32)


def light_with(white: np.ndarray) -> np.ndarray:
    return np.repeat(np.where(white, 1.0, 0.3)[..., None], 3, axis=2).astype(np.float32)


def distance_inside(white: np.ndarray) -> np.ndarray:
    return cv2.distanceTransform(white.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


@st.composite
def white_areas(draw: st.DrawFn) -> np.ndarray:
    """(h, w) bool: a few rectangles, none or all of it."""
    white = np.zeros((draw(st.integers(1, 80)), draw(st.integers(1, 80))), bool)
    for _ in range(draw(st.integers(0, 3))):
        top, left = draw(st.integers(0, white.shape[0] - 1)), draw(st.integers(0, white.shape[1] - 1))
        white[top : top + draw(st.integers(1, 80)), left : left + draw(st.integers(1, 80))] = True
    return white


@given(white_areas(), st.integers(0, 2**32 - 1))
def test_outside_of_white_areas_nothing_changes_and_inside_nothing_goes_beyond_what_is_there(white, seed):
    field = field_of(np.random.default_rng(seed).random((*white.shape, 3)).astype(np.float32))
    given, found = field.log_gain, smoothed(field, light_with(white)).log_gain
    assert np.array_equal(found[~white], given[~white])
    if white.any():
        assert given[white].min() - 1e-4 <= found[white].min()
        assert found[white].max() <= given[white].max() + 1e-4


@given(white_areas(), st.floats(0, 7), st.integers(0, 2**32 - 1))
def test_light_without_detail_stays_however_certain_its_cells_are(white, level, seed):
    certainty = np.random.default_rng(seed).uniform(0.9, 1, (*white.shape, 1))
    field = field_of(np.full((*white.shape, 3), level, np.float32), certainty)
    assert smoothed_excess(field, light_with(white)) == pytest.approx(level, abs=1e-4)


@given(white_areas(), st.integers(0, 2**32 - 1))
def test_nothing_comes_in_from_beyond_a_white_area(white, seed):
    rng = np.random.default_rng(seed)
    one, other = (rng.random((*white.shape, 3)).astype(np.float32) for _ in range(2))
    other[white] = one[white]
    light = light_with(white)
    one, other = (smoothed_excess(field_of(each), light) for each in (one, other))
    assert one[white] == pytest.approx(other[white], abs=1e-6)


@pytest.mark.parametrize("period", [2.5, 4, 8])
def test_threads_go_where_they_are_finer_than_their_distance_from_the_edge_tells(period):
    white = np.zeros((240, 320), bool)
    white[8:-8, 8:-8] = True
    excess = threads(period, *white.shape)
    found = smoothed_excess(field_of(excess), light_with(white))
    deep = distance_inside(white) > 2 * period / SHARE
    assert deep.any()
    assert np.abs(found - 1)[deep].max() < 0.01
    # Beside the edge the picture still tells of them.
    edge = white & (distance_inside(white) <= 1)
    assert np.abs(found - excess)[edge].max() < 0.2 * SHARE / SIGMAS[0] + 0.01


def test_a_picture_that_is_white_all_over_loses_its_threads():
    left = smoothed_excess(field_of(threads(8)), np.ones((HEIGHT, WIDTH, 3), np.float32)) - 1
    assert np.abs(left).max() < 0.01


def test_a_sun_as_wide_as_half_of_its_area_keeps_most_of_its_light():
    rows, columns = np.mgrid[:161, :161] - 80
    radius = np.hypot(rows, columns)
    sun = 1 + 5 * np.exp(-0.5 * (radius / 32) ** 2)
    found = smoothed_excess(field_of(np.repeat(sun[..., None], 3, axis=2)), light_with(radius < 72))
    assert found[80, 80, 0] - 1 > 0.75 * 5


def test_one_channel_that_still_tells_of_the_light_keeps_all_of_it():
    light = np.ones((HEIGHT, WIDTH, 3), np.float32)
    light[..., 2] = 0.8
    field = field_of(threads(4))
    assert smoothed(field, light) is field


def test_a_restored_picture_shows_no_threads_of_the_network_in_its_white():
    def threaded(light: np.ndarray) -> np.ndarray:
        return light + 0.2 + 0.05 * np.sin(np.arange(light.shape[-1]) * (np.pi / 2)).astype(np.float32)

    codes = np.full((256, 320, 3), 255, np.uint8)
    engine = BrightEngine(threaded)
    assert np.ptp(Runner(engine).run(codes)) * PEAK > 0.09
    assert np.ptp(restore(codes, Runner(engine)).linear) * PEAK < 0.002
