"""At which size the network works: what may be asked for, and the sizes that come of it."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.working_scale import (
    EDGES,
    LARGEST_PART,
    QUANTUM,
    checked,
    parse_scale,
    working_size,
    working_sizes,
)

PIXELS = st.integers(1, 20_000)


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("auto", "auto"),
        ("Native", "native"),
        ("1/2", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)),
        ("768", 768),
        ("1000000", 10**6),
    ],
)
def test_a_scale_is_a_word_a_fraction_or_pixels(text, scale):
    assert parse_scale(text) == scale


@pytest.mark.parametrize(
    "text", ["", "half", "0.5", "-768", "1/0", "0/3", "3/2", "12", "1e3", "1/2/3", "auto,2", "\u0667\u0666\u0668"]
)
def test_anything_else_is_refused_with_what_may_be_given(text):
    with pytest.raises(InputError, match=r"scale|too small"):
        parse_scale(text)


@pytest.mark.parametrize("scale", [0.5, None, True, 12, Fraction(5, 4)])
def test_python_callers_hear_the_same(scale):
    with pytest.raises(InputError):
        checked(scale)


@given(PIXELS, PIXELS)
def test_no_working_picture_is_larger_than_the_picture_and_the_finest_comes_first(height, width):
    sizes = working_sizes(height, width, "auto")
    assert all(1 <= h <= height and 1 <= w <= width for h, w in sizes)
    assert sizes == sorted(sizes, reverse=True)


def test_a_picture_smaller_than_all_edges_goes_through_the_network_once():
    smallest = min(EDGES)
    assert working_sizes(smallest - 8, smallest - 28, "auto") == [(smallest - 8, smallest - 28)]


def test_from_384_pixels_on_a_picture_goes_through_the_network_twice():
    assert [len(working_sizes(200, longer, "auto")) for longer in (383, 384)] == [1, 2]


@given(PIXELS, PIXELS)
def test_no_two_working_sizes_are_nearly_the_same(height, width):
    edges = [max(size) for size in working_sizes(height, width, "auto")]
    assert all(coarse <= fine * LARGEST_PART + QUANTUM for fine, coarse in pairwise(edges))


@given(PIXELS, PIXELS, st.integers(64, 4096))
def test_a_picture_within_the_edge_keeps_its_size_and_others_share_few_shapes(height, width, edge):
    h, w = working_size(height, width, edge)
    if max(height, width) <= edge:
        assert (h, w) == (height, width)
        return
    assert all(small % QUANTUM == 0 or small == full for small, full in ((h, height), (w, width)))
    assert max(h, w) <= edge + QUANTUM // 2


@given(st.integers(1000, 20_000), st.floats(0.3, 3.0))
def test_the_aspect_ratio_stays_within_half_a_step(height, ratio):
    width = round(height * ratio)
    h, w = working_size(height, width, 384)
    longer = max(h, w) / max(height, width)
    assert abs(min(height, width) * longer - min(h, w)) <= QUANTUM / 2 + 1e-6


def test_pictures_of_one_aspect_ratio_share_one_shape():
    cameras = [(4000, 6000), (3648, 5472), (2848, 4272), (5792, 8688)]
    assert len({tuple(working_sizes(*size, "auto")) for size in cameras}) == 1


def test_a_fraction_is_of_the_pictures_own_edges():
    assert working_sizes(1024, 2048, Fraction(1, 2)) == [(512, 1024)]
