"""The gate's arithmetic: pooled errors, regions, gains; checked on predictions whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from dcdr_deploy.metrics.psnr import PooledError, clipped_region, mu_law, psnr_l, psnr_mu
from dcdr_deploy.training.heldout import HeldOutPair, HeldOutReport, baseline, judge


def pair(name: str, clipped: bool) -> HeldOutPair:
    ldr = np.full((40, 40, 3), 100, np.uint8)
    truth = np.rint(baseline(ldr.astype(np.float32) / 255, 8.0) * 65535).astype(np.uint16)
    if clipped:
        ldr[18:22, 18:22] = 255
        truth[18:22, 18:22] = 40_000
    return HeldOutPair(name, ldr, truth)


def test_mu_law_maps_0_to_0_and_1_to_1() -> None:
    assert mu_law(np.array([0.0, 1.0, -1.0, 2.0])).tolist() == [0.0, 1.0, 0.0, 1.0]
    assert mu_law(np.array(0.1)) == pytest.approx(np.log(2) / np.log(11))


def test_psnr_of_a_constant_error() -> None:
    truth = np.full((4, 4, 3), 0.5)
    assert psnr_l(truth + 0.1, truth) == pytest.approx(20.0)
    assert psnr_l(truth, truth) == float("inf")
    assert psnr_mu(truth + 0.1, truth) == pytest.approx(-20 * np.log10(mu_law(np.array(0.6)) - mu_law(np.array(0.5))))


def test_the_clipped_region_is_a_square_around_each_clipped_pixel() -> None:
    ldr = np.zeros((30, 40, 3), np.uint8)
    ldr[10, 20, 1] = 254
    ldr[0, 0, 0] = 253  # not clipped
    region = clipped_region(ldr, surround=8)
    expected = np.zeros((30, 40), bool)
    expected[2:19, 12:29] = True
    assert np.array_equal(region, expected)


def test_pooled_errors_weigh_every_pixel_alike() -> None:
    pool = PooledError()
    mask = np.ones((2, 2), bool)
    pool.add(np.full((2, 2, 3), 0.1), np.zeros((2, 2, 3)), mask)
    pool.add(np.zeros((2, 2, 3)), np.zeros((2, 2, 3)), mask)
    assert pool.psnr == pytest.approx(-10 * np.log10(0.005))


def test_the_baseline_gains_nothing_over_itself() -> None:
    report = judge([pair("a", True), pair("b", True)], lambda ldr: baseline(ldr, 8.0), 8.0)
    assert report.clipped.gain == report.everything.gain == report.median_crop_gain == 0


def test_restoring_clipped_pixels_shows_in_the_clipped_region_only() -> None:
    def halfway(ldr: np.ndarray) -> np.ndarray:
        result = baseline(ldr, 8.0)
        result[ldr.max(axis=-1) == 1] = 0.35
        return result

    report = judge([pair("a", True)], halfway, 8.0)
    assert report.clipped.gain > 3
    assert report.unclipped.gain == 0
    assert report.crop_gains["a"] == pytest.approx(report.everything.gain)


def test_crops_that_became_worse_are_not_hidden() -> None:
    report = judge([pair("good", True), pair("bad", False)], lambda ldr: baseline(ldr, 8.0) + 0.01, 8.0)
    assert report.crop_gains["bad"] < -20
    assert report.summary()["worst_crop_gain"] < -20


def test_a_cast_shows_in_the_colours_and_too_little_light_does_not() -> None:
    def lit(*colour: float) -> HeldOutReport:
        def predict(ldr: np.ndarray) -> np.ndarray:
            result = baseline(ldr, 8.0)
            result[ldr.max(axis=-1) == 1] = colour
            return result

        return judge([pair("a", True), pair("b", False)], predict, 8.0)

    dim, green = lit(0.3, 0.3, 0.3), lit(0.5, 0.61, 0.5)
    assert dim.colour.network == pytest.approx(0, abs=1e-9)
    assert green.colour.network > 0.01
    assert green.clipped.gain > 3  # decibels praise it
    assert list(green.crop_colours) == ["a"]  # where nothing clips there is nothing to judge
    assert green.summary()["uv_worst_crop_gain"] < -0.01


def test_without_clipping_there_are_no_colours_to_judge() -> None:
    report = judge([pair("b", False)], lambda ldr: baseline(ldr, 8.0), 8.0)
    assert not report.crop_colours
    assert not any(key.startswith("uv_") for key in report.summary())
