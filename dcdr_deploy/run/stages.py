"""Three stages that overlap: the next item is prepared, and those before it are finished, while one is worked on.

The middle stage runs on the calling thread, as it keeps the device busy and Ctrl-C arrives there. The number of items
in flight is bounded, so that memory does not grow with their number.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from dcdr_deploy.errors import DcdrError

AHEAD = 3
"""Items prepared or being prepared: the one to take next and two more, so that the first stage is busy all the time,
even where items differ in size."""

BEHIND = 2
"""Items being finished at a time, each on its own thread."""

Item = TypeVar("Item")
Early = TypeVar("Early")
Late = TypeVar("Late")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Finishing(Generic[Item, Result]):
    item: Item
    weight: int
    future: Future[Result]


@dataclass(frozen=True)
class Stages(Generic[Item, Early, Late, Result]):
    """What is done with an item, and who hears of it.

    Attributes:
        first: called on one other thread.
        begun: called on the calling thread with the item whose turn it is, before its ``middle``.
        middle: called on the calling thread.
        last: called on one of two other threads.
        weight: size of what ``last`` gets, in the unit of the pipeline's limit.
        done: called on the calling thread with each item and its result.
        failed: called on the calling thread with an item and the DcdrError that a stage raised for it. The pipeline
            goes on unless this raises something that is no DcdrError.
    """

    first: Callable[[Item], Early]
    begun: Callable[[Item], None]
    middle: Callable[[Item, Early], Late]
    last: Callable[[Item, Late], Result]
    weight: Callable[[Late], int]
    done: Callable[[Item, Result], None]
    failed: Callable[[Item, DcdrError], None]


class Pipeline(Generic[Item, Early, Late, Result]):
    """Runs items through :class:`Stages`.

    An exception that is no DcdrError (KeyboardInterrupt included) ends the run: items not begun are dropped, those that
    other threads are working on are brought to their end and reported, then it is raised.
    """

    def __init__(self, stages: Stages[Item, Early, Late, Result], limit: int) -> None:
        """Set up.

        Args:
            stages: what to do.
            limit: largest sum of the weights of items being finished; a heavier item is finished alone.
        """
        self._stages = stages
        self._limit = limit
        self._behind: list[_Finishing[Item, Result]] = []

    def run(self, items: Iterable[Item]) -> None:
        """Run all items; returns when the last one is done."""
        first_pool = ThreadPoolExecutor(1, "dcdr-first")
        last_pool = ThreadPoolExecutor(BEHIND, "dcdr-last")
        try:
            self._run(iter(items), first_pool, last_pool)
        finally:
            # After a normal end there is nothing left to cancel or to report. What the last stage got is under way.
            first_pool.shutdown(cancel_futures=True)
            last_pool.shutdown()
            self.poll()

    def poll(self) -> None:
        """Report the items finished since; a long middle stage calls this from time to time."""
        for entry in [entry for entry in self._behind if entry.future.done()]:
            self._behind.remove(entry)
            try:
                result = entry.future.result()
            except DcdrError as error:
                self._stages.failed(entry.item, error)
            else:
                self._stages.done(entry.item, result)

    def _run(self, source: Iterable[Item], first_pool: ThreadPoolExecutor, last_pool: ThreadPoolExecutor) -> None:
        stages, ahead = self._stages, deque[tuple[Item, Future[Early]]]()
        items = iter(source)
        while True:
            for item in itertools.islice(items, AHEAD - len(ahead)):
                ahead.append((item, first_pool.submit(stages.first, item)))
            if not ahead:
                break
            item, prepared = ahead.popleft()
            stages.begun(item)
            try:
                late = stages.middle(item, prepared.result())
            except DcdrError as error:
                stages.failed(item, error)
                continue
            finally:
                del prepared  # holds the first stage's result
            weight = stages.weight(late)
            self._make_room(weight)
            self._behind.append(_Finishing(item, weight, last_pool.submit(stages.last, item, late)))
            del late
            self.poll()
        while self._behind:
            self._wait()

    def _make_room(self, weight: int) -> None:
        while self._behind and (
            len(self._behind) >= BEHIND or weight + sum(entry.weight for entry in self._behind) > self._limit
        ):
            self._wait()

    def _wait(self) -> None:
        wait([entry.future for entry in self._behind], return_when=FIRST_COMPLETED)
        self.poll()
