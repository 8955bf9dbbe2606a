"""ColorVideoVDP through its package."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from dcdr_deploy.metrics import colorvideovdp
from dcdr_deploy.system.packages import install_line


def test_without_the_package_the_reason_is_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert install_line("cvvdp") in colorvideovdp.missing()


@pytest.mark.slow
def test_noise_costs_quality_and_identical_pictures_have_10():
    pytest.importorskip("pycvvdp")
    rng = np.random.default_rng(0)
    picture = 100 + 50 * rng.random((64, 96, 3))
    noisy = [picture * (1 + amplitude * rng.standard_normal(picture.shape)) for amplitude in (0.05, 0.3)]
    assert colorvideovdp.quality(picture, picture) == pytest.approx(10)
    assert 10 > colorvideovdp.quality(noisy[0], picture) > colorvideovdp.quality(noisy[1], picture)
