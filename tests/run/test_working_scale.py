"""At which size the network works: what may be asked for, and the sizes that come of it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.working_scale import QUANTUM, automatic_edge, checked, parse_scale, working_size

EDGES = st.integers(1, 20_000)


@pytest.mark.parametrize(
    ("text", "scale"),
    [("auto", "auto"), ("Native", "native"), ("1/2", Fraction(1, 2)), ("3/4", Fraction(3, 4)), ("768", 768)],
)
def test_a_scale_is_a_word_a_fraction_or_pixels(text, scale):
    assert parse_scale(text) == scale


@pytest.mark.parametrize("text", ["", "half", "0.5", "-768", "1/0", "0/3", "3/2", "12", "1e3", "1/2/3", "auto,2"])
def test_anything_else_is_refused_with_what_may_be_given(text):
    with pytest.raises(InputError, match=r"scale|too small"):
        parse_scale(text)


@pytest.mark.parametrize("scale", [0.5, None, True, 12, Fraction(5, 4)])
def test_python_callers_hear_the_same(scale):
    with pytest.raises(InputError):
        checked(scale)


@given(EDGES, EDGES)
def test_a_working_picture_is_never_larger_than_the_picture(height, width):
    h, w = working_size(height, width, "auto")
    assert 1 <= h <= height
    assert 1 <= w <= width


@given(EDGES, EDGES, st.integers(64, 4096))
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
    h, w = working_size(height, width, "auto")
    longer = max(h, w) / max(height, width)
    assert abs(min(height, width) * longer - min(h, w)) <= QUANTUM / 2 + 1e-6


def test_pictures_of_one_aspect_ratio_share_one_shape():
    cameras = [(4000, 6000), (3648, 5472), (2848, 4272), (5792, 8688)]
    assert len({working_size(*size, "auto") for size in cameras}) == 1


def test_a_fraction_is_of_the_pictures_own_edges():
    assert working_size(1024, 2048, Fraction(1, 2)) == (512, 1024)


@given(EDGES, EDGES)
def test_the_automatic_edge_does_not_exceed_the_picture(height, width):
    assert 1 <= automatic_edge(height, width) <= max(height, width)
