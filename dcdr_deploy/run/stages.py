"""Three stages that overlap: the next items are prepared, and those before are finished, while one is worked on.

The middle stage runs on the calling thread, as it keeps the device busy and Ctrl-C arrives there. Where the device goes
on by itself, the middle stage only begins an item: the next one is begun before the result of the last is waited for.
Items stay in their order through the first two stages. How many are in flight is bounded, by number and by weight, so
that memory does not grow with their number.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from dcdr_deploy.errors import DcdrError
from dcdr_deploy.system import hardware

AHEAD = 3
"""Items prepared or being prepared with one thread for it: the one to take next and two more, so that the first stage
is busy all the time, even where items differ in size. As many at most before the first one's weight is known."""

BEHIND = 2
"""Items being finished at a time, each on its own thread, where the middle stage needs the processor too."""

BYTES_OF_A_PIXEL = 30
"""That a picture takes at most while it is being finished, with its copies on the way into a file."""

MEMORY_SHARE = 0.25
"""Part of the free memory that the pixels being finished may take where many threads do so."""

Item = TypeVar("Item")
Early = TypeVar("Early")
Late = TypeVar("Late")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Workers:
    """Threads of the first and of the last stage."""

    first: int = 1
    last: int = BEHIND

    @property
    def ahead(self) -> int:
        """Most items prepared or being prepared."""
        return self.first + AHEAD - 1


def workers_for(threads: int, *, processor_is_free: bool) -> Workers:
    """Return how many threads to prepare and to finish items with.

    Args:
        threads: that may run at once.
        processor_is_free: the middle stage leaves the processor to the others. Both stages may then take all of it:
            which of them needs more depends on the files, and the system shares out what there is.
    """
    return Workers(max(threads, 1), max(threads, BEHIND)) if processor_is_free else Workers()


def pixels_in_flight(least: int) -> int:
    """Return how many pixels may be prepared, or finished, at a time by the memory at hand; at least so many."""
    memory = hardware.available_memory() or 0
    return max(least, int(memory * MEMORY_SHARE / BYTES_OF_A_PIXEL))


