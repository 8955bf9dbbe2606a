"""One law for each dial."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.transfer import luminance
from dcdr_deploy.run.dials import Dials, as_text, limited, saturated, turned_gain
from dcdr_deploy.run.gain import FLOOR, apply_gain, gain_of

LIGHT = np.array([[1.0, 0.95, 1.0], [1.0, 0.2, 0.0], [0.5, 0.5, 0.5]], np.float32)
EXCESS = np.array([[3.0, 1.0, 0.5], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
lights = arrays(np.float32, (4, 3), elements=st.floats(0, 7, width=32))


@pytest.mark.parametrize(
    "wrong",
    [
        {"strength": -0.1},
        {"strength": 2.1},
        {"strength": float("nan")},
        {"exposure": 17},
        {"exposure": float("inf")},
        {"max_boost": 0},
        {"max_boost": -1},
        {"max_boost": 1e-320},
        {"max_boost": 1e308},
        {"max_boost": float("nan")},
        {"saturation": -1},
        {"saturation": 2.5},
        {"protect_below": -1},
        {"protect_below": 254},
    ],
)
def test_a_value_out_of_range_is_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=name.replace("_", " ")):
        Dials(**wrong)


def test_strength_is_the_exponent_of_the_gain():
    once, twice = (turned_gain(LIGHT, EXCESS, Dials(strength=value)) for value in (1, 2))
    np.testing.assert_allclose(twice, once**2, rtol=1e-5)


@given(lights, lights)
def test_strength_0_gives_exactly_the_light_of_the_input(light, excess):
    assert np.array_equal(apply_gain(light, turned_gain(light, excess, Dials(strength=0))), light)


@given(lights, st.floats(0.25, 8))
def test_max_boost_is_never_exceeded_and_leaves_the_lower_half_alone(excess, most):
    gain = gain_of(np.ones_like(excess), excess)
    held = limited(gain, most)
    assert (np.log2(held) <= most * (1 + 1e-5)).all()
    low = np.log2(gain) <= most / 2
    assert np.array_equal(held[low], gain[low])


def test_the_shoulder_of_max_boost_is_smooth_and_rises_throughout():
    gain = np.exp2(np.linspace(0, 6, 6001)).astype(np.float32)[:, None].repeat(3, 1)
    slope = np.diff(np.log2(limited(gain, 2.0)[:, 0].astype(float)), axis=0) / 1e-3
    assert slope.min() >= -1e-3
    assert slope[:900] == pytest.approx(1, abs=2e-2)
    assert np.abs(np.diff(slope[::50])).max() < 0.06  # no corner


@given(lights, st.floats(0, 1))
def test_saturation_below_1_keeps_the_luminance_of_what_was_added(excess, saturation):
    np.testing.assert_allclose(luminance(saturated(excess, saturation)), luminance(excess), rtol=1e-4, atol=1e-5)


def test_saturation_0_adds_neutral_light_and_1_changes_nothing():
    assert np.ptp(saturated(EXCESS, 0), axis=-1).max() < 1e-6
    np.testing.assert_allclose(saturated(EXCESS, 1), EXCESS, atol=1e-6)


@given(lights, st.floats(0, 2))
def test_saturation_never_turns_added_light_into_removed_light(excess, saturation):
    assert (saturated(excess, saturation) >= 0).all()


def test_what_was_not_restored_is_no_matter_of_the_gain():
    dials = Dials(strength=1.7, max_boost=1, saturation=0.3)
    assert (turned_gain(LIGHT[2], EXCESS[2], dials) == 1).all()


def test_the_gain_of_black_is_held_by_the_floor():
    assert turned_gain(LIGHT[1], np.full(3, FLOOR, np.float32), Dials())[2] == pytest.approx(2)


def test_turned_dials_are_named_and_the_others_are_not():
    assert Dials().turned() == {}
    assert as_text(Dials(max_boost=1.5, protect_below=200).turned()) == {"maxBoost": "1.5", "protectBelow": "200"}
