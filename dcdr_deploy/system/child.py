"""The parent's side of a job in a child process (worker.py): start it, listen, and never leave it behind."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import dcdr_deploy
from dcdr_deploy.errors import EngineError, of_kind
from dcdr_deploy.system.children import SAFE_PATH
from dcdr_deploy.system.interrupts import name_of
from dcdr_deploy.system.progress import Event, Listener

_TAIL_LINES = 3
_TAIL_CHARACTERS = 400
_TAIL_BYTES = 16384


@dataclass(frozen=True)
class Worker:
    """A program whose ``main`` is :func:`dcdr_deploy.system.worker.main`.

    Attributes:
        command: that starts it.
        name: of its process in messages, such as ``"build process"``.
        events: classes of what its jobs tell.
    """

    command: tuple[str, ...]
    name: str
    events: tuple[type[Event], ...] = (Event,)


class WorkerBug(RuntimeError):
    """An error in the child that no user can cause; the message is the child's traceback."""


class _Watch:
    """Kills a process that is silent for longer than it may be."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._timer: threading.Timer | None = None
        self.late: float | None = None
        """Seconds that the process was silent for when it was killed; ``None`` if it was not."""

    def expect(self, seconds: float | None) -> None:
        """Wait for so many seconds from now on, ``None`` for ever."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else threading.Timer(seconds, self._end, (seconds,))
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def _end(self, seconds: float) -> None:
        self.late = seconds
        self._process.kill()


def run_job(
    worker: Worker,
    job: str,
    request: Mapping[str, Any],
    listener: Listener,
    patience: Callable[[Event], float | None] = lambda event: None,
) -> dict[str, Any]:
    """Run a job of a worker to its end.

    Whatever ends this call early (KeyboardInterrupt included) kills the child first.

    Args:
        worker: the program.
        job: a key of its jobs.
        request: the job's arguments, plain data.
        listener: told what the job tells.
        patience: seconds that the child may be silent after an event, ``None`` for as long as it likes.

    Returns:
        The job's result.

    Raises:
        DcdrError: as the job raised it in the child.
        EngineError: the child crashed, and the message ends with the tail of its log; or it was silent for too long.
        WorkerBug: the child failed in another way.
    """
    with tempfile.TemporaryFile() as log:
        # A session of its own: Ctrl-C in a terminal reaches this process alone, which then ends the child.
        process = subprocess.Popen(
            worker.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
            encoding="utf-8",
            start_new_session=True,
        )
        watch = _Watch(process)
        try:
            last = _converse(process, {"job": job, **request}, _heard(worker, listener, patience, watch))
            process.wait()
        finally:
            watch.expect(None)
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    _close(pipe)
        if last is None and watch.late is not None:
            raise EngineError(f"nothing came of it in {watch.late:g} seconds")
        return _outcome(worker.name, last, process.returncode, log)


def _environment() -> dict[str, str]:
    """Let the child import the same dcdr_deploy, and nothing that happens to lie in the working directory."""
    root = str(Path(dcdr_deploy.__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([root, inherited] if inherited else [root])
    return {**os.environ, "PYTHONPATH": path, SAFE_PATH: "1"}


def _heard(
    worker: Worker, listener: Listener, patience: Callable[[Event], float | None], watch: _Watch
) -> Callable[[dict[str, Any]], None]:
    """Return what makes an event of what the child told, and passes it on."""
    classes = {each.__name__: each for each in worker.events}

    def hear(told: dict[str, Any]) -> None:
        event = classes[told.pop("class")](**told)
        watch.expect(None)  # what the listener takes is not the child's silence
        listener(event)
        watch.expect(patience(event))

    return hear


def _converse(
    process: subprocess.Popen[str], request: Mapping[str, Any], hear: Callable[[dict[str, Any]], None]
) -> dict[str, Any] | None:
    """Send the request, pass on what it tells; return the event that ends the job, ``None`` if none came."""
    assert process.stdin is not None  # both are pipes
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()  # and stays open: its end tells the child that this process is gone
    except BrokenPipeError:
        return None
    for line in process.stdout:
        try:
            event = json.loads(line)
        except ValueError:  # cut short by a crash
            return None
        if event["event"] != "progress":
            return event
        del event["event"]
        hear(event)
    return None


def _close(pipe: IO[str]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:  # the child went before it took the request
        return


def _outcome(name: str, last: dict[str, Any] | None, code: int, log: IO[bytes]) -> dict[str, Any]:
    kind = None if last is None else last.pop("event")
    if last is None:
        raise EngineError(f"the {name} {_death(code)}; its log ends: {log_tail(log)}")
    if kind == "bug":
        raise WorkerBug(f"the {name} failed:\n{last['trace']}")
    if kind == "error":
        raise of_kind(last["kind"], last["message"])
    return last


def _death(code: int) -> str:
    """Return in words how a child ended that gave no result."""
    if code >= 0:
        return f"ended early (exit code {code})"
    name = name_of(-code)
    hint = ", perhaps for lack of memory" if name == "SIGKILL" else ""
    return f"crashed ({name}{hint})"


def log_tail(log: IO[bytes]) -> str:
    """Return the last lines of a log as one line of bearable length."""
    log.seek(0, os.SEEK_END)
    log.seek(max(log.tell() - _TAIL_BYTES, 0))
    lines = [" ".join(line.split()) for line in log.read().decode("utf-8", "replace").splitlines()]
    text = " | ".join([line for line in lines if line][-_TAIL_LINES:])
    return (text if len(text) <= _TAIL_CHARACTERS else "..." + text[-_TAIL_CHARACTERS + 3 :]) or "(empty)"
