"""The three stages: order, overlap, bounds, failures, interruption."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from dcdr_deploy.errors import DcdrError, InputError
from dcdr_deploy.run.stages import AHEAD, BEHIND, PendingResult, Pipeline, Stages, StopError, Workers, workers_for

WAIT = 30  # seconds after which a thread that should have come counts as missing


class Recorder:
    """Stages that pass numbers through; single ones can be replaced."""

    def __init__(self, limit: int = 100, workers: Workers | None = None, **stages: Callable[..., Any]) -> None:
        self.done: list[tuple[int, int]] = []
        self.failed: list[tuple[int, str]] = []
        self.begun: list[int] = []
        chosen: dict[str, Any] = {
            "first": lambda item: item * 10,
            "begun": self.begun.append,
            "middle": lambda item, early: early + 1,
            "last": lambda item, late: late * 2,
            "weight": lambda late: 1,
            "done": lambda item, result: self.done.append((item, result)),
            "failed": lambda item, error: self.failed.append((item, str(error))),
        }
        self.pipeline: Pipeline[Any, Any, Any, Any] = Pipeline(Stages(**{**chosen, **stages}), limit, workers)


def fail_at(number: int) -> Callable[..., Any]:
    def stage(item: int, value: int = 0) -> int:
        if item == number:
            raise InputError(f"{item} is bad")
        return value

    return stage


def test_every_item_goes_through_all_stages():
    recorder = Recorder()
    recorder.pipeline.run(range(20))
    assert sorted(recorder.done) == [(item, (item * 10 + 1) * 2) for item in range(20)]
    assert recorder.begun == list(range(20))
    assert recorder.failed == []


def test_no_items_are_fine():
    recorder = Recorder()
    recorder.pipeline.run([])
    assert recorder.done == []


@pytest.mark.parametrize("stage", ["first", "middle", "last"])
def test_a_failure_of_any_stage_is_reported_and_the_rest_goes_on(stage):
    recorder = Recorder(**{stage: fail_at(3)})
    recorder.pipeline.run(range(6))
    assert recorder.failed == [(3, "3 is bad")]
    assert sorted(item for item, _ in recorder.done) == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("stage", ["first", "middle", "last"])
def test_a_bug_ends_the_run(stage):
    def bug(*arguments: int) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Recorder(**{stage: bug}).pipeline.run(range(6))


def test_the_next_item_is_prepared_while_one_is_worked_on():
    prepared = [threading.Event() for _ in range(2)]
    recorder = Recorder(
        first=lambda item: prepared[item].set(),
        middle=lambda item, early: prepared[1].wait(WAIT),  # in item 0 this needs item 1's first stage
        last=lambda item, late: late,
    )
    recorder.pipeline.run(range(2))
    assert sorted(recorder.done) == [(0, True), (1, True)]


def test_an_item_is_finished_while_the_next_is_worked_on():
    begun = [threading.Event() for _ in range(2)]
    recorder = Recorder(
        middle=lambda item, early: begun[item].set(),
        last=lambda item, late: begun[1].wait(WAIT),  # in item 0 this needs item 1's middle stage
    )
    recorder.pipeline.run(range(2))
    assert sorted(recorder.done) == [(0, True), (1, True)]


def in_flight(weight: int, limit: int) -> int:
    """Return the most items that were in the last stage at a time, where two can meet."""
    lock, inside, most = threading.Lock(), 0, 0

    def last(item: int, late: int) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.02)
        with lock:
            inside -= 1

    Recorder(limit, last=last, weight=lambda late: weight).pipeline.run(range(6))
    return most


def test_two_light_items_are_finished_at_a_time():
    assert in_flight(weight=5, limit=10) == BEHIND


@pytest.mark.parametrize("weight", [6, 11])
def test_heavy_items_are_finished_alone(weight):
    assert in_flight(weight, limit=10) == 1


def test_no_more_items_are_taken_than_are_needed():
    taken = 0
    most_ahead = 0

    def items():
        nonlocal taken
        for item in range(50):
            taken += 1
            yield item

    def middle(item: int, early: int) -> int:
        nonlocal most_ahead
        most_ahead = max(most_ahead, taken - item)
        return early

    Recorder(middle=middle).pipeline.run(items())
    assert most_ahead == AHEAD


def test_an_interrupt_lets_the_last_stage_finish_and_drops_the_rest():
    interrupted = threading.Event()
    begun: list[int] = []

    def middle(item: int, early: int) -> int:
        if item == 1:
            interrupted.set()
            raise KeyboardInterrupt
        return early

    def last(item: int, late: int) -> int:
        begun.append(item)
        assert interrupted.wait(WAIT)
        return late

    recorder = Recorder(middle=middle, last=last)
    with pytest.raises(KeyboardInterrupt):
        recorder.pipeline.run(range(6))
    assert begun == [0]
    assert recorder.done == [(0, 0)]


def test_an_interrupt_stays_one_though_what_was_under_way_fails_for_good():
    interrupted = threading.Event()
    told: list[int] = []

    def middle(item: int, early: int) -> int:
        if item == BEHIND:
            interrupted.set()
            raise KeyboardInterrupt
        return early

    def last(item: int, late: int) -> int:
        assert interrupted.wait(WAIT)
        raise InputError("the disk is full")

    def failed(item: int, error: DcdrError) -> None:
        told.append(item)
        raise StopError(error)

    recorder = Recorder(middle=middle, last=last, failed=failed)
    with pytest.raises(KeyboardInterrupt):
        recorder.pipeline.run(range(BEHIND + 1))
    assert told == list(range(BEHIND))


def test_poll_reports_what_is_finished_in_the_midst_of_a_stage():
    finished = threading.Event()

    def middle(item: int, early: int) -> int:
        while item == 1 and not recorder.done:  # hangs if nothing is reported before the stage ends
            assert finished.wait(WAIT)
            recorder.pipeline.poll()
        return early

    recorder = Recorder(middle=middle, last=lambda item, late: finished.set())
    recorder.pipeline.run(range(2))
    assert [item for item, _ in recorder.done] == [0, 1]


MANY = Workers(first=4, last=4)


def test_many_threads_prepare_and_finish_at_a_time():
    """Each stage of four items needs the three others to be in it too."""
    meeting, parting = threading.Barrier(4), threading.Barrier(4)
    recorder = Recorder(
        workers=MANY,
        first=lambda item: meeting.wait(WAIT) if item else None,
        last=lambda item, late: parting.wait(WAIT) if item else None,
        middle=lambda item, early: None,
        early_weight=lambda early: 1,
    )
    recorder.pipeline.run(range(5))
    assert len(recorder.done) == 5
    assert recorder.failed == []


def test_items_keep_their_order_through_the_middle_whoever_is_prepared_first():
    later = threading.Event()

    def first(item: int) -> int:
        if item == 0:
            assert later.wait(WAIT)
        if item == 2:
            later.set()
        return item

    order: list[int] = []
    recorder = Recorder(workers=MANY, first=first, middle=lambda item, early: order.append(item) or item)
    recorder.pipeline.run(range(6))
    assert order == list(range(6))


@pytest.mark.parametrize(("weight", "most"), [(1, MANY.ahead), (30, 3), (60, 3)])
def test_heavy_items_are_not_prepared_far_ahead(weight: int, most: int):
    """Three at a time are prepared in any case, as with one thread."""
    taken = 0
    ahead: list[int] = []

    def items():
        nonlocal taken
        for item in range(40):
            taken += 1
            yield item

    def middle(item: int, early: int) -> int:
        if item >= AHEAD:  # by then the weight is known
            ahead.append(taken - item)
        return early

    Recorder(workers=MANY, middle=middle, early_weight=lambda early: weight).pipeline.run(items())
    assert max(ahead) == most


def test_an_item_is_begun_before_the_one_before_is_waited_for():
    events: list[str] = []

    def middle(item: int, early: int) -> PendingResult[int]:
        events.append(f"begin {item}")

        def finish() -> int:
            events.append(f"finish {item}")
            return early

        return PendingResult(finish)

    prepared = threading.Event()

    def first(item: int) -> int:
        if item == 2:
            prepared.set()
        return item

    def begun(item: int) -> None:
        assert prepared.wait(WAIT)  # all are: there is always a next one to begin

    recorder = Recorder(first=first, begun=begun, middle=middle, last=lambda item, late: late)
    recorder.pipeline.run(range(3))
    assert events == ["begin 0", "begin 1", "finish 0", "begin 2", "finish 1", "finish 2"]
    assert sorted(recorder.done) == [(0, 0), (1, 1), (2, 2)]


def test_what_was_begun_is_finished_where_the_next_item_is_not_ready():
    finished = threading.Event()

    def first(item: int) -> int:
        if item == 1:
            assert finished.wait(WAIT)  # hangs if nobody finishes item 0 meanwhile
        return item

    def middle(item: int, early: int) -> PendingResult[int]:
        return PendingResult(lambda: finished.set() or early)

    recorder = Recorder(first=first, middle=middle)
    recorder.pipeline.run(range(2))
    assert sorted(item for item, _ in recorder.done) == [0, 1]


def test_a_failure_that_shows_late_is_of_the_item_that_was_begun():
    def middle(item: int, early: int) -> PendingResult[int]:
        return PendingResult(lambda: fail_at(1)(item, early))

    recorder = Recorder(middle=middle)
    recorder.pipeline.run(range(4))
    assert recorder.failed == [(1, "1 is bad")]
    assert sorted(item for item, _ in recorder.done) == [0, 2, 3]


def test_threads_follow_the_processor_where_the_network_leaves_it_alone():
    assert workers_for(16, processor_is_free=True) == Workers(16, 16)
    assert workers_for(1, processor_is_free=True) == Workers(1, BEHIND)
    assert workers_for(16, processor_is_free=False) == Workers(1, BEHIND)