class StopError(Exception):
    """Ends a run for a reason; no DcdrError, which would be taken for a failure of the item at hand."""

    def __init__(self, reason: DcdrError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class PendingResult(Generic[Late]):
    """What a middle stage returns that has only begun an item: ``finish()`` waits for the rest."""

    def __init__(self, finish: Callable[[], Late]) -> None:
        self.finish = finish


@dataclass(frozen=True)
class _Finishing(Generic[Item, Result]):
    item: Item
    weight: int
    future: Future[Result]


@dataclass(frozen=True)
class Stages(Generic[Item, Early, Late, Result]):
    """What is done with an item, and who hears of it.

    Attributes:
        first: called on another thread.
        begun: called on the calling thread with the item whose turn it is, before its ``middle``.
        middle: called on the calling thread; a :class:`PendingResult` is finished there too, after the next item's
            ``middle``.
        last: called on another thread.
        weight: size of what ``last`` gets, in the unit of the pipeline's limit.
        done: called on the calling thread with each item and its result.
        failed: called on the calling thread with an item and the DcdrError that a stage raised for it. The pipeline
            goes on unless this raises something that is no DcdrError, such as :class:`StopError`.
        early_weight: size of what ``first`` gives, in the same unit.
    """

    first: Callable[[Item], Early]
    begun: Callable[[Item], None]
    middle: Callable[[Item, Early], Late | PendingResult[Late]]
    last: Callable[[Item, Late], Result]
    weight: Callable[[Late], int]
    done: Callable[[Item, Result], None]
    failed: Callable[[Item, DcdrError], None]
    early_weight: Callable[[Early], int] = lambda early: 0


class Pipeline(Generic[Item, Early, Late, Result]):
    """Runs items through :class:`Stages`.

    An exception that is no DcdrError (KeyboardInterrupt included) ends the run: items not begun are dropped, those that
    other threads are working on are brought to their end and reported, then it is raised.
    """

    def __init__(self, stages: Stages[Item, Early, Late, Result], limit: int, workers: Workers | None = None) -> None:
        """Set up.

        Args:
            stages: what to do.
            limit: largest sum of the weights of items being finished, and of those prepared. A heavier item is finished
                alone; :data:`AHEAD` items are prepared in any case.
            workers: threads; by default as for a middle stage that needs the processor.
        """
        self._stages = stages
        self._limit = limit
        self._workers = workers or Workers()
        self._ahead: deque[tuple[Item, Future[Early]]] = deque()
        self._heaviest: int | None = None
        self._behind: list[_Finishing[Item, Result]] = []

    def run(self, items: Iterable[Item]) -> None:
        """Run all items; returns when the last one is done."""
        first_pool = ThreadPoolExecutor(self._workers.first, "dcdr-first")
        last_pool = ThreadPoolExecutor(self._workers.last, "dcdr-last")
        try:
            self._run(iter(items), first_pool, last_pool)
        finally:
            # After a normal end there is nothing left to cancel or to report. What the last stage got is under way.
            first_pool.shutdown(cancel_futures=True)
            self._ahead.clear()
            last_pool.shutdown()
            while self._behind:
                with contextlib.suppress(Exception):  # the first exception is the one that is raised
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

    def _run(self, items: Iterator[Item], first_pool: ThreadPoolExecutor, last_pool: ThreadPoolExecutor) -> None:
        stages = self._stages
        begun: tuple[Item, PendingResult[Late]] | None = None
        while True:
            self._prepare(items, first_pool)
            if not self._ahead:
                break
            item, prepared = self._ahead.popleft()
            if begun is not None and not prepared.done():
                self._finish_middle(*begun, last_pool)  # there is nothing to begin meanwhile
                begun = None
            stages.begun(item)
            outcome: Late | PendingResult[Late] | None = None
            try:
                outcome = stages.middle(item, prepared.result())
            except DcdrError as error:
                stages.failed(item, error)
                continue
            finally:
                self._learn(prepared)
                del prepared  # holds the first stage's result
            if begun is not None:
                self._finish_middle(*begun, last_pool)
                begun = None
            if isinstance(outcome, PendingResult):
                begun = item, outcome
            else:
                self._hand_over(item, outcome, last_pool)
            del outcome
        if begun is not None:
            self._finish_middle(*begun, last_pool)
        while self._behind:
            self._wait()

    def _prepare(self, items: Iterator[Item], pool: ThreadPoolExecutor) -> None:
        """Have items prepared as far ahead as number and weight allow, but at least one."""
        while not self._ahead or (len(self._ahead) < self._workers.ahead and self._is_light()):
            more = list(itertools.islice(items, 1))
            if not more:
                return
            self._ahead.append((more[0], pool.submit(self._stages.first, more[0])))

    def _is_light(self) -> bool:
        """Tell whether one more item can be prepared; those of which nothing is known count as the heaviest so far."""
        for _, future in self._ahead:
            self._learn(future)
        if self._heaviest is None:
            return len(self._ahead) < AHEAD
        weights = [self._weight_of(future) for _, future in self._ahead]
        return sum(weights) + self._heaviest <= self._limit or len(self._ahead) < AHEAD

    def _learn(self, future: Future[Early]) -> None:
        if future.done() and not future.cancelled() and future.exception() is None:
            self._heaviest = max(self._heaviest or 0, self._stages.early_weight(future.result()))

    def _weight_of(self, future: Future[Early]) -> int:
        if not future.done():
            return self._heaviest or 0
        return 0 if future.exception() is not None else self._stages.early_weight(future.result())

    def _finish_middle(self, item: Item, begun: PendingResult[Late], pool: ThreadPoolExecutor) -> None:
        try:
            late = begun.finish()
        except DcdrError as error:
            self._stages.failed(item, error)
            return
        self._hand_over(item, late, pool)

    def _hand_over(self, item: Item, late: Late, pool: ThreadPoolExecutor) -> None:
        weight = self._stages.weight(late)
        self._make_room(weight)
        self._behind.append(_Finishing(item, weight, pool.submit(self._stages.last, item, late)))
        self.poll()

    def _make_room(self, weight: int) -> None:
        while self._behind and (
            len(self._behind) >= self._workers.last or weight + self._weight_behind() > self._limit
        ):
            self._wait()

    def _weight_behind(self) -> int:
        return sum(entry.weight for entry in self._behind)

    def _wait(self) -> None:
        wait([entry.future for entry in self._behind], return_when=FIRST_COMPLETED)
        self.poll()
