"""The comparison that exports and engines are judged by: its pictures, its figures, its bounds."""

from __future__ import annotations

import numpy as np
import pytest

from dcdr_deploy.engines.compare import BUILT, EXPORTED, LARGEST_PSNR, compare, sample_tiles


def results(error: float = 0.0) -> np.ndarray:
    """Two results (2, 3, 8, 8), the second of which is off."""
    values = np.full((2, 3, 8, 8), 0.5, np.float32)
    values[1] += np.float32(error)
    return values


def test_the_worst_picture_counts():
    found = compare(results(0.01), results())
    assert found.psnr == pytest.approx(40, abs=1e-3)
    assert found.max_abs_error == pytest.approx(0.01, rel=1e-5)


def test_light_above_full_scale_may_differ_by_as_much_of_itself():
    found = compare(results(0.01) * 100, results() * 100)
    assert found.max_abs_error == pytest.approx(0.02, rel=1e-4)  # 51 for 50


def test_equal_results_have_a_psnr_that_json_can_hold():
    found = compare(results(), results())
    assert (found.psnr, found.max_abs_error, found.finite) == (LARGEST_PSNR, 0, True)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("bounds", [*BUILT.values(), *EXPORTED.values()])
def test_what_is_not_finite_is_in_no_bounds(wrong, bounds):
    found = compare(results(wrong), results())
    assert not found.finite
    assert not bounds.hold(found)


@pytest.mark.parametrize(
    ("bounds", "within", "beyond"),
    [
        (EXPORTED["fp32"], 0.9e-4, 1.2e-4),
        (EXPORTED["fp16"], 0.9e-3, 1.2e-3),  # 60 dB
        (BUILT["fp32"], 0.9e-4, 1.2e-4),  # 80 dB
        (BUILT["fp16"], 0.9 * 10**-2.5, 1.2 * 10**-2.5),  # 50 dB
    ],
)
def test_the_bounds_lie_where_they_are_documented(bounds, within, beyond):
    assert bounds.hold(compare(results(within), results()))
    assert not bounds.hold(compare(results(beyond), results()))


@pytest.mark.parametrize("size", [(4, 4), (64, 96), (256, 256)])
def test_sample_tiles_are_the_same_every_time(size: tuple[int, int]):
    tiles = sample_tiles(*size)
    assert (tiles.shape, tiles.dtype) == ((2, *size, 3), np.uint8)
    np.testing.assert_array_equal(tiles, sample_tiles(*size))


def test_sample_tiles_hold_clipped_lights_dark_corners_and_edges():
    for tile in sample_tiles(256, 256).astype(int):
        assert (tile >= 250).all(axis=-1).mean() > 0.005
        assert (tile.max(axis=-1) < 60).any() or (tile.min(axis=-1) < 10).any()
        assert len(np.unique(tile)) > 100
    assert np.abs(np.diff(sample_tiles(256, 256)[1].astype(int), axis=1)).max() > 200
