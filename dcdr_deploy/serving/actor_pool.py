"""Work for a number of actors: bounded, one job after the other, and an actor that dies costs no job.

A job is a picture, a video, or a segment of one. What was with an actor when that died is done again. Which of several
jobs it died of is not known, so that each of them is tried alone; the one that an actor dies of alone, twice, is given
up.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dcdr_deploy.errors import EngineError
from dcdr_deploy.serving.addresses import Address
from dcdr_deploy.serving.layout import Layout
from dcdr_deploy.serving.worker import ActorFailure, ActorReady, Worker
from dcdr_deploy.system.faults import one_line
from dcdr_deploy.system.words import number_of

_logger = logging.getLogger(__name__)

DEATHS_OF_A_JOB = 2
"""So many actors die of a job that each had alone, before it is given up."""

DEATHS_IN_A_ROW = 5
"""So often an actor dies without a job done in between, before it is left alone."""

FIRST_SECONDS = 300.0
"""Until the first actor has its engine: until then the cluster may have no room, or load a large model."""

RESTART_SECONDS = 300.0
"""For which an actor's new process is waited for; then each time that it is not there counts as a death."""

_POLL = 1.0
"""Seconds after which an interrupt is seen, actors that died are asked again, and those that work how far they are."""

_SOON = _POLL / 10
"""Seconds until it is looked again for what comes by itself."""


class Task(Protocol):
    """What is given to an actor."""

    @property
    def source(self) -> Path | Address:
        """The file that it is about."""


Seen = Callable[[ActorReady], None]

Done = Callable[[Any, Any], None]
"""Is told of a :class:`Task` and its outcome: what the actor's ``convert`` gave, or an ActorFailure."""


@dataclass
class _Actor:
    """An actor and how it stands.

    Attributes:
        handle: Ray's.
        asked: reference of its answer whether it has its engine; ``None`` once it has answered, or while it is dead.
        flight: what is with it, by reference.
        progress: reference of its answer how far it is; ``None`` while it is not asked.
        asked_at: when it was asked that, on the clock of ``time.monotonic``.
        deaths: how often it died since it did a job.
        died_at: when it first died since it had its engine, on the clock of ``time.monotonic``; ``None`` if it did not.
        dead_until: when it is to be asked again, on that clock; ``None`` while it lives.
    """

    handle: Any
    asked: Any
    flight: dict[Any, _Attempt] = field(default_factory=dict)
    progress: Any = None
    asked_at: float = 0.0
    deaths: int = 0
    died_at: float | None = None
    dead_until: float | None = None

    @property
    def works(self) -> bool:
        return self.asked is None and self.dead_until is None

    def ask(self) -> None:
        self.asked, self.dead_until = self.handle.ready.remote(), None


@dataclass
class _Attempt:
    """A job on its way."""

    job: Task
    alone: bool = False
    deaths: int = 0


