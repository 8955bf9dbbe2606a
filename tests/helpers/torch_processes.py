"""Python processes that have torch already: forked from a server that imports it once, where each would do so anew.

Importing torch takes two seconds of a core and its first optimizer step two more, which is most of what the processes
of a test do. Everything else is as in processes started by a shell: a session, an environment, a command line and
output of their own, signals as Python takes them, an exit status.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

PRELOADED = ["torch._dynamo", "torch.distributed.run", "dcdr_deploy.training.assembly", "dcdr_deploy.commands.train"]


class PythonProcess:
    """``python ARGUMENTS`` with the streams and methods of a ``subprocess.Popen`` in text mode; killed at the end.

    Args:
        arguments: ``"-c", code``, ``"-m", module`` or a script, with what follows.
        environment: of the process; this one's if not given.
        launched: so many of it are started by torch's launcher, as by ``python -m torch.distributed.run --standalone``.
    """

    def __init__(self, *arguments: object, environment: Mapping[str, str] | None = None, launched: int = 0) -> None:
        if "forkserver" not in multiprocessing.get_all_start_methods():
            pytest.skip("processes cannot be forked here")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        reader, writer = context.Pipe(duplex=False)
        errors, self._errors = tempfile.mkstemp()
        os.close(errors)
        line = [str(argument) for argument in arguments]
        told = (line, launched, dict(os.environ if environment is None else environment), Path.cwd())
        self._process = context.Process(target=_run, args=(writer, self._errors, *told))
        self._process.start()
        writer.close()
        self.stdout = open(os.dup(reader.fileno()), encoding="utf-8")  # noqa: PTH123, SIM115
        reader.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def __enter__(self) -> PythonProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.join()
        self.stdout.close()
        Path(self._errors).unlink()

    def poll(self) -> int | None:
        """The exit status, negative for a signal; ``None`` before the end."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for the end; what was not read of stdout, and stderr. After ``timeout`` seconds the test fails."""
        late = threading.Event()
        alarm = threading.Timer(timeout, lambda: (late.set(), os.killpg(self.pid, signal.SIGKILL)))
        alarm.start()
        output = self.stdout.read()
        self._process.join()
        alarm.cancel()
        errors = Path(self._errors).read_text(encoding="utf-8")
        assert not late.is_set(), f"still running after {timeout} s: {output} {errors}"
        return output, errors


def _run(stdout: Connection, errors: str, line: list[str], launched: int, environment: Any, folder: Path) -> None:
    os.chdir(folder)
    os.dup2(stdout.fileno(), 1)
    with Path(errors).open("wb") as file:
        os.dup2(file.fileno(), 2)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    _python(line, environment) if not launched else _launch(launched, line, environment)


def _begin(environment: Mapping[str, str]) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)


def _python(line: Sequence[str], environment: Mapping[str, str]) -> None:
    """Do what ``python LINE`` does in a session of its own."""
    _begin(environment)
    kind, *rest = line
    if kind in ("-c", "-m"):
        what, *rest = rest
    sys.argv = [kind, *rest]
    try:
        if kind == "-c":
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
        elif kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(kind).parent))
            runpy.run_path(kind, run_name="__main__")
    finally:
        atexit._run_exitfuncs()


def _launch(count: int, line: list[str], environment: Mapping[str, str]) -> None:
    """Do what torch's launcher does, but fork where it would start Python."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler

    _begin(environment)
    SubprocessHandler._popen = lambda handler, args, env: _Forked(args, env)  # type: ignore[assignment, return-value]
    run.main(["--standalone", "--nproc-per-node", str(count), *line])


class _Forked:
    """What the launcher needs of a ``subprocess.Popen``."""

    def __init__(self, args: Sequence[str], environment: Mapping[str, str]) -> None:
        assert list(args[:2]) == [sys.executable, "-u"]
        self._process = multiprocessing.get_context("fork").Process(target=self._run, args=(args[2:], environment))
        self._process.start()
        self.pid = self._process.pid

    @staticmethod
    def _run(line: Sequence[str], environment: Mapping[str, str]) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):  # a new program has not the launcher's handlers
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _python(line, environment)

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return self.poll()
