"""Threads side by side, results in order."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dcdr_deploy.run.video.turns import OutOfTurn, Turns


def test_numbers_pass_one_after_the_other_whoever_comes_first():
    turns, passed, moments = Turns(), [], random.Random(3)

    def work(number):
        time.sleep(moments.uniform(0, 0.005))
        with turns.turn(number):
            passed.append(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(20)))
    assert passed == list(range(20))


def test_after_a_failure_nobody_waits_for_ever():
    turns = Turns()

    def work(number):
        with turns.turn(number):
            if number == 1:
                raise ZeroDivisionError
            return number

    with ThreadPoolExecutor(4) as pool:
        begun = [pool.submit(work, number) for number in (3, 2, 1, 0)]
    assert begun[3].result() == 0
    assert [type(each.exception()) for each in begun[:3]] == [OutOfTurn, OutOfTurn, ZeroDivisionError]


def test_a_row_that_was_stopped_lets_nobody_pass():
    turns = Turns()
    turns.stop()
    with pytest.raises(OutOfTurn), turns.turn(0):
        pytest.fail("passed")
