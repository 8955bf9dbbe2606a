"""The judgement of results: what counts, what does not, and figures that agree with the definitions of metrics/."""

from __future__ import annotations

import numpy as np
import pytest
from held_out import PEAK, HeldOutPicture
from hypothesis import given, settings
from hypothesis import strategies as st
from judgement import (
    NETWORK,
    PLAIN,
    Reference,
    evaluate,
    fitted_curve,
    gain,
    isotonic,
    itp_codes,
    itp_distance,
    judged,
    mu_codes,
    summary,
)

from dcdr_deploy.errors import NonFiniteError
from dcdr_deploy.imaging.hdr_transfer import pq_decode
from dcdr_deploy.imaging.transfer import linear_to_srgb, srgb_to_linear
from dcdr_deploy.metrics import pu21
from dcdr_deploy.metrics.psnr import clipped_region, mu_law


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
    figures = evaluate([picture()], {NETWORK: lambda ldr: truth}, everything=True)
    found = summary(figures, NETWORK)
    assert found["clipped gain"] > 50
    assert found["worse"] == found["uv"] == 0
    assert found["itp"] < 1e-6 < found["itp plain"]
    assert summary(figures, PLAIN)["clipped gain"] == 0


def test_figures_are_those_of_the_metrics_definitions() -> None:
    held = picture(unknown=5)
    result = np.clip(held.truth * 0.8 + 0.01, 0, 1)
    found = judged(held, {NETWORK: result}, everything=True)[NETWORK]
    error = ((mu_law(result) - mu_law(held.truth)) ** 2).mean(axis=-1)
    region = clipped_region(held.ldr)
    for name, mask in (("clipped", region), ("unclipped", ~region), ("everything", np.ones_like(region))):
        assert found[f"{name} count"] == (mask & held.known).sum()
        assert found[f"{name} sum"] == pytest.approx(error[mask & held.known].sum(), rel=1e-5)
    places = region & held.known
    codes = [pu21.encode(each[places] * 1000) for each in (result, held.truth)]
    assert found["pu sum"] == pytest.approx(((codes[0] - codes[1]) ** 2).mean(axis=-1).sum(), rel=1e-5)


def test_what_nobody_knows_counts_nowhere() -> None:
    held = picture(unknown=10)
    plain = srgb_to_linear(held.ldr / np.float32(255)) / PEAK
    spoilt = plain.copy()
    spoilt[:10] = 0.9
    figures = judged(held, {PLAIN: plain, "spoilt": spoilt}, everything=True)
    assert figures["spoilt"] == {key: pytest.approx(value) for key, value in figures[PLAIN].items()}
    assert gain(figures[PLAIN], figures["spoilt"], "clipped") == pytest.approx(0)


def test_a_picture_of_which_nothing_is_known_gives_no_figure_and_breaks_none() -> None:
    unknown, known = (
        evaluate([held], {NETWORK: lambda ldr: picture().truth}, True)["x"] for held in (picture(unknown=40), picture())
    )
    assert np.isnan(gain(unknown[PLAIN], unknown[NETWORK], "clipped"))
    assert np.isnan(summary({"a": unknown}, NETWORK)["median"])
    assert summary({"a": unknown, "b": known}, NETWORK)["median"] > 50


def test_a_network_that_gives_nan_has_no_figures_and_leaves_those_of_others() -> None:
    def failing(ldr: np.ndarray) -> np.ndarray:
        raise NonFiniteError("NaN in the tile at 0")

    (figures,) = evaluate([picture()], {"bad": failing, NETWORK: lambda ldr: picture().truth}).values()
    assert list(figures) == [PLAIN, NETWORK]


def test_a_wrong_tone_curve_is_forgiven_after_alignment_and_a_wrong_place_is_not() -> None:
    held = picture()
    truth, known = mu_codes(held.truth), held.known

    def left(result: np.ndarray) -> float:
        codes = mu_codes(result)
        return float(np.abs(np.interp(codes, *fitted_curve(codes, truth, known)) - truth).mean() / truth.mean())

    assert left(held.truth**0.7 * 0.8) < 0.02
    assert left(np.roll(held.truth, 7, axis=1)) > 0.3
    assert left(held.truth) < 1e-6


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
    a, b = (itp_codes(np.full((1, 3), pq_decode(code / 1023))) for code in (500, 501))
    assert itp_distance(a, b)[0] == pytest.approx(720 / 1023, rel=2e-3)
    red, green = (itp_codes(np.array([light])) for light in ([100.0, 0, 0], [0, 100.0, 0]))
    assert itp_distance(red, green)[0] > 50


def test_itp_of_a_colour_is_the_one_that_colour_science_prints() -> None:
    """The example of colour.RGB_to_ICtCp (BT.2100), BT.2020 in cd/m2; T is half of Ct (ITU-R BT.2124-0, annex 1)."""
    to_bt2020 = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    light = np.linalg.solve(to_bt2020, [0.45620519, 0.03081071, 0.04091952])
    np.testing.assert_allclose(itp_codes(light[None])[0], [0.07351364, 0.00475253 / 2, 0.09351596], atol=1e-8)


def test_the_region_is_that_of_the_evaluation() -> None:
    held = picture(unknown=3)
    found = np.zeros(held.known.shape, bool)
    found.ravel()[Reference(held, False).clipped] = True
    np.testing.assert_array_equal(found, clipped_region(held.ldr) & held.known)
