"""Passes over the rows of a picture: each row once, results in order, faults told."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from dcdr_deploy.system import hardware
from dcdr_deploy.system.strips import MOST_WORKERS, ROWS, Scratch, for_strips

WAIT = 30  # seconds after which a thread that should have come counts as missing


@pytest.mark.parametrize("height", [1, ROWS - 1, ROWS, ROWS + 1, 5 * ROWS + 7])
def test_every_row_is_worked_on_once_and_results_come_in_order(height):
    strips = list(for_strips(height, lambda start, stop: (start, stop)))
    assert [row for start, stop in strips for row in range(start, stop)] == list(range(height))
    assert max(stop - start for start, stop in strips) <= ROWS


def test_a_picture_of_one_strip_needs_no_thread():
    assert list(for_strips(ROWS, lambda start, stop: threading.current_thread())) == [threading.current_thread()]


def meet(barrier: threading.Barrier) -> threading.Thread:
    barrier.wait(WAIT)
    return threading.current_thread()


@contextmanager
def both_in(barrier: threading.Barrier) -> Iterator[None]:
    """Begin and end the block together with another thread."""
    barrier.wait(WAIT)
    yield
    barrier.wait(WAIT)


def test_a_pass_alone_is_helped_and_the_calling_thread_works_too(monkeypatch):
    monkeypatch.setattr(hardware, "cpu_threads", lambda: 4)
    barrier = threading.Barrier(4)
    threads = set(for_strips(4 * ROWS, lambda start, stop: meet(barrier)))
    assert len(threads) == 4
    assert threading.current_thread() in threads


def test_a_picture_has_so_many_threads_at_most_however_many_cores_there_are(monkeypatch):
    monkeypatch.setattr(hardware, "cpu_threads", lambda: 4 * MOST_WORKERS)
    threads = set(for_strips(200 * ROWS, lambda start, stop: threading.current_thread()))
    assert len(threads) <= MOST_WORKERS


def test_where_each_core_has_a_picture_each_is_worked_on_by_its_own_thread_alone(monkeypatch):
    monkeypatch.setattr(hardware, "cpu_threads", lambda: 2)
    both = threading.Barrier(2)

    def picture(_: int) -> set[threading.Thread]:
        with both_in(both):
            return set(for_strips(20 * ROWS, lambda start, stop: threading.current_thread()))

    with ThreadPoolExecutor(2) as pool:
        outer = [pool.submit(lambda: list(for_strips(ROWS, lambda start, stop: picture(start)))) for _ in range(2)]
        (ours,), (theirs,) = (each.result() for each in outer)
    assert (len(ours), len(theirs)) == (1, 1)


def test_a_pass_inside_a_pass_comes_to_its_end():
    def rows(first: int, last: int) -> int:
        return sum(stop - start for start, stop in for_strips(last - first + ROWS, lambda start, stop: (start, stop)))

    assert sum(for_strips(8 * ROWS, rows)) == 16 * ROWS


def test_what_nobody_asks_for_any_more_is_not_worked_on():
    worked: list[int] = []
    strips = for_strips(1000 * ROWS, lambda start, stop: worked.append(start))
    next(strips)
    strips.close()
    done = len(worked)
    assert done < 1000
    list(for_strips(4 * ROWS, lambda start, stop: None))
    assert len(worked) == done


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_helpers_of_its_own(monkeypatch):
    monkeypatch.setattr(hardware, "cpu_threads", lambda: 2)
    list(for_strips(4 * ROWS, lambda start, stop: None))
    child = os.fork()
    if not child:
        found = 0
        try:  # whatever happens, this must not go on as a second process of the tests
            barrier = threading.Barrier(2)
            found = len(set(for_strips(2 * ROWS, lambda start, stop: meet(barrier))))
        finally:
            os._exit(found)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2


@pytest.mark.parametrize("height", [ROWS, 4 * ROWS])
def test_what_goes_wrong_in_a_strip_is_raised(height):
    def work(start: int, stop: int) -> None:
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        list(for_strips(height, work))


def test_a_thread_gets_the_same_memory_again_for_a_name():
    scratch = Scratch()
    first = scratch.array("rows", (4, 8), np.float32)
    assert scratch.array("rows", (2, 8), np.float32).ctypes.data == first.ctypes.data
    assert not np.shares_memory(scratch.array("codes", (4, 8), np.float32), first)
    larger = scratch.array("rows", (5, 8), np.float32)
    assert larger.shape == (5, 8)
    assert larger.flags.c_contiguous
    assert scratch.array("rows", (5, 8), np.uint16).dtype == np.uint16


def test_another_thread_gets_memory_of_its_own():
    scratch = Scratch()
    ours = scratch.array("rows", (4,), np.float32)
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(scratch.array, "rows", (4,), np.float32).result()
    assert not np.shares_memory(ours, theirs)
