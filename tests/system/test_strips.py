"""Passes over the rows of a picture: each row once, results in order, faults told."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dcdr_deploy.system.strips import ROWS, Scratch, for_strips


@pytest.mark.parametrize("height", [1, ROWS - 1, ROWS, ROWS + 1, 5 * ROWS + 7])
def test_every_row_is_worked_on_once_and_results_come_in_order(height):
    strips = list(for_strips(height, lambda start, stop: (start, stop)))
    assert [row for start, stop in strips for row in range(start, stop)] == list(range(height))
    assert max(stop - start for start, stop in strips) <= ROWS


def test_a_picture_of_one_strip_needs_no_thread():
    assert list(for_strips(ROWS, lambda start, stop: threading.current_thread())) == [threading.current_thread()]


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
