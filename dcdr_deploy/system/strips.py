"""Passes over a picture, a strip of rows at a time and on all cores.

A strip is small enough for the processor's cache, so that beside a picture and its result next to nothing is held,
however large they are.
"""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.system import hardware

ROWS = 64
"""Rows of a strip."""

MOST_WORKERS = 8
"""Threads at one picture, the caller's included."""

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
    """Call ``work(first row, row after the last)`` for every strip, several at a time; results in order.

    The calling thread works too. Others help it where cores are left by the passes that run already: where many
    pictures are worked on at a time, each is by its own thread alone.
    """
    starts = range(0, height, ROWS)
    strips = _Strips(len(starts), lambda number: work(starts[number], min(starts[number] + ROWS, height)))
    with _helpers.asked(strips.work, most=min(MOST_WORKERS, len(starts)) - 1):
        try:
            yield from strips.results()
        finally:
            strips.end()


class _Helpers:
    """Threads that all passes of a process share."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a process that was forked: threads do not come along."""
        self._lock = threading.Lock()
        self._passes = self._cores = 0
        self._pool: ThreadPoolExecutor | None = None

    @contextmanager
    def asked(self, work: Callable[[], None], most: int) -> Iterator[None]:
        """While the block runs, have at most so many threads call ``work`` beside the calling one."""
        cores = hardware.cpu_threads()
        with self._lock:
            self._passes += 1
            count = min(most, cores - self._passes)
            for _ in range(count):
                self._threads(cores).submit(work)
        try:
            yield
        finally:
            with self._lock:
                self._passes -= 1

    def _threads(self, cores: int) -> ThreadPoolExecutor:
        if self._pool is None or self._cores != cores:
            if self._pool is not None:
                self._pool.shutdown(wait=False)
            self._pool, self._cores = ThreadPoolExecutor(cores, "dcdr-strip"), cores
        return self._pool


_helpers = _Helpers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.forget)


class _Strips(Generic[Result]):
    """Strips that are worked on by whoever has time."""

    def __init__(self, count: int, work: Callable[[int], Result]) -> None:
        self._work: Callable[[int], Result] | None = work
        self._waiting = deque(range(count))
        self._found = [Future[Result]() for _ in range(count)]

    def work(self) -> None:
        """Work on strips as long as some wait."""
        while self._one():
            pass

    def results(self) -> Iterator[Result]:
        """Give the results in order, and work on strips until the next one is there."""
        for found in self._found:
            while not found.done() and self._one():
                pass
            yield found.result()

    def end(self) -> None:
        """Leave those that wait undone, wait for the others, and let go of what they work on."""
        undone = set()
        while self._waiting:
            try:
                undone.add(self._waiting.popleft())
            except IndexError:  # another thread took it
                break
        wait([found for number, found in enumerate(self._found) if number not in undone])
        self._work, self._found = None, []  # a helper may look at this much later

    def _one(self) -> bool:
        try:
            number = self._waiting.popleft()
        except IndexError:
            return False
        work, found = self._work, self._found[number]
        assert work is not None  # there until all are done
        try:
            found.set_result(work(number))
        except BaseException as error:  # raised where the result is asked for
            found.set_exception(error)
        return True
