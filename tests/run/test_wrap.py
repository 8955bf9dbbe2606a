"""Panoramas have no seam where their edges meet."""

from __future__ import annotations

import numpy as np
import pytest
from bright_engine import BrightEngine
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.imaging import linear_to_srgb, srgb_to_linear
from dcdr_deploy.imaging.frame import Frame
from dcdr_deploy.run.dials import Dials
from dcdr_deploy.run.opening import RunnerSettings, open_runner
from dcdr_deploy.run.restore import restore
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.wrap import blend, half_turned, restore_panorama, weights


@given(width=st.integers(1, 40), height=st.integers(1, 5))
def test_what_does_not_look_at_edges_is_not_changed_by_wrapping(width, height):
    picture = np.random.default_rng(width).random((height, width, 3)).astype(np.float32)
    assert np.array_equal(blend(picture.copy(), half_turned(picture)), picture)


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


def panorama() -> np.ndarray:
    """(96, 192, 3) codes: a sky that is brightest, and clipped, around the seam."""
    y, x = np.mgrid[0:96, 0:192].astype(np.float32)
    angle = np.minimum(x + 0.5, 192 - x - 0.5) / 96
    light = np.exp(2.2 - 5 * angle - 0.8 * ((y - 30) / 40) ** 2)[..., None] * np.array([1.0, 0.9, 0.7]) + 0.1
    return np.rint(255 * np.clip(linear_to_srgb(light), 0, 1)).astype(np.uint8)


def test_exposure_changes_nothing_of_what_is_said_to_be_recovered():
    plain, exposed = (
        restore_panorama(Frame(panorama()), Runner(BrightEngine()), dials=Dials(exposure=stops)) for stops in (0, 3)
    )
    assert exposed.recovery.as_dict() == plain.recovery.as_dict()
    assert plain.recovery.stops_recovered == pytest.approx(2, abs=0.05)


# With the demo weights


@pytest.fixture(scope="module")
def demo():
    with open_runner(None, RunnerSettings(backend="onnxruntime")) as runner:
        yield runner


@pytest.mark.parametrize("scale", ["auto", "native"])
def test_clipped_light_over_the_seam_is_restored_as_anywhere_else(demo, scale):
    codes = panorama()
    clipped = codes.max(axis=-1) >= 254
    rows = clipped[:, 0] & clipped[:, -1]
    assert rows.sum() > 20

    def step(result):
        """Mean difference over the seam in stops, and between neighbours inside the clipped area."""
        stops = np.log2(result.linear.mean(axis=-1))
        inside = clipped[:, 3:20].all(axis=1)
        return np.abs(stops[rows, 0] - stops[rows, -1]).mean(), np.abs(np.diff(stops[inside, 3:20], axis=1)).mean()

    plain, _ = step(restore(Frame(codes), demo, scale))
    wrapped, neighbours = step(restore_panorama(Frame(codes), demo, scale))
    assert wrapped < 0.5 * plain
    assert wrapped < 2 * neighbours


def test_what_is_reported_is_that_of_the_blended_picture(demo):
    result = restore_panorama(Frame(panorama()), demo, keep_gain=True)
    assert result.run.tiles > 1
    assert result.gain_stops.dtype == np.float16
    light = srgb_to_linear(panorama() / 255)
    seen = light > 0.05
    gain = result.linear * 8 / light
    assert np.log2(gain[seen]) == pytest.approx(result.gain_stops[seen], abs=0.02)
    clipped = panorama().max(axis=-1) >= 254
    assert result.recovery.clipped == clipped.sum()
    assert result.recovery.stops_recovered <= np.log2(gain.max()) + 0.02
