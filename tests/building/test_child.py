"""The child process: its answers, its death, and that it never outlives its parent."""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from ear import Ear

from dcdr_deploy.building import child, worker
from dcdr_deploy.building.child import WorkerBug, log_tail, run_job
from dcdr_deploy.building.settings import BuildSettings
from dcdr_deploy.errors import DcdrError, EngineError, EngineOutOfMemory, ModelError
from dcdr_deploy.system.progress import Event, silent

TELL = """\
import sys, os, json, time
request = json.loads(sys.stdin.readline())
tell = lambda **event: print(json.dumps(event), flush=True)
"""


@pytest.fixture
def script(monkeypatch):
    """``script(code)``: the worker is this code, which has ``request`` and ``tell``."""

    def use(code: str) -> None:
        monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c", TELL + code))

    return use


def test_the_request_arrives_and_the_result_comes_back(script):
    script("tell(event='result', echo=request)")
    assert run_job("build", {"size": [1, 2]}, silent) == {"echo": {"job": "build", "size": [1, 2]}}


def test_stages_and_progress_are_passed_on_in_order(script):
    told = [Event("a"), Event("p", 1, 2), Event(note="n")]
    script(f"for each in {[vars(each) for each in told]}: tell(event='progress', **each)\ntell(event='result')")
    ear = Ear()
    assert run_job("build", {}, ear) == {}
    assert ear.heard == told


@pytest.mark.parametrize("kind", [ModelError, EngineOutOfMemory])
def test_errors_of_users_are_raised_as_they_were(script, kind):
    script(f"tell(event='error', kind={kind.__name__!r}, message='what to do')")
    with pytest.raises(kind, match="what to do") as caught:
        run_job("build", {}, silent)
    assert type(caught.value) is kind


def test_a_bug_keeps_its_traceback(script):
    script("tell(event='bug', trace='Traceback: it was line 7')")
    with pytest.raises(WorkerBug, match="line 7") as caught:
        run_job("build", {}, silent)
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
def test_a_crash_is_one_line_with_the_tail_of_the_log(script, code, words):
    script(code)
    with pytest.raises(EngineError) as caught:
        run_job("build", {}, silent)
    assert words in str(caught.value)
    assert str(caught.value).endswith("its log ends: parser: no such library")


def test_a_child_that_dies_before_it_reads_is_an_error_too(monkeypatch):
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c", "import os; os.close(0); os._exit(4)"))
    with pytest.raises(EngineError, match=r"ended early \(exit code 4\); its log ends: \(empty\)"):
        run_job("build", {"filler": "x" * 1_000_000}, silent)


def gone(pid: int) -> bool:
    """Tell whether a process ended within a few seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_the_parent_s_wait_kills_the_child(script, error):
    script("tell(event='progress', stage=str(os.getpid())); time.sleep(600)")
    pids: list[int] = []

    def stop(event: Event) -> None:
        pids.append(int(event.stage))
        raise error

    with pytest.raises(error):
        run_job("build", {}, stop)
    assert gone(pids[0])


PR_SET_CHILD_SUBREAPER = 36
"""Option of Linux's prctl: orphaned descendants become this process's children (linux/prctl.h)."""


@pytest.fixture
def adopts_orphans():
    """Workers whose parent dies become children of the tests, so that nobody else ends them and their end is known."""
    prctl = ctypes.CDLL(None).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
    yield
    assert prctl(PR_SET_CHILD_SUBREAPER, 0) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the orphans")
@pytest.mark.usefixtures("adopts_orphans")
@pytest.mark.parametrize("sent", ["SIGKILL", "SIGTERM"])
def test_a_worker_whose_parent_was_killed_ends_by_itself_and_takes_unfinished_files_along(tmp_path, sent):
    engine = tmp_path / ".model.1-0.tmp.engine"
    for name in (engine.name, f"{engine.name}.json", "model.engine", "model.engine.json"):
        (tmp_path / name).write_bytes(b"so far")
    code = (
        "import time\nfrom dcdr_deploy.building import worker\nfrom dcdr_deploy.system.progress import Event\n"
        "worker.JOBS['build'] = lambda request, listener: (listener(Event(str(__import__('os').getpid()))),"
        " time.sleep(600))\nworker.main()\n"
    )
    parent = (
        "from dcdr_deploy.building import child\nimport sys\n"
        f"child.COMMAND = (sys.executable, '-c', {code!r})\n"
        f"child.run_job('build', {{'engine': {str(engine)!r}}}, lambda event: print(event.stage, flush=True))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.send_signal(signal.Signals[sent])
    process.wait()
    process.stdout.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1  # by itself; a negative code would be a signal
    assert {path.name for path in tmp_path.iterdir()} == {"model.engine", "model.engine.json"}


def test_what_libraries_print_on_stdout_does_not_tear_the_protocol(monkeypatch):
    code = (
        "import os\nfrom dcdr_deploy.building import worker\n"
        "worker.JOBS['build'] = lambda request, listener: (print('noise'), os.write(1, b'{noise\\n'), {'fine': 1})[2]\n"
        "worker.main()\n"
    )
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c", code))
    assert run_job("build", {}, silent) == {"fine": 1}


@pytest.mark.parametrize("has_safe_path", [False, True])
def test_files_in_the_working_directory_are_no_modules(tmp_path, monkeypatch, has_safe_path):
    for name in ("onnx.py", "json.py", "encodings.py", "dcdr_deploy.py"):
        (tmp_path / name).write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    if not has_safe_path:  # as Python 3.10, which does not know the variable
        monkeypatch.setattr(child, "SAFE_PATH", "UNKNOWN_TO_PYTHON")
    settings = worker.settings_to_data(BuildSettings("tensorrt-rtx", (86,)))
    with pytest.raises(ModelError, match=r"model gone\.onnx does not exist"):
        run_job("build", {"onnx": "gone.onnx", "engine": "x", "target": "x", "settings": settings}, silent)


def answers(job: object, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    monkeypatch.setitem(worker.JOBS, "build", job)
    told: list[dict[str, object]] = []
    worker.answer({"job": "build"}, lambda event, **details: told.append({"event": event, **details}))
    return told


def raising(error: BaseException):
    def job(request: object, listener: object) -> dict[str, object]:
        raise error

    return job


def test_the_worker_tells_every_end_apart(monkeypatch):
    assert answers(lambda request, listener: {"a": 1}, monkeypatch) == [{"event": "result", "a": 1}]
    told = answers(raising(ModelError("m")), monkeypatch)
    assert told == [{"event": "error", "kind": "ModelError", "message": "m"}]
    assert answers(raising(MemoryError()), monkeypatch)[0]["kind"] == "EngineOutOfMemory"
    (bug,) = answers(raising(KeyError("oops")), monkeypatch)
    assert bug["event"] == "bug"
    assert "oops" in str(bug["trace"])


def test_the_tail_of_a_long_log_is_one_line_of_bearable_length():
    assert log_tail(io.BytesIO(b"one\n\n  two \t x\nthree\n\nfour\n")) == "two x | three | four"
    long = log_tail(io.BytesIO(b"a" * 100_000 + b"\xff end"))
    assert len(long) == 400
    assert long.startswith("...")
    assert long.endswith(" end")
    assert json.dumps(long)
