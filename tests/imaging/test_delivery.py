"""Relative light as PQ and HLG: values by the standards' formulas, roll-off, brightness, codes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.delivery import CodeRange, ContentLight, Delivery
from dcdr_deploy.imaging.hdr_transfer import eetf_bt2390, hlg_decode, pq_decode, pq_encode
from dcdr_deploy.imaging.light import PRIMARIES, Light

PEAK = 8.0
FULL_10, NARROW_10, FULL_16 = CodeRange(10), CodeRange(10, narrow=True), CodeRange(16)
BT2020 = np.array(
    [[0.6274039, 0.3292830, 0.0433131], [0.0690973, 0.9195404, 0.0113623], [0.0163914, 0.0880133, 0.8955953]]
)


def pq(**changed) -> Light:
    return Light(transfer="pq", **changed)


def gray(white_units: float) -> np.ndarray:
    return np.full((4, 6, 3), white_units / PEAK, np.float32)


def picture(rows: int = 150) -> np.ndarray:
    """Colours up to the peak, in more rows than are worked on at once."""
    return np.random.default_rng(4).random((rows, 40, 3), dtype=np.float32) ** 3


@pytest.mark.parametrize(("units", "nits"), [(1.0, 203), (0.18, 36.54), (2.5, 507.5)])
def test_pq_holds_relative_light_times_the_reference_white(units, nits):
    codes, _ = Delivery(pq(), PEAK).codes(gray(units), FULL_16, seed=None)
    assert pq_decode(codes / 65535) == pytest.approx(np.full(codes.shape, nits), rel=3e-4)


def test_another_reference_white_moves_all_light():
    codes, _ = Delivery(pq(reference_white=100), PEAK).codes(gray(1), FULL_16, seed=None)
    assert pq_decode(codes / 65535) == pytest.approx(np.full(codes.shape, 100), rel=3e-4)


@pytest.mark.parametrize(("codes", "white"), [(FULL_10, 594), (NARROW_10, 573), (CodeRange(12, True), 2292)])
def test_sdr_white_in_integer_codes(codes, white):
    """0.5807 of 1023; 64 + 0.5807 x 876; and 256 + 0.5807 x 3504, rounded up from 2290.9 by the next code's half."""
    found, _ = Delivery(pq(), PEAK).codes(gray(1), codes, seed=None)
    assert np.unique(found) == pytest.approx([codes.black + 0.58069 * (codes.white - codes.black)], abs=0.6)
    assert abs(int(found[0, 0, 0]) - white) <= 1


@pytest.mark.parametrize("primaries", ["rec2020", "p3", "rec709"])
def test_every_pixel_is_that_of_the_formulas(primaries):
    linear = picture()
    absolute = linear.astype(np.float64) @ p.from_rec709(PRIMARIES[primaries]).T * PEAK * 203
    largest = absolute.max(axis=-1, keepdims=True)
    rolled = absolute * eetf_bt2390(largest, PEAK * 203, 1000) / largest
    signals, _ = Delivery(pq(primaries=primaries), PEAK).signals(linear)
    assert np.abs(signals - pq_encode(rolled)).max() * 1023 < 0.03


def test_primaries_are_rec2020_where_none_are_asked_for():
    signals, _ = Delivery(pq(peak_nits=10_000), PEAK).signals(picture())
    assert np.abs(signals - pq_encode(picture() @ BT2020.T * PEAK * 203)).max() < 3e-5


def test_light_ends_at_the_peak_smoothly_and_hues_stay():
    colour = np.array([1.0, 0.5, 0.25], np.float32)
    row = (np.geomspace(0.1, 4, 400)[None, :, None] * colour).astype(np.float32)  # up to four times the model's peak
    delivery = Delivery(pq(primaries="rec709"), PEAK)
    nits = delivery.nits(row)[0]
    assert nits.max() == pytest.approx(1000, rel=1e-5)
    assert np.all(np.diff(nits[:, 0]) >= -0.001)
    assert nits[:, 1] / nits[:, 0] == pytest.approx(np.full(400, 0.5), rel=1e-3)
    low = row[0, :, 0] * PEAK * 203 < 700
    assert nits[low] == pytest.approx(row[0][low] * PEAK * 203, rel=1e-5)


def test_where_light_ends_may_be_told():
    """Two stops of exposure: the roll-off begins earlier and keeps differences that would end at the peak."""
    row = np.linspace(1, 4, 200, dtype=np.float32)[None, :, None].repeat(3, axis=2)
    short, long = (Delivery(pq(), PEAK, largest).nits(row)[0, :, 0] for largest in (None, 4 * PEAK))
    assert np.ptp(short) < 1e-3
    assert np.all(np.diff(long[long < 999]) > 0)
    assert np.ptp(long) > 90


def test_a_peak_above_the_light_changes_nothing():
    assert Delivery(pq(peak_nits=4000), PEAK).nits(picture()) == pytest.approx(
        picture() @ BT2020.T * PEAK * 203, rel=1e-4, abs=0.01
    )


