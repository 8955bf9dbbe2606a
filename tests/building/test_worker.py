"""The child process that builds: what it leaves when its parent is killed, and what it imports."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

import pytest

from dcdr_deploy.building import worker
from dcdr_deploy.building.build import WORKER
from dcdr_deploy.building.settings import BuildSettings
from dcdr_deploy.errors import ModelError
from dcdr_deploy.system import child
from dcdr_deploy.system.child import run_job
from dcdr_deploy.system.progress import silent

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
        "from dcdr_deploy.system.child import Worker, run_job\nimport sys\n"
        f"made = Worker((sys.executable, '-c', {code!r}), 'build process')\n"
        f"run_job(made, 'build', {{'engine': {str(engine)!r}}}, lambda event: print(event.stage, flush=True))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.send_signal(signal.Signals[sent])
    process.wait()
    process.stdout.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1  # by itself; a negative code would be a signal
    assert {path.name for path in tmp_path.iterdir()} == {"model.engine", "model.engine.json"}


@pytest.mark.parametrize("has_safe_path", [False, True])
def test_files_in_the_working_directory_are_no_modules(tmp_path, monkeypatch, has_safe_path):
    for name in ("onnx.py", "json.py", "encodings.py", "dcdr_deploy.py"):
        (tmp_path / name).write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    if not has_safe_path:  # as Python 3.10, which does not know the variable
        monkeypatch.setattr(child, "SAFE_PATH", "UNKNOWN_TO_PYTHON")
    settings = worker.settings_to_data(BuildSettings("tensorrt-rtx", (86,)))
    with pytest.raises(ModelError, match=r"model gone\.onnx does not exist"):
        run_job(WORKER, "build", {"onnx": "gone.onnx", "engine": "x", "target": "x", "settings": settings}, silent)
