"""Photographs become scenes: linear, exposed up, and unknown where they were clipped themselves."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.scenes.photographs import PhotographSet, cut, expand, linearise, read_photograph

SAMPLES = Path(__file__).parents[2] / "samples"


def test_light_is_inverse_srgb_and_unknown_around_clipped_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 240, (20, 30, 3)).astype(np.uint8)
    picture[10, 15, 1] = 254
    light, known = linearise(picture)
    np.testing.assert_allclose(light, srgb_to_linear(picture / 255), atol=1e-6)
    assert not known[9:12, 14:17].any()
    assert known.sum() == known.size - 9


@pytest.mark.parametrize("size", [32, 64, 200])
def test_a_crop_has_the_size_asked_for_and_its_unknown_pixels_come_from_clipped_ones(size: int) -> None:
    picture = np.full((100, 140, 3), 90, np.uint8)
    picture[40:50, 60:80] = 255
    rng = np.random.default_rng(size)
    for _ in range(10):
        light, known = cut(picture, rng, size)
        assert light.shape == (size, size, 3)
        assert known.shape == (size, size)
        np.testing.assert_allclose(light[known], srgb_to_linear(np.array(90 / 255)), rtol=1e-5)


@given(knee=st.floats(0.1, 0.9), top=st.floats(1.2, 8), hue=st.tuples(*[st.floats(0.05, 1)] * 3))
@settings(max_examples=50, deadline=None)
def test_expansion_rises_smoothly_from_the_knee_to_the_top_and_keeps_hues(
    knee: float, top: float, hue: tuple[float, float, float]
) -> None:
    ramp = np.linspace(0.001, 1, 400)[:, None, None] * (np.array(hue) / max(hue))
    result = expand(ramp.astype(np.float32), knee, top)
    largest = result.max(axis=-1)[:, 0]
    below = ramp.max(axis=-1)[:, 0] <= knee
    np.testing.assert_allclose(result[below], ramp[below], rtol=1e-5)
    assert largest[-1] == pytest.approx(top, rel=1e-4)
    assert (np.diff(largest) > 0).all()
    np.testing.assert_allclose(
        result / result.max(axis=-1, keepdims=True), ramp / ramp.max(axis=-1, keepdims=True), rtol=1e-4
    )


def test_random_crops_repeat_with_the_seed_and_most_clip() -> None:
    photographs = PhotographSet([SAMPLES / "china.jpg", SAMPLES / "coffee.png"])
    assert photographs.names == ["samples/china", "samples/coffee"]
    first, second = (
        [photographs.random_crop(rng, 64) for _ in range(12)] for rng in map(np.random.default_rng, (5, 5))
    )
    assert all(np.array_equal(a.light, b.light) for a, b in zip(first, second, strict=True))
    clipped = [(crop.light.max(axis=-1) >= 1)[crop.known].mean() for crop in first]
    assert np.mean(np.array(clipped) > 0.002) > 0.8
    assert all(np.isfinite(crop.light).all() and (crop.light >= 0).all() for crop in first)


def test_a_gray_file_has_three_channels_and_a_broken_one_is_one_line(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "gray.png"), np.full((8, 8), 77, np.uint8))
    assert (read_photograph(tmp_path / "gray.png") == 77).all()
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.jpg: is no picture by its content"):
        PhotographSet([tmp_path / "broken.jpg"])
