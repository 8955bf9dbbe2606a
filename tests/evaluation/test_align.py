"""Relative HDR is brought to its truth's scale before it is measured, in the ways of the literature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dcdr_deploy.errors import InputError
from dcdr_deploy.evaluation import EvaluationSettings, HdrOptions, align, evaluate, find_pairs
from dcdr_deploy.imaging import write_image


def scene(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(-2, 1.2, (40, 50, 3))).astype(np.float32)


@given(stops=st.floats(-8, 8), seed=st.integers(0, 9))
def test_a_gain_takes_any_exposure_out(stops, seed):
    truth = scene(seed)
    prediction = truth * np.float32(2**stops)
    aligned, gain = align.by_gain(prediction, truth)
    np.testing.assert_allclose(aligned, truth, rtol=1e-5)
    assert np.log2(gain) == pytest.approx(-stops, abs=1e-4)
    assert align.stops_apart(prediction, truth) == pytest.approx(stops, abs=1e-4)


def test_the_gain_is_the_best_by_least_squares_in_log_light():
    truth, prediction = scene(0), scene(1)
    aligned, _ = align.by_gain(prediction, truth)

    def error(pixels):
        weights = np.array([0.2126, 0.7152, 0.0722])
        return float(((np.log(pixels @ weights) - np.log(truth @ weights)) ** 2).mean())

    assert error(aligned) < min(error(aligned * 1.01), error(aligned * 0.99))


def test_percentiles_are_mapped_to_1_and_999():
    mapped = align.by_percentiles(5 * scene() + 0.3)
    assert np.percentile(mapped, [0.1, 99.9]) == pytest.approx([1, 999], rel=1e-4)
    assert mapped.min() >= 0
    np.testing.assert_allclose(mapped, align.by_percentiles(scene()), rtol=1e-3, atol=0.01)


def test_what_lies_far_below_the_percentiles_becomes_black():
    pixels = scene() + 1
    pixels[3, 4] = -50
    assert (align.by_percentiles(pixels)[3, 4] == 0).all()


@pytest.mark.parametrize("curve", [lambda x: x**0.6, lambda x: 3 * x**1.5, lambda x: x / (1 + x), lambda x: 0.1 * x])
def test_a_curve_takes_any_monotone_tone_curve_out(curve):
    truth = scene()
    unclipped = np.ones(truth.shape[:2], np.bool_)
    aligned = align.by_curve(curve(truth).astype(np.float32), truth, unclipped)
    inner = (truth > np.percentile(truth, 2)) & (truth < np.percentile(truth, 98))
    np.testing.assert_allclose(aligned[inner], truth[inner], rtol=0.03)


def test_where_the_truth_falls_as_the_prediction_rises_the_curve_is_flat_at_its_mean():
    prediction = scene()
    truth = 1 / prediction
    aligned = align.by_curve(prediction, truth, np.ones(truth.shape[:2], np.bool_))
    inner = (prediction > np.percentile(prediction, 2)) & (prediction < np.percentile(prediction, 98))
    np.testing.assert_allclose(aligned[inner], np.exp(np.log(truth).mean()), rtol=1e-3)


def test_a_curve_forgives_nothing_inside_clipped_areas():
    truth = np.minimum(scene(), 0.9)
    truth[10:20, 10:20] = 8
    prediction = truth**0.5
    prediction[10:20, 10:20] = 1  # nothing restored
    unclipped = truth.max(axis=-1) < 1
    aligned = align.by_curve(prediction, truth, unclipped)
    assert aligned[~unclipped].max() < 1.5
    sound = unclipped & (truth.min(axis=-1) > np.percentile(truth, 2)) & (truth.max(axis=-1) < 0.8)
    np.testing.assert_allclose(aligned[sound], truth[sound], rtol=0.05)


def test_the_curve_is_monotone_whatever_the_two_hold():
    prediction, truth = scene(2), scene(3)
    aligned = align.by_curve(prediction, truth, np.ones(truth.shape[:2], np.bool_))
    ordered = aligned.ravel()[np.argsort(prediction.ravel())]
    assert (np.diff(ordered) >= -1e-4 * ordered[:-1]).all()


@pytest.mark.parametrize("picture", [np.zeros((20, 20, 3), np.float32), np.ones((20, 20, 3), np.float32)])
def test_what_gives_no_alignment_says_so(picture):
    if picture.max() == 0:
        with pytest.raises(align.CannotAlignError):
            align.by_gain(picture, scene()[:20, :20])
        assert np.isnan(align.stops_apart(picture, picture))
    with pytest.raises(align.CannotAlignError):
        align.by_percentiles(picture)


# Over files


@pytest.fixture
def folders(tmp_path):
    """Three predictions that are right but for a factor of 1, 1/2 and 100."""
    for name, factor in (("a", 1), ("b", 0.5), ("c", 100)):
        write_image(tmp_path / f"pred/{name}.exr", scene() * np.float32(factor / 8), peak=8, metadata={"peak": "8"})
        write_image(tmp_path / f"gt/{name}.exr", scene() / np.float32(8), peak=8)
        sdr = np.rint(255 * np.clip(scene(), 0, 1) ** (1 / 2.2)).astype(np.uint8)
        (tmp_path / "ldr").mkdir(exist_ok=True)
        Image.fromarray(sdr).save(tmp_path / f"ldr/{name}.png")
    return tmp_path


def score(folder, mode, *more, **options):
    pairs = find_pairs(folder / "pred", folder / "gt", *more)
    return evaluate(pairs, EvaluationSettings(("psnr-l",), align=mode, jobs=1, **options))


def test_without_alignment_pairs_that_are_half_a_stop_apart_are_told(folders):
    report = score(folders, "none")
    assert [pair.name for pair in report.misaligned] == ["b", "c"]
    assert [pair.stops for pair in report.pairs] == pytest.approx([0, -1, np.log2(100)], abs=0.01)
    images = report.as_dict()["images"]
    assert images[1]["median_stops_above_truth"] == pytest.approx(-1, abs=0.01)


@pytest.mark.parametrize("mode", ["gain", "percentile", "curve"])
def test_alignment_makes_predictions_perfect_that_are_but_for_a_factor(folders, mode):
    report = score(folders, mode, folders / "ldr")
    assert report.align == mode
    # Halves of another exposure differ by their rounding.
    assert min(pair.scores["image"]["psnr-l"] for pair in report.pairs) > 55


def test_the_curve_needs_the_sdr_pictures(folders):
    with pytest.raises(InputError, match="`ldr`"):
        score(folders, "curve")
    with pytest.raises(InputError, match="unknown alignment 'best'"):
        EvaluationSettings(align="best")


def test_masked_pixels_count_in_no_figure(folders):
    broken = scene().copy()
    broken[5:8, 5:9] = np.nan
    import OpenEXR

    OpenEXR.File({}, {"RGB": broken}).write(str(folders / "pred/a.exr"))
    report = score(folders, "none", full_scale=8)
    assert report.pairs[0].masked == 12
    assert report.masked == 12
    assert report.pairs[0].scores["image"]["psnr-l"] > 60
    with pytest.raises(InputError, match=r"a\.exr: holds NaN or infinity in 12 pixels"):
        score(folders, "none", full_scale=8, reading=HdrOptions(strict=True))
