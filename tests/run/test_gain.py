"""What the network found at its working size, on the full picture: averaging, enlarging, and where the excess goes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dcdr_deploy.imaging.transfer import linear_to_srgb, srgb_to_linear
from dcdr_deploy.run.dials import NEUTRAL
from dcdr_deploy.run.enlargement import Enlargement
from dcdr_deploy.run.gain import (
    BEGIN,
    FLOOR,
    ExcessField,
    WorkingPicture,
    apply_gain,
    code_tables,
    excess_field,
    excess_of,
    gain_of,
    is_gray,
    log_gain_of,
    reconciled,
    working_codes,
)
from dcdr_deploy.run.strips import SecondPass, average_down, measured
from dcdr_deploy.run.video.yuv import Layout, to_rgb
from dcdr_deploy.system.strips import ROWS

PEAK = 8.0


def picture_of(size: tuple[int, int], seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max + 1, (*size, 3)).astype(dtype)


def area_average(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """By the definition: every cell is the mean over its area, with parts of pixels."""

    def matrix(full: int, small: int) -> np.ndarray:
        cell = np.arange(small)[:, None] * full / small
        pixel = np.arange(full)
        overlap = np.minimum(cell + full / small, pixel + 1) - np.maximum(cell, pixel)
        return np.maximum(overlap, 0) * small / full

    rows, columns = matrix(values.shape[0], size[0]), matrix(values.shape[1], size[1])
    return np.einsum("ab,bcd,ec->aed", rows, values.astype(np.float64), columns, optimize=True)


# Averaging down


@settings(max_examples=15)
@given(st.data())
def test_every_pixel_counts_by_its_area_in_linear_light(data):
    height, width = data.draw(st.integers(1, 3 * ROWS)), data.draw(st.integers(1, 90))
    size = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    codes = picture_of((height, width), seed=height, dtype=data.draw(st.sampled_from([np.uint8, np.uint16])))
    tables = code_tables(codes.dtype.itemsize * 8)
    small = average_down(codes, tables, size)
    light = srgb_to_linear(codes / np.iinfo(codes.dtype).max)
    np.testing.assert_allclose(small.light, area_average(light, size), atol=3e-6)
    largest = codes.max(axis=-1, keepdims=True)
    np.testing.assert_allclose(small.weight, area_average(tables.weight[largest], size), atol=3e-6)
    np.testing.assert_allclose(small.clipped, area_average(tables.clipped[largest], size), atol=3e-6)


@pytest.mark.parametrize(("luma", "clipped"), [(235, 1), (234, 1), (233, 0)])
def test_a_code_of_a_video_is_clipped_where_it_rounds_to_a_clipped_one_of_8_bits(luma, clipped):
    """234 of limited range is 253.84 of 255: blocks of a compressed sky would keep SDR white beside restored ones."""
    planes = tuple(np.full((2, 2), value, np.uint8) for value in (luma, 128, 128))
    codes = to_rgb(planes, Layout(8), (0.2126, 0.0722), full_range=False)
    assert set(code_tables(16).clipped[codes].ravel()) == {clipped}
    light = code_tables(16).light
    assert measured(codes, codes.max(axis=-1), light, 2 * light[codes]).clipped == clipped * 4


def test_working_codes_are_what_an_engine_reads_as_the_same_light():
    light = np.linspace(0, 1, 3000, dtype=np.float32).reshape(100, 10, 3)
    np.testing.assert_allclose(srgb_to_linear(working_codes(light) / 65535), light, atol=2e-5)


# Enlarging


@settings(max_examples=30)
@given(st.data())
def test_any_part_of_an_enlargement_is_bilinear_between_pixel_centres(data):
    h, w = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    height, width = data.draw(st.integers(h, 80)), data.draw(st.integers(w, 80))
    field = np.random.default_rng(h * w).random((h, w, 4), np.float32)
    start, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    stop, right = data.draw(st.integers(start + 1, height)), data.draw(st.integers(left + 1, width))
    whole = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, 4)
    part = Enlargement(field, (height, width)).part(start, stop, left, right)
    np.testing.assert_allclose(part, whole[start:stop, left:right], atol=1e-5)


# The excess


def second_pass(codes: np.ndarray, size: tuple[int, int], factor: float, *, gray: bool = False) -> np.ndarray:
    """Light (H, W, 3) for a network that finds that clipped channels were ``factor`` times as bright."""
    tables = code_tables(codes.dtype.itemsize * 8)
    small = average_down(codes, tables, size)
    result = small.light + (factor - 1) * area_average(tables.clipped[codes], size).astype(np.float32)
    field = excess_field(small, result, PEAK, gray=gray, pixels_per_cell=codes.shape[0] / size[0])
    return SecondPass(codes, codes, tables, NEUTRAL, PEAK).from_field(field).linear * PEAK


def test_wires_before_a_blown_sky_stay_as_they_are_and_the_sky_is_lit_up_to_their_edges():
    codes = np.full((96, 96, 3), 255, np.uint8)
    codes[:, ::12] = 40  # a wire every 12 pixels; a cell is 8 pixels wide, so all cells are mixed
    light = second_pass(codes, (12, 12), factor=4)
    assert np.array_equal(light[:, ::12], np.float32(srgb_to_linear(np.float32(40 / 255))) + np.zeros((96, 8, 3)))
    sky = light[codes[..., 0] == 255]
    np.testing.assert_allclose(sky, 4, rtol=1e-3)


def test_there_is_no_halo_beside_a_blown_area():
    codes = np.full((160, 160, 3), 60, np.uint8)
    codes[:80] = 255
    light = second_pass(codes, (20, 20), factor=5)
    np.testing.assert_allclose(light[:80], 5, rtol=1e-4)
    np.testing.assert_allclose(light[80:], srgb_to_linear(60 / 255), rtol=1e-6)


def test_a_channel_gains_what_the_network_found_for_it():
    codes = np.full((64, 64, 3), 255, np.uint8)
    codes[..., 1:] = 100
    light = second_pass(codes, (16, 16), factor=3)
    np.testing.assert_allclose(light[..., 0], 3, rtol=1e-4)
    np.testing.assert_allclose(light[..., 1:], srgb_to_linear(100 / 255), rtol=1e-6)


def test_bright_pixels_far_from_anything_clipped_keep_their_light():
    codes = np.full((200, 200, 3), 252, np.uint8)  # nearly clipped all over
    codes[:20, :20] = 255
    light = second_pass(codes, (50, 50), factor=4)
    np.testing.assert_allclose(light[40:, 40:], srgb_to_linear(252 / 255), rtol=1e-6)
    assert light[5, 5, 0] > 3.5


def test_no_excess_takes_light_away():
    codes = np.full((32, 32, 3), 255, np.uint8)
    np.testing.assert_allclose(second_pass(codes, (8, 8), factor=0.5), 1, rtol=1e-6)


def test_no_excess_goes_beyond_the_peak():
    codes = np.full((32, 32, 3), 255, np.uint8)
    assert second_pass(codes, (8, 8), factor=100).max() == pytest.approx(PEAK)


def test_a_gray_picture_gains_neutral_light():
    codes = np.full((32, 32, 3), 255, np.uint8)
    tables = code_tables(8)
    small = average_down(codes, tables, (8, 8))
    tinted = small.light * np.array([3, 2, 5], np.float32)
    field = excess_field(small, tinted, PEAK, gray=True, pixels_per_cell=4)
    light = SecondPass(codes, codes, tables, NEUTRAL, PEAK).from_field(field).linear
    assert np.ptp(light, axis=-1).max() == 0
    assert light[0, 0, 0] * PEAK == pytest.approx(1 + 0.2126 * 2 + 0.7152 + 0.0722 * 4, rel=1e-4)


def uniform_field(size: tuple[int, int], excess: float) -> ExcessField:
    one = np.ones((*size, 1), np.float32)
    return ExcessField(log_gain_of(np.full((*size, 3), excess, np.float32)), one, one)


@given(st.floats(0, 7), st.floats(0, 7))
def test_of_two_working_sizes_the_lower_gain_in_stops_counts_twice(fine, coarse):
    found = reconciled(uniform_field((6, 8), fine), uniform_field((2, 3), coarse))
    assert found.weighted.shape == (6, 8, 3)
    lower, higher = sorted(np.log2([1 + fine, 1 + coarse]))
    np.testing.assert_allclose(found.weighted, 2 ** ((2 * lower + higher) / 3) - 1, rtol=1e-4, atol=1e-5)


def test_which_is_lower_is_asked_of_every_channel_and_place():
    fine, coarse = uniform_field((2, 2), 3), uniform_field((1, 1), 1)
    fine.log_gain[0, 0] = np.log([1, 2, 8])
    stops = reconciled(fine, coarse).log_gain / np.log(2)
    np.testing.assert_allclose(stops[0, 0], [1 / 3, 1, 5 / 3], rtol=1e-5)
    np.testing.assert_allclose(stops[1, 1], 4 / 3, rtol=1e-5)


def test_two_sizes_that_agree_are_believed():
    fine = uniform_field((4, 4), 3)
    found = reconciled(fine, uniform_field((2, 2), 3))
    np.testing.assert_allclose(found.log_gain, fine.log_gain, rtol=1e-5)
    assert found.near is fine.near


@settings(max_examples=20)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_what_is_found_in_a_gray_picture_is_gray_to_the_bit_whatever_its_size(height, width, seed):
    def found(size: tuple[int, int], cell: float) -> ExcessField:
        light = np.repeat(rng.random((*size, 1), np.float32), 3, axis=2)
        picture = WorkingPicture(light, *rng.random((2, *size, 1), np.float32))
        codes = working_codes(light)
        assert np.ptp(codes, axis=-1).max() == 0
        result = light * rng.uniform(0.5, 8, light.shape).astype(np.float32)
        return excess_field(picture, result, PEAK, gray=True, pixels_per_cell=cell)

    rng = np.random.default_rng(seed)
    both = reconciled(found((height, width), 1), found((-(-height // 3), -(-width // 3)), 3))
    assert np.ptp(both.log_gain, axis=-1).max() == 0
    assert np.ptp(both.weighted, axis=-1).max() == 0


@given(arrays(np.float32, (5, 3), elements=st.floats(0, 64, width=32)))
def test_an_excess_is_what_its_gain_says(excess):
    np.testing.assert_allclose(log_gain_of(excess), np.log1p(excess.astype(float)), atol=1e-6)
    np.testing.assert_allclose(excess_of(log_gain_of(excess)), excess, rtol=1e-5, atol=1e-6)


def test_a_working_picture_made_smaller_is_the_picture_averaged_to_that_size():
    codes = picture_of((96, 128), seed=3)
    tables = code_tables(8)
    twice, once = average_down(codes, tables, (48, 64)).reduced((12, 16)), average_down(codes, tables, (12, 16))
    for part in ("light", "weight", "clipped"):
        np.testing.assert_allclose(getattr(twice, part), getattr(once, part), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_is_what_differs_by_no_more_than_rounding(dtype):
    step = int(np.iinfo(dtype).max) // 255
    gray = np.full((70, 8, 3), 100 * step, dtype)
    assert is_gray(gray)
    gray[68, 3, 1] += 2 * step
    assert is_gray(gray)
    gray[68, 3, 1] += step
    assert not is_gray(gray)


def test_codes_count_as_clipped_from_254_on_and_not_at_all_up_to_the_beginning():
    tables = code_tables(8)
    assert not tables.weight[: BEGIN + 1].any()
    assert tables.weight[254:].tolist() == [1, 1]
    assert (np.diff(tables.weight) >= 0).all()
    assert np.flatnonzero(tables.clipped).tolist() == [254, 255]


@given(arrays(np.float32, (5, 3), elements=st.floats(0, 8, width=32)), st.floats(0, 7))
def test_a_gain_carries_all_of_the_excess(light, excess):
    gain = gain_of(light, np.full_like(light, excess))
    np.testing.assert_allclose(apply_gain(light, gain), light + np.float32(excess), rtol=2e-3, atol=FLOOR * 1e-2)


@given(arrays(np.float32, (5, 3), elements=st.floats(0, 8, width=32)))
def test_a_gain_of_one_leaves_light_as_it_is_to_the_bit(light):
    assert np.array_equal(apply_gain(light, np.ones_like(light)), light)


def test_the_tables_are_the_srgb_curve():
    np.testing.assert_allclose(linear_to_srgb(code_tables(8).light.astype(float)) * 255, np.arange(256), atol=1e-3)
