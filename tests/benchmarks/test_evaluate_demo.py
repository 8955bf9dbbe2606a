"""The judgement of the demo weights: what counts, what does not, and conversions that need no training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from baselines import BASELINES, channel_ratios
from evaluate_demo import NETWORK, aligned, delta_itp, evaluate, gain, isotonic, judged, summary
from held_out import CAMERAS, PEAK, HeldOutPicture, panorama_views, photographs
from hypothesis import given, settings
from hypothesis import strategies as st

from dcdr_deploy.imaging.transfer import linear_to_srgb, srgb_to_linear

HDRI = Path(__file__).parents[2] / "data" / "hdri"


def picture(seed: int = 0, unknown: int = 0) -> HeldOutPicture:
    """A picture of which the brightest tenth clips; the first rows are unknown."""
    light = np.exp(np.random.default_rng(seed).normal(-1, 1, (40, 60, 3))).astype(np.float32)
    light[:, :30] = np.minimum(light[:, :30], 0.9)  # nothing clips on the left
    ldr = np.rint(linear_to_srgb(np.clip(light, 0, 1)) * 255).astype(np.uint8)
    known = np.ones(ldr.shape[:2], bool)
    known[:unknown] = False
    return HeldOutPicture("x", "photograph", ldr, np.clip(light / PEAK, 0, 1), known)


def test_the_truth_gains_most_and_the_plain_conversion_nothing() -> None:
    truth = picture().truth
    figures = evaluate([picture()], {NETWORK: lambda ldr: truth}, everything=True, threads=1)
    found = summary(figures, NETWORK)
    assert found["clipped gain"] > 50
    assert found["worse"] == found["uv"] == 0
    assert found["itp"] < 1e-6 < found["itp plain"]
    assert summary(figures, "inverse sRGB")["clipped gain"] == 0


def test_what_nobody_knows_counts_nowhere() -> None:
    held = picture(unknown=10)
    plain = srgb_to_linear(held.ldr / np.float32(255)) / PEAK
    spoilt = plain.copy()
    spoilt[:10] = 0.9
    figures = judged(held, {"inverse sRGB": plain, "spoilt": spoilt}, everything=True)
    assert figures["spoilt"] == {key: pytest.approx(value) for key, value in figures["inverse sRGB"].items()}
    assert gain(figures["inverse sRGB"], figures["spoilt"], "clipped") == pytest.approx(0)


def test_a_wrong_tone_curve_is_forgiven_after_alignment_and_a_wrong_place_is_not() -> None:
    truth = picture().truth
    known = np.ones(truth.shape[:2], bool)
    assert np.abs(aligned(truth**0.7 * 0.8, truth, known) - truth).mean() < 0.02 * truth.mean()
    shifted = np.roll(truth, 7, axis=1)
    assert np.abs(aligned(shifted, truth, known) - truth).mean() > 0.3 * truth.mean()


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 3)), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_isotonic_regression_rises_keeps_the_mean_and_leaves_rising_values(pairs: list[tuple[float, float]]) -> None:
    values, weights = (np.array(column) for column in zip(*pairs, strict=True))
    fitted = isotonic(values, weights)
    assert (np.diff(fitted) >= -1e-12).all()
    assert (fitted * weights).sum() == pytest.approx((values * weights).sum(), abs=1e-9)
    np.testing.assert_allclose(isotonic(np.sort(values), weights), np.sort(values), atol=1e-12)


def test_delta_itp_of_grays_is_that_of_their_pq_codes() -> None:
    """ITU-R BT.2124: one step of a 10-bit PQ code is 720/1023 of the intensity axis, and gray has no chroma."""
    from dcdr_deploy.imaging.hdr_transfer import pq_decode

    a, b = (np.full((1, 3), pq_decode(code / 1023)) for code in (500, 501))
    assert delta_itp(a, b)[0] == pytest.approx(720 / 1023, rel=2e-3)
    assert delta_itp(np.array([[100.0, 0, 0]]), np.array([[0, 100.0, 0]]))[0] > 50


@pytest.mark.parametrize("name", list(BASELINES))
def test_conversions_rise_with_light_keep_grays_gray_and_stay_below_the_peak(name: str) -> None:
    ramp = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], 3, -1).repeat(64, 0)
    result = BASELINES[name](ramp, PEAK)
    assert (np.diff(result[0, :, 1]) >= -1e-4).all()
    np.testing.assert_allclose(result[..., 0], result[..., 2], rtol=1e-4, atol=1e-6)
    assert result.max() <= PEAK * 1.001


def test_bt2446_meets_its_fixed_points() -> None:
    """Method A takes white to 1,000 cd/m2; method C has slope 1 / k1 below 58.5 % and is continuous there."""
    white = np.ones((1, 1, 3), np.float32)
    assert BASELINES["BT.2446 A inverse"](white, PEAK)[0, 0, 0] == pytest.approx(PEAK, rel=0.01)
    low, high = (BASELINES["BT.2446 C inverse"](white * level, PEAK)[0, 0, 0] for level in (0.58499, 0.58501))
    assert low == pytest.approx(0.58499 / 0.83802, rel=1e-4)
    assert high == pytest.approx(low, rel=5e-3)


def test_a_clipped_channel_is_filled_by_its_neighbours_ratio() -> None:
    light = np.full((64, 64, 3), (0.8, 0.3, 0.1), np.float32)
    light[24:40, 24:40] *= 1.6  # the same surface, brighter: red clips
    filled = channel_ratios(np.minimum(light, 1), PEAK)
    assert filled[32, 32, 0] == pytest.approx(1.28, rel=0.03)
    np.testing.assert_array_equal(filled[:10], light[:10])


def test_views_are_the_same_every_time_and_of_every_place_alike() -> None:
    first, second = (list(panorama_views([HDRI], "validation", 32, most=8)) for _ in range(2))
    assert [a.name for a in first] == [b.name for b in second]
    assert all(np.array_equal(a.ldr, b.ldr) for a, b in zip(first, second, strict=True))
    assert len({each.name.split("#")[0] for each in first}) == 4


@pytest.mark.parametrize("camera", CAMERAS)
def test_photographs_clip_and_their_truth_lies_above_white(camera: str, tmp_path: Path) -> None:
    import cv2

    folder = tmp_path / "validation" / "own"
    folder.mkdir(parents=True)
    light = np.random.default_rng(0).integers(20, 230, (12, 16, 3)).astype(np.uint8)
    cv2.imwrite(str(folder / "a.png"), cv2.resize(light, (96, 72), interpolation=cv2.INTER_CUBIC))
    (held,) = photographs([tmp_path], "validation", 64, camera)
    assert held.ldr.shape == (48, 64, 3)
    clipped = (held.ldr.max(axis=-1) == 255) & held.known
    assert clipped.any()
    assert held.truth[clipped].max() * PEAK > 1
    if camera == "gray":
        assert (held.ldr == held.ldr[..., :1]).all()
        assert np.allclose(held.truth, held.truth[..., :1])
