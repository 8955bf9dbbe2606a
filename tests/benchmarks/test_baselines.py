"""Conversions that need no training."""

from __future__ import annotations

import numpy as np
import pytest
from baselines import BASELINES, channel_ratios
from held_out import PEAK


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
