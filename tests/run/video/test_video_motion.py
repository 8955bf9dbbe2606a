"""Block motion and scene cuts on small pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcdr_deploy.run.video.cuts import distance, histograms, is_cut
from dcdr_deploy.run.video.motion import block_motion


def texture(seed=0, size=(96, 144)):
    grain = np.random.default_rng(seed).random(size).astype(np.float32)
    smooth = cv2.GaussianBlur(grain, (0, 0), 2.5)
    return cv2.normalize(smooth, None, 0.1, 0.8, cv2.NORM_MINMAX)


def shifted(luma, x, y):
    """The picture moved to the right and down by parts of a pixel."""
    matrix = np.float32([[1, 0, x], [0, 1, y]])
    return cv2.warpAffine(luma, matrix, luma.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def vectors(motion):
    height, width = motion.residual.shape
    return motion.places - np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)


@settings(max_examples=12, deadline=None)
@given(st.floats(-10, 10), st.floats(-8, 8), st.integers(0, 3))
def test_a_picture_that_moves_as_a_whole_is_followed_to_a_third_of_a_pixel(x, y, seed) -> None:
    luma = texture(seed)
    found = vectors(block_motion(luma, shifted(luma, x, y)))[24:-24, 24:-24]
    assert np.abs(np.median(found, axis=(0, 1)) - (-x, -y)).max() < 1 / 3


def test_a_picture_larger_than_is_searched_is_followed_too() -> None:
    luma = texture(size=(300, 800))
    found = vectors(block_motion(luma, shifted(luma, 9, -4)))[40:-40, 40:-40]
    assert np.abs(np.median(found, axis=(0, 1)) - (-9, 4)).max() < 0.5


@pytest.mark.parametrize("size", [(1, 1), (1, 800), (800, 1), (2, 800)])
def test_a_picture_of_a_row_or_a_column_has_a_motion_too(size) -> None:
    motion = block_motion(texture(size=size), texture(1, size))
    assert motion.places.shape == (*size, 2)
    assert np.isfinite(motion.places).all()


def test_white_that_has_clipped_goes_with_what_is_around_it() -> None:
    luma = texture()
    luma[30:60, 40:90] = 1
    found = vectors(block_motion(luma, shifted(luma, 4, 2)))[40:56, 56:80]
    assert np.abs(found - (-4, -2)).max() < 0.5


def test_a_picture_that_stands_still_does_not_move_for_its_noise() -> None:
    luma, rng = texture(), np.random.default_rng(1)
    noisy = [luma + rng.normal(0, 0.02, luma.shape).astype(np.float32) for _ in range(2)]
    assert np.abs(vectors(block_motion(*noisy))).max() < 0.25
    flat = np.full((40, 50), 1, np.float32)
    assert np.abs(vectors(block_motion(flat, flat))).max() == 0


def test_where_there_is_no_such_picture_the_difference_is_large() -> None:
    luma = texture()
    other = luma.copy()
    other[:, 72:] = texture(5)[:, 72:]
    residual = block_motion(luma, other).residual
    assert residual[:, :50].max() < 0.01 < 0.05 < residual[:, 100:].mean()


def test_what_comes_from_outside_is_empty() -> None:
    luma = texture()
    motion = block_motion(luma, shifted(luma, 12, 0))
    moved = motion.moved(np.ones((*luma.shape, 2), np.float32))
    assert moved[:, :6].max() == 0
    assert moved[12:-12, 24:].min() > 0.99


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (17, 23), (64, 64)])
def test_pictures_of_any_size_have_a_motion(size) -> None:
    luma = np.random.default_rng(0).random(size).astype(np.float32)
    motion = block_motion(luma, luma)
    assert motion.places.shape == (*size, 2)
    assert motion.residual.max() < 0.02  # a hundredth of a pixel of noise


def test_another_scene_is_a_cut_and_a_moving_one_is_none() -> None:
    scene = texture(size=(96, 144))
    scene[:48] += 0.2
    tunnel = texture(3) * 0.4
    assert is_cut(histograms(scene), histograms(tunnel))
    assert not is_cut(histograms(scene), histograms(shifted(scene, 8, 3)))
    assert not is_cut(histograms(scene), histograms(scene * 0.97))


def test_like_brightness_elsewhere_is_a_cut() -> None:
    """The histogram of the whole picture would be the same."""
    halves = np.zeros((64, 96), np.float32)
    halves[:, :48] = 0.9
    assert distance(histograms(halves), histograms(halves[:, ::-1])) == pytest.approx(1)


def test_the_distance_of_a_picture_to_itself_is_zero() -> None:
    spread = histograms(texture())
    assert distance(spread, spread) == 0
    assert np.allclose(spread.sum(axis=1), 1)
