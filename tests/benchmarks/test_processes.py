"""What is started ends, however."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import processes
import pytest

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


class StopError(Exception):
    """What a handler makes of a signal."""


@pytest.fixture
def handled() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise StopError

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that were started; a signal comes right after each start."""
    numbers: list[int] = []
    start = subprocess.Popen

    def with_signal(*arguments: object, **wishes: object) -> object:
        process = start(*arguments, **wishes)
        numbers.append(process.pid)
        signal.raise_signal(signal.SIGTERM)
        return process

    monkeypatch.setattr(processes.subprocess, "Popen", with_signal)
    return numbers


@pytest.mark.usefixtures("handled")
def test_a_signal_right_after_the_start_leaves_no_process(started: list[int], tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StopError):
        processes.limited(SLEEPS, tmp_path / "log", 30, tmp_path, {})
    (number,) = started
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert signal.getsignal(signal.SIGTERM) is handler


def test_other_threads_run_commands_too(tmp_path: Path) -> None:
    """Handlers are the main thread's."""
    codes: list[int | None] = []
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    thread = threading.Thread(
        target=lambda: codes.append(processes.limited(command, tmp_path / "log", 30, tmp_path, {}))
    )
    thread.start()
    thread.join()
    assert codes == [3]
