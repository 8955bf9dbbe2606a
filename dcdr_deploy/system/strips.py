"""Passes over a picture, a strip of rows at a time and on all cores.

A strip is small enough for the processor's cache, so that beside a picture and its result next to nothing is held,
however large they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from dcdr_deploy.system import hardware

ROWS = 64
"""Rows of a strip."""

MOST_WORKERS = 8

Result = TypeVar("Result")


def for_strips(height: int, work: Callable[[int, int], Result]) -> Iterator[Result]:
    """Call ``work(first row, row after the last)`` for every strip, several at a time; results in order."""
    starts = range(0, height, ROWS)
    workers = min(hardware.cpu_threads(), MOST_WORKERS, len(starts))
    if workers == 1:  # a thread would cost more than a small picture takes
        yield from (work(start, min(start + ROWS, height)) for start in starts)
        return
    with ThreadPoolExecutor(workers, "dcdr-strip") as pool:
        yield from pool.map(lambda start: work(start, min(start + ROWS, height)), starts)
