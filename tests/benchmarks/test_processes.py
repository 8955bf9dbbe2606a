"""What is started ends, however."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import processes
import pytest

from dcdr_deploy.errors import EngineError

STOPPED_AT_ONCE = """
import signal, subprocess, sys
import processes

class StopError(Exception):
    pass

def stop(*_):
    raise StopError

def with_signal(*arguments, start=subprocess.Popen, **wishes):
    process = start(*arguments, **wishes)
    print(process.pid, flush=True)
    signal.raise_signal(signal.SIGTERM)
    return process

signal.signal(signal.SIGTERM, stop)
subprocess.Popen = with_signal
try:
    processes.limited([sys.executable, "-c", "import time; time.sleep(60)"], LOG, 30, LOG.parent, {})
except StopError:
    print("stopped", signal.getsignal(signal.SIGTERM) is stop)
"""
"""A program that gets a signal right after it has started another; its handler raises."""


def test_a_signal_right_after_the_start_leaves_no_process(tmp_path: Path) -> None:
    """In a process of its own, which the signal may end if the handler does not see it."""
    script = f"from pathlib import Path\nLOG = Path({str(tmp_path / 'log')!r})\n{STOPPED_AT_ONCE}"
    environment = {**os.environ, "PYTHONPATH": str(Path(processes.__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, env=environment, check=True
    )
    number, how = done.stdout.splitlines()
    assert how == "stopped True"
    with pytest.raises(ProcessLookupError):
        os.kill(int(number), 0)


def test_workers_leave_ctrl_c_to_the_process_that_gives_them_tasks() -> None:
    with processes.Workers(1) as workers:
        number = workers.submit(os.getpid).result(60)
        os.kill(number, signal.SIGINT)
        assert workers.submit(os.getpid).result(60) == number


def test_workers_end_at_once_where_their_block_is_left_early() -> None:
    began = time.monotonic()
    numbers = []

    def interrupted() -> None:
        with processes.Workers(1) as workers:
            numbers.append(workers.submit(os.getpid).result(60))
            workers.submit(time.sleep, 3600)
            workers.submit(time.sleep, 3600)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ProcessLookupError):
        os.kill(numbers[0], 0)
    assert time.monotonic() - began < 600


def test_a_worker_that_is_killed_is_a_line() -> None:
    with pytest.raises(EngineError, match="a worker process ended without a word"), processes.Workers(1) as workers:
        workers.submit(os.kill, workers.submit(os.getpid).result(60), signal.SIGKILL).result(60)


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
