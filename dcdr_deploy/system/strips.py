"""Passes over a picture, a strip of rows at a time and on all cores.

A strip is small enough for the processor's cache, so that beside a picture and its result next to nothing is held,
however large they are.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.system import hardware

ROWS = 64
"""Rows of a strip."""

MOST_WORKERS = 8

Result = TypeVar("Result")
Kind = TypeVar("Kind", bound=np.generic)


class Scratch(threading.local):
    """Arrays that a thread uses again for every strip: the first touch of fresh memory costs more than a pass over it.

    What :meth:`array` gives holds anything, and is valid until the same thread asks for the same name again.
    """

    def __init__(self) -> None:
        self._held: dict[str, NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], kind: type[Kind] | np.dtype[Kind]) -> NDArray[Kind]:
        """Return a C-contiguous array of this shape and type."""
        size = math.prod(shape)
        held = self._held.get(name)
        if held is None or held.size < size or held.dtype != kind:
            held = self._held[name] = np.empty(size, kind)
        return held[:size].reshape(shape)


def for_strips(height: int, work: Callable[[int, int], Result]) -> Iterator[Result]:
    """Call ``work(first row, row after the last)`` for every strip, several at a time; results in order."""
    starts = range(0, height, ROWS)
    workers = min(hardware.cpu_threads(), MOST_WORKERS, len(starts))
    if workers == 1:  # a thread would cost more than a small picture takes
        yield from (work(start, min(start + ROWS, height)) for start in starts)
        return
    with ThreadPoolExecutor(workers, "dcdr-strip") as pool:
        yield from pool.map(lambda start: work(start, min(start + ROWS, height)), starts)
