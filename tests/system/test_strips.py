"""Passes over the rows of a picture: each row once, results in order, faults told."""

from __future__ import annotations

import threading

import pytest

from dcdr_deploy.system.strips import ROWS, for_strips


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
