"""Actors that die, stay away and come back, by Ray's own errors and without its processes."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dcdr_deploy.errors import EngineError
from dcdr_deploy.run.opening import RunnerSettings
from dcdr_deploy.serving import actor_pool
from dcdr_deploy.serving.actor_pool import DEATHS_IN_A_ROW, RESTART_SECONDS, ActorPool
from dcdr_deploy.serving.layout import Layout
from dcdr_deploy.serving.worker import ActorFailure

exceptions = pytest.importorskip("ray").exceptions

LAYOUT = Layout(actors=1, cpus=1, gpus=0, pictures=1, settings=RunnerSettings())
DIED = "The actor is temporarily unavailable: RpcError: RPC error: Socket closed rpc_code: 14"
RESTARTING = "The actor is temporarily unavailable: IOError: The actor is restarting."


@dataclass(frozen=True)
class Picture:
    source: Path


@dataclass
class Ray:
    """What a pool asks of Ray, with an actor whose answers are a list: outcomes, or words of what Ray says of it.

    Attributes:
        answers: to ``ready`` and to ``convert``, one for each call; the last one stays.
        asked: how often each was called.
    """

    answers: dict[str, deque[Any]]
    asked: dict[str, int] = field(default_factory=lambda: {"ready": 0, "convert": 0})
    exceptions: Any = exceptions

    def remote(self, **_: object) -> Callable[[type], Any]:
        return lambda kind: SimpleNamespace(remote=lambda *_: self._handle())

    def _handle(self) -> SimpleNamespace:
        def method(name: str) -> Any:
            def call(*_: object) -> tuple[int, Any]:
                self.asked[name] += 1
                answers = self.answers[name]
                return self.asked[name], (answers.popleft() if len(answers) > 1 else answers[0])

            return SimpleNamespace(remote=call)

        return SimpleNamespace(ready=method("ready"), convert=method("convert"))

    def wait(self, references: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    def get(self, reference: tuple[int, Any]) -> Any:
        if isinstance(reference[1], str):
            raise exceptions.ActorUnavailableError(reference[1], None)
        return reference[1]

    def kill(self, handle: object) -> None:
        """Nothing runs."""


READY = object()
"""Answers that are none of the pool's business."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_pool, "_SOON", 0.001)


def run(ready: list[Any], convert: list[Any]) -> tuple[Ray, list[Any]]:
    """One picture by one actor: what was asked, and the outcomes."""
    ray = Ray({"ready": deque(ready), "convert": deque(convert)})
    outcomes: list[Any] = []
    with ActorPool(ray, LAYOUT, ()) as pool:
        pool.first()
        pool.run(iter([Picture(Path("a.png"))]), lambda _, outcome: outcomes.append(outcome), lambda _: None)
    return ray, outcomes


def test_an_actor_whose_new_process_takes_long_to_start_keeps_its_place():
    ray, outcomes = run([READY, *[RESTARTING] * 40, READY], [DIED, b"converted"])
    assert outcomes == [b"converted"]
    assert ray.asked == {"ready": 42, "convert": 2}


def test_one_that_never_starts_is_waited_for_so_long_and_no_longer(monkeypatch):
    clock = itertools.count()  # a second each time that it is looked at
    monkeypatch.setattr(actor_pool, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    with pytest.raises(EngineError, match=r"all actors died, the last one of this: .* is restarting"):
        run([READY, RESTARTING], [DIED])
    assert RESTART_SECONDS < next(clock) < 1.5 * RESTART_SECONDS


@pytest.mark.parametrize("words", [DIED, "The actor is away."])
def test_one_that_dies_of_its_engine_is_not_waited_for(words: str):
    ray = Ray({"ready": deque([words]), "convert": deque([READY])})
    with ActorPool(ray, LAYOUT, ()) as pool, pytest.raises(EngineError, match="all actors died"):
        pool.first()
    assert ray.asked["ready"] == DEATHS_IN_A_ROW


def test_a_picture_that_two_die_of_alone_is_given_up():
    ray, outcomes = run([READY], [DIED])
    (failure,) = outcomes
    assert isinstance(failure, ActorFailure)
    assert "a.png: the process that worked on it crashed or was killed, twice" in failure.sentence
    assert ray.asked["convert"] == 3  # once beside others that might have been there, twice alone