def test_hlg_shows_the_same_light_on_its_nominal_display():
    linear = picture() * np.float32(0.4)  # within what HLG can show in every colour
    signals, _ = Delivery(Light(transfer="hlg"), PEAK).signals(linear)
    scene = hlg_decode(signals)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    shown = 1000 * scene * luminance[..., None] ** 0.2  # BT.2100's OOTF with gamma 1.2
    expected = linear @ BT2020.T * PEAK * 203
    assert shown == pytest.approx(expected, rel=4e-3, abs=0.05)


def test_diffuse_white_is_three_quarters_in_hlg():
    codes, _ = Delivery(Light(transfer="hlg"), PEAK).codes(gray(1), NARROW_10, seed=None)
    assert np.unique(codes).tolist() == [721]  # BT.2408-7, table 1: 75 %


def test_max_cll_and_max_fall_are_those_of_the_pixels():
    linear = np.zeros((100, 10, 3), np.float32)
    linear[:50] = 1 / PEAK
    linear[0, 0] = (0.25, 0, 0)
    _, level = Delivery(pq(primaries="rec709"), PEAK).codes(linear, FULL_10)
    assert level.max_cll == pytest.approx(406, rel=1e-5)
    assert level.max_fall == pytest.approx((499 * 203 + 406) / 1000, rel=1e-5)


def test_content_light_counts_what_is_left_by_the_roll_off():
    _, level = Delivery(pq(), PEAK).signals(gray(8))
    assert (level.max_cll, level.max_fall) == pytest.approx((1000, 1000), rel=1e-5)


def test_a_video_has_the_brightest_of_its_frames():
    assert ContentLight(900, 100).brightest(ContentLight(400, 200)) == ContentLight(900, 200)


def test_nan_negative_and_infinite_light():
    linear = np.full((3, 3, 3), 0.5 / PEAK, np.float32)
    linear[0, 0] = (np.nan, -1, 0.5 / PEAK)
    linear[1, 1] = np.inf
    linear[2, 2] = -0.0
    nits = Delivery(pq(primaries="p3"), PEAK).nits(linear)
    assert np.isfinite(nits).all()
    assert nits.min() >= 0
    assert nits[1, 1] == pytest.approx([1000] * 3, rel=1e-4)
    codes, level = Delivery(pq(), PEAK).codes(linear, FULL_10)
    assert codes[2, 2].max() == 0
    assert np.isfinite(level.max_fall)


def test_the_caller_keeps_its_picture():
    linear = picture()
    before = linear.copy()
    Delivery(pq(), PEAK).codes(linear, FULL_10)
    np.testing.assert_array_equal(linear, before)


def test_dithered_codes_have_the_mean_of_the_signal():
    linear = np.full((128, 128, 3), 0.3, np.float32)
    signals, _ = Delivery(pq(), PEAK).signals(linear)
    codes, _ = Delivery(pq(), PEAK).codes(linear, NARROW_10)
    assert len(np.unique(codes)) >= 2
    assert codes.mean() == pytest.approx(64 + signals[0, 0, 0] * 876, abs=0.02)


def test_a_dark_ramp_in_ten_bits_does_not_band():
    """From 1 to 1.2 cd/m2 over 1,024 columns: 6 codes of PQ."""
    row = np.linspace(1, 1.2, 1024, dtype=np.float32) / (203 * PEAK)
    linear = np.repeat(row[None, :, None], 128, axis=0).repeat(3, axis=2)
    signals, _ = Delivery(pq(), PEAK).signals(linear)
    banded, smooth = (Delivery(pq(), PEAK).codes(linear, FULL_10, seed=seed)[0] for seed in (None, 0))
    errors = [
        np.abs((codes - signals * 1023).reshape(128, -1, 32, 3).mean(axis=(0, 2, 3))).max()
        for codes in (banded, smooth)
    ]
    assert errors[0] > 0.3
    assert errors[1] < 0.05


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
@pytest.mark.parametrize("seed", [None, 0])
def test_codes_may_come_in_opencvs_order(transfer, seed):
    delivery = Delivery(Light(transfer=transfer), PEAK)
    codes, level = delivery.codes(picture(), FULL_10, seed=None)
    turned, same = delivery.codes(picture(), FULL_10, seed=seed, bgr=True)
    assert np.abs(turned[..., ::-1].astype(int) - codes).max() <= (0 if seed is None else 2)
    assert same.max_cll == pytest.approx(level.max_cll, rel=1e-6)


def test_linear_light_is_no_delivery():
    with pytest.raises(ValueError, match="linear"):
        Delivery(Light(transfer="linear"), PEAK)


@given(st.floats(0, 100), st.floats(1, 10_000), st.floats(1, 10_000), st.floats(0.5, 500))
def test_whatever_the_settings_brighter_light_is_never_darker(value, white, peak_nits, peak):
    delivery = Delivery(pq(reference_white=white, peak_nits=peak_nits), peak)
    pair = np.array([[[value] * 3, [value * 1.01] * 3]], np.float32)
    nits = delivery.nits(pair)[0, :, 0]
    assert nits[1] >= nits[0] * (1 - 2e-4)
    assert nits.max() <= peak_nits * (1 + 1e-5)
