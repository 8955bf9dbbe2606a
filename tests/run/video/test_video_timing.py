"""Stamps of a whole video from those of its segments."""

from __future__ import annotations

import itertools
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.run.video.timing import decoding_stamps, durations, is_constant, kept_apart, reordering


@st.composite
def orders(draw):
    """Rising stamps, and the places in which they are decoded: whole groups, turned round within."""
    gaps = draw(st.lists(st.integers(1, 5000), min_size=1, max_size=30))
    shown = list(itertools.accumulate(gaps))
    order: list[int] = []
    while len(order) < len(shown):
        size = min(draw(st.integers(1, 5)), len(shown) - len(order))
        order += draw(st.permutations(range(len(order), len(order) + size)))
    return shown, order


@given(orders())
def test_decoding_stamps_rise_and_come_before_what_is_shown(given_orders):
    shown, order = given_orders
    stamps = [shown[place] for place in order]
    decoded = decoding_stamps(shown, reordering(stamps))
    assert len(decoded) == len(shown)
    assert all(before < after for before, after in itertools.pairwise(decoded))
    assert all(decode <= show for decode, show in zip(decoded, stamps, strict=True))


def test_without_reordering_both_stamps_are_the_same():
    assert reordering([3, 10, 12]) == 0
    assert decoding_stamps([3, 10, 12], 0) == [3, 10, 12]


def test_pictures_that_wait_are_shown_a_few_places_later():
    assert reordering([0, 40, 20, 10, 30]) == 2
    assert decoding_stamps([0, 10, 20, 30, 40], 2) == [-20, -10, 0, 10, 20]
    assert decoding_stamps([], 2) == []


def test_a_picture_is_shown_until_the_next_one():
    assert durations([0, 40, 41, 100], last=30) == [40, 1, 59, 30]
    assert durations([7], last=0) == [1]


def test_a_rate_is_constant_but_for_the_rounding_of_stamps():
    film, tick = Fraction(24000, 1001), Fraction(1, 1000)
    rounded = [round(number / film / tick) for number in range(1000)]
    assert is_constant(rounded, tick, film)
    assert not is_constant(rounded, tick, Fraction(24))  # a second of it drifts by a millisecond
    assert not is_constant([*rounded[:500], *(stamp + 42 for stamp in rounded[500:])], tick, film)  # one is left out
    assert is_constant([7], tick, film)


@given(
    st.lists(st.integers(0, 5000), unique=True, min_size=1).map(sorted),
    st.sampled_from([1000, 24, 90000, 12288, 10**7]),
)
def test_stamps_kept_apart_differ_on_the_coarser_clock_and_move_only_where_they_must(shown, ticks):
    base, tick = Fraction(1, ticks), Fraction(1, 1000)
    found = kept_apart(shown, base, tick)
    rounded = [int(stamp * base / tick + Fraction(1, 2)) for stamp in found]
    assert all(a < b for a, b in itertools.pairwise(rounded))
    assert all(a < b for a, b in itertools.pairwise(found))
    own = [int(stamp * base / tick + Fraction(1, 2)) for stamp in shown]
    if len(set(own)) == len(own):
        assert found == shown
