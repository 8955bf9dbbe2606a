"""Panoramas have no seam where their edges meet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.run.wrap import blend, half_turned, weights


@given(width=st.integers(1, 40), height=st.integers(1, 5))
def test_what_does_not_look_at_edges_is_not_changed_by_wrapping(width, height):
    picture = np.random.default_rng(width).random((height, width, 3)).astype(np.float32)
    assert blend(picture.copy(), half_turned(picture)) == pytest.approx(picture, abs=1e-6)


@given(width=st.integers(2, 4000))
def test_each_result_counts_nothing_at_its_own_edges(width):
    share = weights(width)
    back = width // 2
    assert max(share[0], share[-1]) <= 4 / width**2 * 3 + 1e-9
    opposite = (1 - share)[np.array([back - 1, back]) % width]
    assert opposite.max() <= 3 * (3 / width) ** 2 + 1e-9
    assert share.min() >= 0
    assert share.max() <= 1


def looks_around(picture: np.ndarray) -> np.ndarray:
    """A stand-in for a network: a mean over 31 columns that takes what lies outside for black."""
    padded = np.pad(picture, ((0, 0), (15, 15), (0, 0)))
    return np.stack([padded[:, i : i + 31].mean(axis=1) for i in range(picture.shape[1])], axis=1).astype(np.float32)


def test_the_step_over_the_seam_is_that_of_other_neighbours():
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    picture = np.repeat((2 + np.sin(angle + 0.7))[None, :, None], 3, axis=2).repeat(4, axis=0).astype(np.float32)
    plain = looks_around(picture)
    wrapped = blend(looks_around(picture), looks_around(half_turned(picture)))

    def step(result):
        return float(np.abs(result[:, 0] - result[:, -1]).max() / np.abs(np.diff(result[:, 60:140], axis=1)).max())

    assert step(plain) < 10  # both edges are dark, so that they differ little, ...
    assert plain[:, 0].mean() < 0.7 * picture[:, 0].mean()  # ... and darker than the picture
    assert step(wrapped) < 1.5
    assert wrapped == pytest.approx(picture, rel=0.06)
