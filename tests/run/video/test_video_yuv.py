"""Y'CbCr and R'G'B': every code is what the standards' formulae give."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.run.video.yuv import BT2020_LUMA, TOP, Layout, from_rgb, rgb_codes, to_rgb

LAYOUTS = [Layout(10, 2, 2), Layout(10, 2, 2, level=True), Layout(10, 2, 1), Layout(10), Layout(12)]
READ_LAYOUTS = [Layout(8, 2, 2), Layout(8, 2, 1), Layout(8, 4, 1), Layout(10), Layout(8, 2, 2, centred=True)]
BT709, BT601 = (0.2126, 0.0722), (0.299, 0.114)


def by_the_standard(rgb, luma, bits, full=False):
    """BT.709-6, items 3.2 to 3.5 in double precision: unrounded codes, (..., 3)."""
    red, blue = luma
    y = red * rgb[..., 0] + (1 - red - blue) * rgb[..., 1] + blue * rgb[..., 2]
    cb, cr = (rgb[..., 2] - y) / (2 * (1 - blue)), (rgb[..., 0] - y) / (2 * (1 - red))
    if full:
        top = 2**bits - 1
        return np.stack([y * top, cb * top + 2 ** (bits - 1), cr * top + 2 ** (bits - 1)], -1)
    step = 2 ** (bits - 8)
    return np.stack([(219 * y + 16) * step, (224 * cb + 128) * step, (224 * cr + 128) * step], -1)


def patches(seed=1):
    """8 x 8 patches of 16 x 16 pixels in random colours: their own values, and the picture."""
    colours = np.random.default_rng(seed).random((8, 8, 3)).astype(np.float32)
    return colours, np.repeat(np.repeat(colours, 16, axis=0), 16, axis=1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_codes_are_within_half_of_the_standards_value(layout):
    colours, picture = patches()
    y, cb, cr = from_rgb(cv2.split(picture), layout)
    expected = by_the_standard(colours.astype(np.float64), BT2020_LUMA, layout.bits)
    middle = slice(8, None, 16)
    of_chroma = slice(8 // layout.down, None, 16 // layout.down), slice(8 // layout.across, None, 16 // layout.across)
    for found, place in ((y[middle, middle], 0), (cb[of_chroma], 1), (cr[of_chroma], 2)):
        assert np.abs(found - expected[..., place]).max() <= 0.501


@pytest.mark.parametrize("luma", [BT709, BT601, BT2020_LUMA])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    "layout", [Layout(8, 2, 2), Layout(8, 2, 1), Layout(8, 4, 1), Layout(10), Layout(8, 2, 2, centred=True)]
)
def test_what_was_encoded_comes_back(layout, full, luma):
    colours, _ = patches()
    codes = np.rint(by_the_standard(colours.astype(np.float64), luma, layout.bits, full)).astype(np.uint16)
    kind = np.uint8 if layout.bits == 8 else np.uint16
    whole = np.repeat(np.repeat(codes, 16, axis=0), 16, axis=1).clip(0, 2**layout.bits - 1).astype(kind)
    chroma = whole[:: layout.down, :: layout.across]
    rgb = to_rgb((whole[..., 0], chroma[..., 1], chroma[..., 2]), layout, luma, full_range=full)
    found = rgb[8::16, 8::16] / TOP
    # A code of luma and one of chroma, of 219 and of 224 steps, both off by half at most.
    assert np.abs(found - colours).max() < (0.5 + 1.9 * 0.5) / 219 * 2 ** (8 - layout.bits)


@pytest.mark.parametrize(("across", "centred"), [(1, False), (2, False), (2, True), (4, False), (4, True)])
def test_chroma_lies_where_its_layout_says(across, centred):
    """A ramp of Cb over the luma samples, sampled at the places of chroma, is a ramp again."""
    width, luma = 64, (0.299, 0.114)
    ramp = np.arange(width) * 256 + 20000.0
    places = np.arange(0, width, across) + (across - 1) / 2 * centred
    cb = np.broadcast_to(np.interp(places, np.arange(width), ramp), (2, width // across)).round().astype(np.uint16)
    gray, cr = np.full((2, width), 1 << 15, np.uint16), np.full((2, width // across), 1 << 15, np.uint16)
    blue = to_rgb((gray, cb, cr), Layout(16, across, 1, centred=centred), luma, full_range=True)[0, :, 2]
    inner = slice(across, width - across)
    expected = (1 << 15) + 2 * (1 - luma[1]) * (ramp - (1 << 15))
    assert np.abs(blue.astype(float) - expected)[inner].max() < 4


@pytest.mark.parametrize("level", [False, True])
@pytest.mark.parametrize("rows", [64, 1000])  # in one strip, and in several
def test_chroma_lies_beside_the_upper_sample_or_in_the_middle(level, rows):
    luma = (0.299, 0.114)
    ramp = np.arange(rows) * (12000 / rows) + 28000.0
    places = np.arange(0, rows, 2) + 0.5 * (not level)
    cb = np.repeat(np.interp(places, np.arange(rows), ramp)[:, None], 8, axis=1).round().astype(np.uint16)
    gray, cr = np.full((rows, 16), 1 << 15, np.uint16), np.full((rows // 2, 8), 1 << 15, np.uint16)
    blue = to_rgb((gray, cb, cr), Layout(16, 2, 2, level=level), luma, full_range=True)[:, 5, 2]
    expected = (1 << 15) + 2 * (1 - luma[1]) * (ramp - (1 << 15))
    assert np.abs(blue.astype(float) - expected)[2:-2].max() < 3


@pytest.mark.parametrize("level", [False, True])
@pytest.mark.parametrize("rows", [16, 200])
def test_chroma_that_is_written_lies_where_its_layout_says(rows, level):
    """Sample (k, m) of a ramp of blue along both axes has its value at (2 k, 2 m) where chroma is level (H.273,
    Chroma420SampleLocType 2), else at (2 k + 0.5, 2 m) (type 0)."""
    luma = (0.299, 0.114)
    blue = np.arange(rows)[:, None] / rows * 0.5 + np.arange(24) / 24 * 0.5
    signal = np.zeros((rows, 24, 3), np.float32)
    signal[..., 2] = blue
    found = from_rgb(cv2.split(signal), Layout(16, 2, 2, level=level), luma)[1]
    row, column = np.arange(0, rows, 2)[:, None] + 0.5 * (not level), np.arange(0, 24, 2)
    expected = by_the_standard(
        np.stack([0 * row * column, 0 * row * column, row / rows * 0.5 + column / 48], -1), luma, 16
    )
    assert np.abs(found - expected[..., 1])[level:, 1:].max() < 1  # at the edge the sample beyond is the one before


@pytest.mark.parametrize("level", [False, True])
def test_stripes_as_fine_as_samples_leave_no_colour_in_chroma(level):
    """By weights of 1, 2, 1 and by the mean of two, stripes of blue and black become their mean."""
    for stripes in (np.indices((8, 12)).sum(axis=0) % 2, np.indices((8, 12))[1] % 2, np.indices((8, 12))[0] % 2):
        signal = np.zeros((8, 12, 3), np.float32)
        signal[..., 2] = stripes
        cb = from_rgb(cv2.split(signal), Layout(10, 2, 2, level=level), BT709)[1]
        cb = cb[1:, 1:]  # at the edge the sample beyond is the one before
        assert np.abs(cb - by_the_standard(np.array([0, 0, 0.5]), BT709, 10)[1]).max() <= 0.5


@given(st.sampled_from(LAYOUTS), st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(2, 35))
def test_a_picture_has_the_samples_of_its_strips(layout, pairs, columns):
    """However its rows are divided, where a strip comes with the rows above that it needs."""
    edges = np.cumsum([0, *pairs]) * 2
    signal = np.random.default_rng(columns).random((3, int(edges[-1]), 2 * columns), np.float32)
    parts = []
    for start, stop in itertools.pairwise(map(int, edges)):
        above = min(start, layout.rows_above)
        parts.append(from_rgb(signal[:, start - above : stop], layout, above=above))
    for whole, *strips in zip(from_rgb(signal, layout), *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(strips), whole)


def test_black_white_and_what_lies_beyond():
    luma = np.array([[0, 16, 235, 255]], np.uint8)
    neutral = np.full((1, 2), 128, np.uint8)
    rgb = to_rgb((luma, neutral, neutral), Layout(8, 2, 2), BT709, full_range=False)
    assert rgb[0, :, 0].tolist() == [0, 0, TOP, TOP]
    assert to_rgb((luma,), Layout(8), BT709, full_range=True)[0, :, 2].tolist() == [0, 16 * 257, 235 * 257, TOP]


def test_planes_of_rgb_need_no_matrix():
    planes = tuple(np.array([[value]], np.uint8) for value in (0, 128, 255))
    assert rgb_codes(planes, 8, full_range=True).tolist() == [[[0, 128 * 257, TOP]]]


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([(2, 2), (2, 1), (1, 1)]), st.integers(0, 255))
def test_a_flat_picture_of_any_size_stays_flat(rows, columns, sampling, chroma):
    layout = Layout(8, *sampling)
    planes = [np.full((rows, columns), 120, np.uint8)]
    planes += [np.full(layout.chroma_size(rows, columns), chroma, np.uint8)] * 2
    rgb = to_rgb(tuple(planes), layout, BT709, full_range=False)
    assert (rgb == rgb[0, 0]).all()


def test_chroma_on_the_left_and_in_the_middle_are_two_things():
    """A step in chroma between samples 1 and 2: on the left, luma sample 3 is half way; centred, 2 and 5 are."""
    luma = np.full((2, 8), 126, np.uint8)
    step = np.array([[128, 128, 168, 168]], np.uint8)
    flat = np.full((1, 4), 128, np.uint8)
    left, middle = (
        to_rgb((luma, step, flat), Layout(8, 2, 2, centred=centred), BT709, full_range=False)[0, :, 2].astype(int)
        for centred in (False, True)
    )
    rise = left[-1] - left[0]
    assert (left[3] - left[0]) / rise == pytest.approx(0.5, abs=1e-3)
    assert (middle[3] - middle[0]) / rise == pytest.approx(0.25, abs=1e-3)
    assert (middle[4] - middle[0]) / rise == pytest.approx(0.75, abs=1e-3)


def test_the_same_picture_whatever_its_strips():
    """Rows beyond a strip's end count too: a picture of many strips is the one of a single strip, row for row."""
    rng = np.random.default_rng(3)
    luma = rng.integers(16, 236, (150, 6), np.uint8)
    chroma = [rng.integers(16, 241, (75, 3), np.uint8) for _ in range(2)]
    whole = to_rgb((luma, *chroma), Layout(8, 2, 2), BT709, full_range=False)
    part = to_rgb((luma[60:70], *(plane[30:35] for plane in chroma)), Layout(8, 2, 2), BT709, full_range=False)
    assert (whole[62:68] == part[2:8]).all()
