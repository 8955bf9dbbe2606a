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


def of_gray(name: str, light: np.ndarray) -> np.ndarray:
    """What a conversion makes of grays, as 1,000 cd/m2 = 1 for method A, 100 cd/m2 = 1 for method C."""
    return BASELINES[name](np.repeat(light[None, :, None], 3, -1).astype(np.float32), PEAK)[0, :, 1]


def test_method_a_of_bt2446_is_undone_by_its_tone_mapping() -> None:
    """ITU-R BT.2446-1, table 2, 1,000 to 100 cd/m2: the inverse of its table 4 is a fit, within 1.2 % of the signal."""
    signal = np.linspace(0.02, 1, 99)
    luma = (of_gray("BT.2446 A inverse", signal**2.4) / PEAK) ** (1 / 2.4)
    hdr, sdr = (1 + 32 * (nits / 10_000) ** (1 / 2.4) for nits in (1000, 100))
    perceptual = np.log(1 + (hdr - 1) * luma) / np.log(hdr)
    middle = -1.1510 * perceptual**2 + 2.7811 * perceptual - 0.6302
    mapped = np.select([perceptual <= 0.7399, perceptual < 0.9909], [1.0770 * perceptual, middle], (perceptual + 1) / 2)
    np.testing.assert_allclose((sdr**mapped - 1) / (sdr - 1), signal, atol=0.012)


def test_method_c_of_bt2446_meets_the_levels_it_was_made_for() -> None:
    """ITU-R BT.2446-1, 6.1.4: skin, 70 % of SDR, at 50 % of HLG, and HDR's reference white, 203 cd/m2, at 96 %."""
    found = of_gray("BT.2446 C inverse", np.array([0.70, 0.96]) ** 2.4)
    np.testing.assert_allclose(found * 100, [1000 * (1 / 12) ** 1.2, 203], rtol=1e-3)


def test_reinhards_operator_is_undone_in_the_dark_too() -> None:
    """Reinhard et al. 2002, eq. 4."""
    display = np.geomspace(1e-5, 1, 100)
    light = of_gray("Reinhard inverse", display)
    np.testing.assert_allclose(light * (1 + light / PEAK**2) / (1 + light), display, rtol=1e-5)


def test_a_clipped_channel_is_filled_by_its_neighbours_ratio() -> None:
    light = np.full((64, 64, 3), (0.8, 0.3, 0.1), np.float32)
    light[24:40, 24:40] *= 1.6  # the same surface, brighter: red clips
    filled = channel_ratios(np.minimum(light, 1), PEAK)
    assert filled[32, 32, 0] == pytest.approx(1.28, rel=0.03)
    np.testing.assert_array_equal(filled[:10], light[:10])
