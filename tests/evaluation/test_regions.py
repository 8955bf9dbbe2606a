"""Clipped pixels, their surround, and the paper's rule for Test Set 2."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dcdr_deploy.evaluation.regions import REGIONS, is_overexposed, read_ldr

MASKS = {region.name: region.mask for region in REGIONS if region.mask is not None}


@pytest.fixture
def ldr() -> np.ndarray:
    picture = np.full((40, 50, 3), 100, np.uint8)
    picture[20, 25, 2] = 254
    return picture


def test_one_channel_at_254_is_clipped(ldr):
    assert np.argwhere(MASKS["clipped"](ldr)).tolist() == [[20, 25]]


def test_the_surround_reaches_8_pixels_and_leaves_out_what_is_clipped(ldr):
    surround = MASKS["surround"](ldr)
    assert surround.sum() == 17 * 17 - 1
    assert surround[12:29, 17:34].sum() == surround.sum()
    assert not surround[20, 25]


def test_both_together_are_the_third_region(ldr):
    both = MASKS["clipped"](ldr) | MASKS["surround"](ldr)
    assert np.array_equal(MASKS["clipped+surround"](ldr), both)


def bright(share: float, code: int) -> np.ndarray:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture.reshape(-1, 3)[: round(share * 10000)] = code
    return picture


@pytest.mark.parametrize(
    ("share", "code", "selected"), [(0.0291, 241, True), (0.029, 241, False), (0.5, 240, False), (1.0, 255, True)]
)
def test_test_set_2_is_grayscale_above_240_on_more_than_29_thousandths(share, code, selected):
    assert is_overexposed(bright(share, code)) == selected


@pytest.mark.parametrize(("blue", "selected"), [(127, False), (128, True)])
def test_gray_weighs_the_channels_as_rec_601(blue, selected):
    """ITU-R BT.601-7, 2.5.1: gray 240.41 and 240.52, of which the former rounds to 240. By Rec. 709 both are 246."""
    yellow = np.full((10, 10, 3), 255, np.uint8)
    yellow[..., 2] = blue
    assert is_overexposed(yellow) == selected


def test_16_bit_pictures_are_rounded_to_8(tmp_path):
    Image.fromarray(np.array([[0, 65535, 254 * 257, 240 * 257 + 128]], np.uint16)).save(tmp_path / "a.png")
    assert read_ldr(tmp_path / "a.png")[0, :, 0].tolist() == [0, 255, 254, 240]
