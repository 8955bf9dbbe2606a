"""Statistics of offsets say what the offsets are."""

from __future__ import annotations

import numpy as np
import pytest

from dcdr_deploy.models.offsets import spread


def test_the_spread_of_known_values() -> None:
    values = np.array([[-3.0, 1.0], [0.0, 2.0]], np.float32)
    figures = spread(values)
    assert figures["mean_abs"] == pytest.approx(1.5)
    assert figures["max"] == 3.0
    assert figures["std"] == pytest.approx(values.std(ddof=1))


def test_the_99th_percentile_leaves_out_the_farthest_hundredth() -> None:
    values = np.concatenate([np.full(995, 0.5), np.full(5, 9.0)])
    assert spread(values)["p99"] == 0.5
