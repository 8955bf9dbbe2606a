"""SSIM against its formula, written out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("skimage")

from dcdr_deploy.metrics.ssim import ssim_map


def formula(a: np.ndarray, b: np.ndarray, data_range: float) -> np.ndarray:
    """Equation 13 of the publication over all windows that fit, (H - 10, W - 10)."""
    x = np.arange(-5, 6)
    line = np.exp(-(x**2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2

    def blurred(plane: np.ndarray) -> np.ndarray:
        return np.einsum("ijkl,kl->ij", np.lib.stride_tricks.sliding_window_view(plane, (11, 11)), weights)

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    covariance = blurred(a * b) - mean_a * mean_b
    return (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


@pytest.mark.parametrize("data_range", [1.0, 256.0])
def test_it_is_the_formula_wherever_a_window_fits(data_range):
    rng = np.random.default_rng(0)
    a = rng.random((24, 30)) * data_range
    b = np.clip(a + 0.1 * data_range * rng.standard_normal(a.shape), 0, data_range)
    found = ssim_map(a, b, data_range)
    assert found[5:-5, 5:-5] == pytest.approx(formula(a, b, data_range), rel=1e-6)
    assert np.isnan(found[:5]).all()
    assert np.isnan(found[:, -5:]).all()


def test_of_colour_it_is_the_mean_of_the_channels():
    rng = np.random.default_rng(0)
    a, b = rng.random((16, 16, 3)), rng.random((16, 16, 3))
    channels = [ssim_map(a[..., c], b[..., c], 1.0)[8, 8] for c in range(3)]
    assert ssim_map(a, b, 1.0)[8, 8] == pytest.approx(np.mean(channels))
