"""The child process: its answers, its death, and that it never outlives its parent."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from ear import Ear
from gone import gone

from dcdr_deploy.errors import DcdrError, EngineError, EngineOutOfMemory, ModelError
from dcdr_deploy.system import child, worker
from dcdr_deploy.system.child import Worker, WorkerBug, log_tail
from dcdr_deploy.system.progress import Event, Listener, silent


@dataclass(frozen=True, kw_only=True)
class Found(Event):
    figures: list[float]


TELL = """\
import sys, os, json, time
request = json.loads(sys.stdin.readline())
tell = lambda **event: print(json.dumps(event), flush=True)
"""


def program(code: str) -> Worker:
    """A worker that is this code."""
    return Worker((sys.executable, "-c", code), "test process")


def script(code: str) -> Worker:
    """A worker that is this code, which has ``request`` and ``tell``."""
    return program(TELL + code)


def run_job(made: Worker, request: Mapping[str, Any], listener: Listener, *options: Any) -> dict[str, Any]:
    return child.run_job(made, "job", request, listener, *options)


def test_the_request_arrives_and_the_result_comes_back():
    made = script("tell(event='result', echo=request)")
    assert run_job(made, {"size": [1, 2]}, silent) == {"echo": {"job": "job", "size": [1, 2]}}


def test_stages_and_progress_are_passed_on_in_order():
    told = [Event("a"), Event("p", 1, 2), Found(note="n", figures=[1.5])]
    plain = [{"class": type(each).__name__, **vars(each)} for each in told]
    made = script(f"for each in {plain}: tell(event='progress', **each)\ntell(event='result')")
    ear = Ear()
    assert run_job(replace(made, events=(Event, Found)), {}, ear) == {}
    assert ear.heard == told


@pytest.mark.parametrize("kind", [ModelError, EngineOutOfMemory])
def test_errors_of_users_are_raised_as_they_were(kind):
    made = script(f"tell(event='error', kind={kind.__name__!r}, message='what to do')")
    with pytest.raises(kind, match="what to do") as caught:
        run_job(made, {}, silent)
    assert type(caught.value) is kind


def test_a_bug_keeps_its_traceback():
    with pytest.raises(WorkerBug, match="the test process failed:\nTraceback: it was line 7") as caught:
        run_job(script("tell(event='bug', trace='Traceback: it was line 7')"), {}, silent)
    assert not isinstance(caught.value, DcdrError)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print('parser: no such library', file=sys.stderr, flush=True); os.abort()", "crashed (SIGABRT)"),
        (
            "print('parser: no such library', file=sys.stderr, flush=True); os.kill(os.getpid(), 11)",
            "crashed (SIGSEGV)",
        ),
        ("print('parser: no such library', file=sys.stderr); sys.exit(3)", "ended early (exit code 3)"),
        ("print('parser: no such library', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)", "lack of memory"),
        ("print('parser: no such library', file=sys.stderr); print('{\"event\": \"res', end='')", "ended early"),
    ],
)
def test_a_crash_is_one_line_with_the_tail_of_the_log(code, words):
    with pytest.raises(EngineError) as caught:
        run_job(script(code), {}, silent)
    assert str(caught.value).startswith("the test process ")
    assert words in str(caught.value)
    assert str(caught.value).endswith("its log ends: parser: no such library")


def test_a_child_that_dies_before_it_reads_is_an_error_too():
    made = program("import os; os.close(0); os._exit(4)")
    with pytest.raises(EngineError, match=r"ended early \(exit code 4\); its log ends: \(empty\)"):
        run_job(made, {"filler": "x" * 1_000_000}, silent)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_the_parent_s_wait_kills_the_child(error):
    made = script("tell(event='progress', stage=str(os.getpid()), **{'class': 'Event'}); time.sleep(600)")
    pids: list[int] = []

    def stop(event: Event) -> None:
        pids.append(int(event.stage))
        raise error

    with pytest.raises(error):
        run_job(made, {}, stop)
    assert gone(pids[0])


def test_a_child_that_is_silent_for_too_long_is_killed():
    made = script(
        "for stage in ('slow', str(os.getpid())):\n"
        "    tell(event='progress', stage=stage, **{'class': 'Event'}); time.sleep(1 if stage == 'slow' else 600)"
    )
    ear = Ear()
    with pytest.raises(EngineError, match=r"nothing came of it in 0\.5 seconds"):
        run_job(made, {}, ear, lambda event: None if event.stage == "slow" else 0.5)
    assert gone(int(ear.heard[-1].stage))


def test_a_listener_that_takes_its_time_is_no_silence_of_the_child():
    made = script(
        "tell(event='progress', **{'class': 'Event'}); tell(event='progress', **{'class': 'Event'})\n"
        "tell(event='result')"
    )
    assert run_job(made, {}, lambda event: time.sleep(0.6), lambda event: 0.5) == {}


def test_what_libraries_print_on_stdout_does_not_tear_the_protocol():
    code = (
        "import os\nfrom dcdr_deploy.system import worker\n"
        "job = lambda request, listener: (print('noise'), os.write(1, b'{noise\\n'), {'fine': 1})[2]\n"
        "worker.main({'job': job})\n"
    )
    assert run_job(program(code), {}, silent) == {"fine": 1}


def answers(job: Callable[..., dict[str, object]]) -> list[dict[str, object]]:
    told: list[dict[str, object]] = []
    worker.answer({"job": job}, {"job": "job"}, lambda event, **details: told.append({"event": event, **details}))
    return told


def raising(error: BaseException):
    def job(request: object, listener: object) -> dict[str, object]:
        raise error

    return job


def test_the_worker_tells_every_end_apart():
    assert answers(lambda request, listener: {"a": 1}) == [{"event": "result", "a": 1}]
    told = answers(raising(ModelError("m")))
    assert told == [{"event": "error", "kind": "ModelError", "message": "m"}]
    assert answers(raising(MemoryError()))[0]["kind"] == "EngineOutOfMemory"
    (bug,) = answers(raising(KeyError("oops")))
    assert bug["event"] == "bug"
    assert "oops" in str(bug["trace"])


def test_the_tail_of_a_long_log_is_one_line_of_bearable_length():
    assert log_tail(io.BytesIO(b"one\n\n  two \t x\nthree\n\nfour\n")) == "two x | three | four"
    long = log_tail(io.BytesIO(b"a" * 100_000 + b"\xff end"))
    assert len(long) == 400
    assert long.startswith("...")
    assert long.endswith(" end")
    assert json.dumps(long)
