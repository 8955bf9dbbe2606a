"""The parent's side of the child process that builds (worker.py): start it, listen, and never leave it behind."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import dcdr_deploy
from dcdr_deploy.errors import EngineError, of_kind
from dcdr_deploy.system.children import SAFE_PATH, module_command
from dcdr_deploy.system.interrupts import name_of
from dcdr_deploy.system.progress import Event, Listener

COMMAND = module_command("dcdr_deploy.building.worker")

_TAIL_LINES = 3
_TAIL_CHARACTERS = 400
_TAIL_BYTES = 16384


class WorkerBug(RuntimeError):
    """An error in the child that no user can cause; the message is the child's traceback."""


def run_job(job: str, request: Mapping[str, Any], listener: Listener) -> dict[str, Any]:
    """Run a job of the worker to its end.

    Whatever ends this call early (KeyboardInterrupt included) kills the child first.

    Args:
        job: a key of ``worker.JOBS``.
        request: the job's arguments, plain data.
        listener: told what the job tells.

    Returns:
        The job's result.

    Raises:
        DcdrError: as the job raised it in the child.
        EngineError: the child crashed; the message ends with the tail of its log.
        WorkerBug: the child failed in another way.
    """
    with tempfile.TemporaryFile() as log:
        # A session of its own: Ctrl-C in a terminal reaches this process alone, which then ends the child.
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
            encoding="utf-8",
            start_new_session=True,
        )
        try:
            last = _converse(process, {"job": job, **request}, listener)
            process.wait()
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    _close(pipe)
        return _outcome(last, process.returncode, log)


def _environment() -> dict[str, str]:
    """Let the child import the same dcdr_deploy, and nothing that happens to lie in the working directory."""
    root = str(Path(dcdr_deploy.__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([root, inherited] if inherited else [root])
    return {**os.environ, "PYTHONPATH": path, SAFE_PATH: "1"}


def _converse(process: subprocess.Popen[str], request: Mapping[str, Any], listener: Listener) -> dict[str, Any] | None:
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
        listener(Event(**event))
    return None


def _close(pipe: IO[str]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:  # the child went before it took the request
        return


def _outcome(last: dict[str, Any] | None, code: int, log: IO[bytes]) -> dict[str, Any]:
    kind = None if last is None else last.pop("event")
    if last is None:
        raise EngineError(f"the build process {_death(code)}; its log ends: {log_tail(log)}")
    if kind == "bug":
        raise WorkerBug(f"the build process failed:\n{last['trace']}")
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
