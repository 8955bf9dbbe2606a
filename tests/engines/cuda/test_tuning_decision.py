"""What is chosen by times that were measured: pure functions of numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.engines.cuda.tuning.decision import LEAST_GAIN, fastest, in_turns, never_slower, ratio

SIZES = ("768x512", "1920x1080")
TIMES = st.fixed_dictionaries({size: st.floats(1e-3, 1e3) for size in SIZES})
OTHERS = st.dictionaries(st.sampled_from("abcdef"), TIMES)


@given(TIMES, OTHERS)
def test_what_is_chosen_is_never_slower_and_clearly_faster(usual, others):
    best = fastest(usual, others)
    if best is not None:
        assert all(others[best][size] <= usual[size] for size in SIZES)
        assert sum(others[best][size] / usual[size] for size in SIZES) <= (1 - LEAST_GAIN) * len(SIZES) + 1e-12


@given(TIMES, OTHERS)
def test_nothing_that_would_do_is_faster_than_what_is_chosen(usual, others):
    best = fastest(usual, others)
    taken = 1 - LEAST_GAIN if best is None else ratio(others[best], usual)
    for times in others.values():
        assert (
            not never_slower(times, usual) or ratio(times, usual) >= taken or math.isclose(ratio(times, usual), taken)
        )


@given(TIMES)
def test_noise_decides_nothing(usual):
    assert fastest(usual, {"the same": usual}) is None
    assert fastest(usual, {"a bit less": {size: 0.985 * each for size, each in usual.items()}}) is None
    assert fastest(usual, {"clearly less": {size: 0.97 * each for size, each in usual.items()}}) == "clearly less"


def test_what_is_slower_at_one_size_is_not_taken_however_fast_at_the_other():
    usual = dict(zip(SIZES, (1.0, 4.0), strict=True))
    assert fastest(usual, {"other": dict(zip(SIZES, (1.01, 1.0), strict=True))}) is None
    assert fastest(usual, {"other": dict(zip(SIZES, (1.0, 3.0), strict=True))}) == "other"
    assert fastest(usual, {}) is None


@pytest.mark.parametrize("rounds", [1, 4, 9])
def test_rounds_take_turns_and_give_medians(rounds):
    asked = []
    times = iter(range(1000))

    def measure(name: str) -> float:
        asked.append(name)
        return next(times)

    medians = in_turns(["a", "b", "c"], measure, rounds)
    firsts = asked[::3]
    assert firsts == ["abc"[number % 3] for number in range(rounds)]
    assert all(sorted(asked[3 * number :][:3]) == ["a", "b", "c"] for number in range(rounds))
    found = sorted(number for number, name in enumerate(asked) if name == "a")
    middle = (found[(rounds - 1) // 2] + found[rounds // 2]) / 2
    assert medians["a"] == middle


def test_one_slow_moment_does_not_move_a_median():
    times = iter([1.0, 2.0, 90.0, 2.0, 1.0, 2.0])
    assert in_turns(["a", "b"], lambda name: next(times), 3)["b"] <= 2.0