class ActorPool:
    """Actors of one run. A context manager, whose end kills them.

    Attributes:
        layout: how many there are, and what each takes.
        lost: every job that was with an actor when that died.
    """

    def __init__(self, ray: Any, layout: Layout, arguments: tuple[Any, ...], kind: type = Worker) -> None:
        """Ask Ray for the actors; it starts them when it has room.

        Args:
            ray: connected.
            layout: how many, and what each takes.
            arguments: of :class:`~dcdr_deploy.serving.worker.Worker`.
            kind: their class.
        """
        self._ray = ray
        self.layout = layout
        remote = ray.remote(
            num_cpus=layout.cpus,
            num_gpus=layout.gpus,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=layout.pictures + 2,  # one is asked how far it is
            scheduling_strategy="SPREAD",
        )(kind)
        handles = [remote.remote(*arguments) for _ in range(layout.actors)]
        self._actors = [_Actor(handle, handle.ready.remote()) for handle in handles]
        self.lost: list[Any] = []
        self._again: deque[_Attempt] = deque()  # what was with an actor that died; each goes alone

    def __enter__(self) -> ActorPool:
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self._actors:
            self._ray.kill(actor.handle)

    def first(self) -> ActorReady:
        """Wait until one actor has its engine.

        Raises:
            DcdrError: it cannot load the engine.
            EngineError: none has in time, or all died.
        """
        end = time.monotonic() + FIRST_SECONDS
        while time.monotonic() < end:
            for ready in self._hear(_nobody):
                return ready
        raise EngineError(
            f"none of {number_of(self.layout.actors, 'actor')} began within {FIRST_SECONDS:g} seconds; the cluster may "
            f"be full: each takes {number_of(self.layout.cpus, 'processor core', form='g')} and "
            f"{number_of(self.layout.gpus, 'GPU', form='g')}"
        )

    def run(
        self,
        jobs: Iterator[Any],
        done: Done,
        seen: Seen,
        told: Callable[[Any, int], None] | None = None,
    ) -> None:
        """Have all jobs done; at most ``layout.pictures`` are with an actor, and one more that waits there.

        Args:
            jobs: each a :class:`Task`, taken when an actor has room; ``None`` where the next one is not known yet.
            done: called with each job and its outcome; what it raises ends the run.
            seen: called with each actor that has got its engine.
            told: called every second with how far a job is, for actors that have one at a time.

        Raises:
            EngineError: all actors are dead.
        """
        if not self._actors:
            raise EngineError("all actors died")
        more = True
        while more or self._again or any(actor.flight for actor in self._actors):
            rest, waits = self._hand_out(jobs)
            more = more and rest
            for ready in self._hear(done, _SOON if waits else _POLL, told):
                seen(ready)

    def finish(self, done: Done, seconds: float) -> None:
        """Wait for what is with actors, but take nothing more; after so many seconds it is left."""
        end = time.monotonic() + seconds
        while any(actor.flight for actor in self._actors) and time.monotonic() < end:
            for _ in self._hear(done):
                pass

    def _hand_out(self, jobs: Iterator[Any]) -> tuple[bool, bool]:
        """Give every actor what it has room for; tell whether there may be more, and whether it is not known yet."""
        for room in range(1, self.layout.pictures + 2):  # one for each before a second for any
            for actor in self._actors:
                if not actor.works or len(actor.flight) >= room or any(each.alone for each in actor.flight.values()):
                    continue
                if self._again:
                    if not actor.flight:
                        self._give(actor, self._again.popleft())
                    continue
                try:
                    job = next(jobs)
                except StopIteration:
                    return False, False
                if job is None:
                    return True, True
                self._give(actor, _Attempt(job))
        return True, False

    def _give(self, actor: _Actor, attempt: _Attempt) -> None:
        actor.flight[actor.handle.convert.remote(attempt.job)] = attempt
        actor.progress, actor.asked_at = None, time.monotonic()

    def _hear(
        self,
        done: Done,
        seconds: float = _POLL,
        told: Callable[[Any, int], None] | None = None,
    ) -> Iterator[ActorReady]:
        """Wait for the next outcome, but not for long; yield the actors that have got their engines."""
        now = time.monotonic()
        for actor in self._actors:
            if actor.dead_until is not None and now >= actor.dead_until:
                actor.ask()
            if told is not None and actor.flight and actor.progress is None and now >= actor.asked_at + _POLL:
                actor.progress, actor.asked_at = actor.handle.progress.remote(), now
        owners = {
            ref: actor
            for actor in self._actors
            for ref in (*actor.flight, actor.asked, actor.progress)
            if ref is not None
        }
        if not owners:
            if seconds < _POLL or any(actor.dead_until is not None for actor in self._actors):
                time.sleep(_SOON)
            return
        refs, _ = self._ray.wait(list(owners), num_returns=1, timeout=seconds)
        for ref in refs:
            actor = owners[ref]
            try:
                outcome = self._ray.get(ref)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause or error from error  # a bug of ours keeps its traceback
            except self._ray.exceptions.RayError as error:
                if ref is actor.progress:
                    actor.progress = None  # its job, or what it was asked, tells that it died
                elif ref is actor.asked and self._restarts(actor, error):
                    actor.asked, actor.dead_until = None, time.monotonic() + _SOON
                else:
                    self._died(actor, error, done)
                continue
            if ref is actor.progress:
                actor.progress = None
                for attempt in actor.flight.values():
                    if told is not None:
                        told(attempt.job, outcome)
            elif ref is actor.asked:
                actor.asked = actor.died_at = None
                if isinstance(outcome, ActorFailure):
                    raise outcome.error()
                yield outcome
            else:
                actor.deaths = 0
                done(actor.flight.pop(ref).job, outcome)

    def _restarts(self, actor: _Actor, error: Exception) -> bool:
        """Tell whether an actor has not died again: its new process is not up yet.

        Ray gives the error of one that died, in other words. If these change, each counts as a death.
        """
        told = isinstance(error, self._ray.exceptions.ActorUnavailableError) and "is restarting" in str(error)
        return told and actor.died_at is not None and time.monotonic() < actor.died_at + RESTART_SECONDS

    def _died(self, actor: _Actor, error: Exception, done: Done) -> None:
        """Keep what was with a dead actor for later, and ask for the actor again."""
        lost, actor.flight, actor.asked, actor.progress = list(actor.flight.values()), {}, None, None
        self.lost += [attempt.job for attempt in lost]
        actor.deaths += 1
        now = time.monotonic()
        actor.died_at = now if actor.died_at is None else actor.died_at
        actor.dead_until = now + _SOON * actor.deaths
        if actor.deaths >= DEATHS_IN_A_ROW:
            self._actors.remove(actor)
        _logger.warning("an actor crashed or was killed, maybe for want of memory; what it had is done again")
        for attempt in lost:
            attempt.deaths += attempt.alone
            attempt.alone = True
            if attempt.deaths < DEATHS_OF_A_JOB:
                self._again.append(attempt)
            else:
                done(attempt.job, ActorFailure(EngineError.__name__, _GIVEN_UP.format(attempt.job.source)))
        if not self._actors:
            raise EngineError(f"all actors died, the last one of this: {one_line(error)}")


_GIVEN_UP = "{}: the process that worked on it crashed or was killed, twice; it may take more memory than there is"


def _nobody(job: Task, outcome: object) -> None:
    """Hear of no job: none was given out."""
