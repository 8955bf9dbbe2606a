"""Where tiles lie: all sizes, tiles, overlaps and multiples keep the same few promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dcdr_deploy.errors import InputError
from dcdr_deploy.run import tiling
from dcdr_deploy.run.tiling import cut, feather_weights, merge, plan_fixed_tiles, plan_tiles, reflected_indices

lengths = st.integers(1, 200)
multiples = st.sampled_from([1, 2, 4, 8])


def plan_or_skip(height: int, width: int, tile: int | None, overlap: int, multiple: int) -> tiling.TilePlan:
    try:
        return plan_tiles(height, width, tile, overlap, multiple)
    except InputError:
        assume(False)
        raise


@given(lengths, lengths, st.integers(1, 220), st.integers(0, 60), multiples)
@settings(max_examples=200, deadline=None)
def test_tiles_cover_the_axis_with_enough_context(height: int, width: int, tile: int, overlap: int, multiple: int):
    plan = plan_or_skip(height, width, tile, overlap, multiple)
    for axis in (plan.rows, plan.columns):
        assert axis.size % multiple == 0
        assert axis.size <= tile
        assert all(origin % multiple == 0 for origin in axis.origins)
        reached = 0
        for index, origin in enumerate(axis.origins):
            start, feathered, stop = axis.kept(index)
            assert start <= reached == feathered  # the feather lies on what is there already, without a gap behind it
            assert feathered < stop
            assert start - origin == (0 if index == 0 else overlap)  # context before ...
            assert index == len(axis.origins) - 1 or origin + axis.size - stop == overlap  # ... and behind
            reached = stop
        assert reached == axis.length
        padding = axis.origins[-1] + axis.size - axis.length
        assert 0 <= padding < multiple


@given(lengths, st.integers(8, 100), st.integers(0, 20), multiples)
@settings(max_examples=100, deadline=None)
def test_one_tile_less_would_not_do(length: int, tile: int, overlap: int, multiple: int):
    axis = plan_or_skip(length, 1, tile, overlap, multiple).rows
    count = len(axis.origins)
    assume(count > 1)
    most = tile // multiple * multiple
    shared = axis.size - max(np.diff(axis.origins))
    assert (count - 1) * most - (count - 2) * shared < -(-length // multiple) * multiple


def test_tiles_are_even():
    axis = plan_tiles(100, 1, 64, 0, 4).rows
    assert (axis.size, axis.origins) == (60, (0, 40))  # not 64 and a sliver; they share 20, at least the feather of 16


def test_no_tile_means_the_whole_frame_in_one():
    plan = plan_tiles(31, 50, None, 300, 8)
    assert [str(tile) for tile in plan] == ["x 0..55, y 0..31"]
    assert plan.tile_size == (32, 56)


def test_fixed_tiles_keep_their_size():
    plan = plan_fixed_tiles(20, 100, (32, 48), 4, 4)
    assert plan.tile_size == (32, 48)
    assert len(plan.rows.origins) == 1
    assert plan.columns.origins[-1] + 48 == 100
    assert plan.columns.kept(1)[:2] == (plan.columns.origins[1] + 4, plan.columns.origins[0] + 44)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((100, 100, 64, 32, 4), "leaves nothing of a tile of 64"),
        ((100, 100, 3, 0, 4), "too small"),
        ((0, 5, 64, 0, 4), "nothing to tile"),
        ((5, 5, 64, -1, 4), "negative"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: tuple[int, ...], words: str):
    with pytest.raises(InputError, match=words):
        plan_tiles(*arguments)


def test_a_fixed_size_off_the_multiple_is_refused():
    with pytest.raises(InputError, match="no multiples of 4"):
        plan_fixed_tiles(8, 8, (30, 32), 0, 4)


def test_context_is_what_is_wanted_where_there_is_room():
    assert tiling.context(256, 0, 0.5) == (0, tiling.FEATHER)
    assert tiling.context(256, 56, 0.5) == (56, tiling.FEATHER)
    assert 2 * 56 + tiling.FEATHER == 128


@given(st.integers(1, 2048), st.integers(0, 2048))
def test_the_less_context_there_is_the_more_is_blended_and_neighbours_share_half_a_tile(tile: int, wanted: int):
    overlap, feather = tiling.context(tile, wanted, 0.5)
    assert 0 <= overlap <= wanted
    assert feather >= tiling.FEATHER
    assert 2 * overlap + feather <= max(tile // 2, tiling.FEATHER)
    more = tiling.context(tile, wanted + 1, 0.5)
    assert (more[0] <= overlap, more[1] >= feather) == (True, True) or more == (wanted + 1, tiling.FEATHER)


def test_reflection_repeats_as_often_as_needed():
    assert reflected_indices(-2, 6, 4).tolist() == [2, 1, 0, 1, 2, 3, 2, 1]
    assert reflected_indices(0, 8, 2).tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert reflected_indices(0, 4, 1).tolist() == [0, 0, 0, 0]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(8, 40), st.sampled_from([4, 8]))
@settings(max_examples=60, deadline=None)
def test_cut_equals_padding_the_whole_frame_first(height: int, width: int, tile: int, multiple: int):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    below, right = -height % multiple, -width % multiple
    rows, columns = reflected_indices(0, height + below, height), reflected_indices(0, width + right, width)
    padded = pixels[rows][:, columns]
    for place in plan_tiles(height, width, tile, 0, multiple):
        expected = padded[place.top : place.top + place.height, place.left : place.left + place.width]
        np.testing.assert_array_equal(cut(pixels, place), expected)


def test_a_tile_inside_the_frame_is_a_view():
    pixels = np.zeros((64, 64, 3), np.uint8)
    assert np.shares_memory(cut(pixels, next(iter(plan_tiles(64, 64, 32, 0, 4)))), pixels)


def test_feather_weights_rise_from_one_tile_to_the_other():
    weights = feather_weights(16)
    assert (np.diff(weights) > 0).all()
    np.testing.assert_allclose(weights + weights[::-1], 1, atol=1e-6)
    assert 0 < weights[0] < 0.01


def test_the_feather_blends_and_the_overlap_is_thrown_away():
    axis = plan_tiles(1, 80, 60, 8, 1).columns
    target = np.full((1, 80, 3), np.nan, np.float32)
    for index, value in enumerate((1.0, 3.0)):
        piece = np.full((1, axis.size, 3), value, np.float32)
        piece[:, : 8 if index else 0] = 99  # what lacks context must not be seen
        piece[:, axis.size - (0 if index else 8) :] = 99
        merge(target, piece, axis, index, along=1)
    start, feathered, _ = axis.kept(1)
    assert feathered - start >= tiling.FEATHER
    line = target[0, :, 0]
    assert (line[:start] == 1).all()
    assert (line[feathered:] == 3).all()
    assert (np.diff(line[start - 1 : feathered + 1]) > 0).all()
