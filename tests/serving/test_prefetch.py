"""Items that come from a thread, a few ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from dcdr_deploy.serving.prefetch import Prefetcher


def nothing() -> None:
    pass


def taken(prefetcher: Prefetcher[int]) -> list[int]:
    """All items, waited for."""
    found = []
    for item in prefetcher:
        if item is None:
            time.sleep(0.001)
        else:
            found.append(item)
    return found


def test_all_items_come_in_their_order():
    prefetcher = Prefetcher(iter(range(50)), 2, nothing)
    assert taken(prefetcher) == list(range(50))
    assert taken(prefetcher) == []
    prefetcher.close()


def test_none_says_that_the_next_one_is_not_there_yet():
    go = threading.Event()

    def items() -> Iterator[int]:
        go.wait()
        yield 1

    prefetcher = Prefetcher(items(), 1, nothing)
    assert [next(prefetcher), next(prefetcher)] == [None, None]
    go.set()
    assert taken(prefetcher) == [1]


def test_no_more_are_made_than_may_wait():
    made = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    prefetcher = Prefetcher(items(), 3, nothing)
    end = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3]  # three wait, and one is held
    prefetcher.close()
    with pytest.raises(StopIteration):
        next(prefetcher)


def test_what_ends_them_is_kept_and_comes_after_the_others():
    def items() -> Iterator[int]:
        yield 7
        raise ValueError("broken")

    prefetcher = Prefetcher(items(), 5, nothing)
    assert taken(prefetcher) == [7]
    assert str(prefetcher.error) == "broken"


def test_closing_tells_the_items_to_stop():
    told = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        told.wait()

    prefetcher = Prefetcher(items(), 1, told.set)
    prefetcher.close()
    assert told.is_set()
