"""Commands in processes of their own: of which the system counts processor seconds and peak memory, or with a limit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcdr_deploy.system.children import killed_worker
from dcdr_deploy.system.interrupts import held, unheard_by_children


@dataclass(frozen=True)
class Usage:
    """What a process said on stdout and what it took.

    Attributes:
        said: text.
        processor_seconds: of all its threads, the system's share included.
        peak_bytes: most memory that was resident at a time, loading and libraries included. Linux hands on the peak of
            the program that starts a process: keep that small.
    """

    said: str
    processor_seconds: float
    peak_bytes: int


def dcdr_deploy(*arguments: str) -> Usage:
    """Run a command of this tool; ends the program with the command's status where that is not 0."""
    return measured([sys.executable, "-m", "dcdr_deploy", *arguments])


def measured(command: Sequence[str]) -> Usage:
    """Run a command to its end; ends the program with the command's status where that is not 0."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(process.returncode)
    return Usage(said, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


class Workers(ProcessPoolExecutor):
    """New interpreters that carry out tasks, never forks: those must not have touched CUDA, nor an engine's threads.

    Ctrl-C is heard by the process that gives the tasks, and ends the others: whoever leaves the ``with`` block by an
    exception waits for nothing. One that the system kills is an EngineError.
    """

    def __init__(self, count: int, prepare: Callable[..., None] | None = None, *given: Any) -> None:
        super().__init__(count, multiprocessing.get_context("spawn"), prepare, given)
        self._others = set(multiprocessing.active_children())

    def submit(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        """As of the class above."""
        with unheard_by_children():
            return super().submit(function, *given, **named)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if kind is not None:
            for child in set(multiprocessing.active_children()) - self._others:
                child.terminate()
        self.shutdown(wait=True, cancel_futures=kind is not None)
        if isinstance(error, BrokenProcessPool):
            raise killed_worker("run it again with fewer") from error


STOPPING = 5.0
"""Seconds between the request to end and the end by force."""


def limited(
    command: Sequence[str], log: Path, seconds: float, folder: Path, environment: Mapping[str, str]
) -> int | None:
    """Run a command for at most some seconds; what it and its children print goes to ``log`` as they print it.

    None of its children outlives the call, however it ends, in a signal's exception too.

    Args:
        command: program and words.
        log: file that is begun anew.
        seconds: after which it is asked to end, and :data:`STOPPING` later ended by force.
        folder: in which it works.
        environment: variables beside, or in place of, those of this process.

    Returns:
        Its exit code, below 0 the number of the signal that ended it, or ``None`` where its time was over.

    Raises:
        OSError: it cannot be started.
    """
    with ExitStack() as at_the_end:
        with held(), log.open("wb") as file:  # none comes before its end is certain
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **environment},
                start_new_session=True,
            )
            at_the_end.callback(_end, process)
        try:
            return process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, if it still runs, and end it and all that it has started by force."""
    try:
        if process.poll() is None:
            _signal_all(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOPPING)
    finally:
        _signal_all(process, signal.SIGKILL)
        process.wait()


def _signal_all(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a process and to all that it has started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
