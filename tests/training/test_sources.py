"""What holds for every generator of linear crops."""

from __future__ import annotations

import numpy as np
import pytest

from dcdr_deploy.training.synthetic import SOURCES


@pytest.mark.parametrize("name", SOURCES)
def test_one_seed_gives_one_picture(name: str) -> None:
    first, again, other = (SOURCES[name](np.random.default_rng(seed), 96) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("size", [32, 97])
@pytest.mark.parametrize("name", SOURCES)
def test_light_is_finite_and_positive(name: str, size: int) -> None:
    for seed in range(60):
        light = SOURCES[name](np.random.default_rng(seed), size)
        assert light.shape == (size, size, 3)
        assert light.dtype == np.float32
        assert np.isfinite(light).all()
        assert light.min() > 0
