"""Held-out pictures: the same every time, clipped, with a truth above white, and never enlarged."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from held_out import CAMERAS, PEAK, panorama_sources, panorama_views, photographs

HDRI = Path(__file__).parents[2] / "data" / "hdri"


def photograph_folder(folder: Path) -> Path:
    """A folder of validation with one photograph of 96 x 72 px."""
    own = folder / "validation" / "own"
    own.mkdir(parents=True)
    light = np.random.default_rng(0).integers(20, 230, (12, 16, 3)).astype(np.uint8)
    cv2.imwrite(str(own / "a.png"), cv2.resize(light, (96, 72), interpolation=cv2.INTER_CUBIC))
    return folder


def test_views_are_the_same_every_time_and_of_every_place_alike() -> None:
    first, second = (list(panorama_views([HDRI], "validation", 32, most=8)) for _ in range(2))
    assert [a.name for a in first] == [b.name for b in second]
    assert all(np.array_equal(a.ldr, b.ldr) for a, b in zip(first, second, strict=True))
    assert len({each.name.split("#")[0] for each in first}) == 4


def test_views_of_another_size_show_the_same_direction() -> None:
    (source,) = panorama_sources([HDRI], "validation", most=1)
    small, large = (source.render(size).truth for size in (32, 96))
    shrunk = cv2.resize(large, (32, 32), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(np.log(small.ravel() + 1e-3), np.log(shrunk.ravel() + 1e-3))[0, 1] > 0.98


@pytest.mark.parametrize("camera", CAMERAS)
def test_photographs_clip_and_their_truth_lies_above_white(camera: str, tmp_path: Path) -> None:
    (held,) = photographs([photograph_folder(tmp_path)], "validation", 64, camera)
    assert held.ldr.shape == (48, 64, 3)
    clipped = (held.ldr.max(axis=-1) == 255) & held.known
    assert clipped.any()
    assert held.truth[clipped].max() * PEAK > 1
    if camera == "gray":
        assert (held.ldr == held.ldr[..., :1]).all()
        assert np.allclose(held.truth, held.truth[..., :1])


@pytest.mark.parametrize(("size", "found"), [(96, [96]), (160, [96]), (192, [96]), (193, [])])
def test_photographs_are_never_enlarged_and_left_out_far_above_their_size(
    size: int, found: list[int], tmp_path: Path
) -> None:
    pictures = photographs([photograph_folder(tmp_path)], "validation", size)
    assert [max(each.ldr.shape) for each in pictures] == found
