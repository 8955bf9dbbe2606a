"""Measuring in real processes on a GPU that is a stand-in: a form that ends a process, or never ends, costs itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_cuda
import pytest
import timed_gpu
from timed_gpu import DEMO, FIRST, KNOWN, SECOND

from dcdr_deploy.engines.cuda.tuning import tune
from dcdr_deploy.engines.cuda.tuning.candidates import JOINED
from dcdr_deploy.system.child import Worker

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="asks for the signals of POSIX")

THIRD, FOURTH = KNOWN[JOINED]


def measuring(**broken: object) -> Worker:
    """The process that measures, with kernels of :class:`timed_gpu.Gpu` that are broken as is said."""
    folders = [str(Path(module.__file__ or "").parent) for module in (timed_gpu, fake_cuda)]
    code = (
        f"import sys; sys.path[:0] = {folders!r}\n"
        "import pytest, timed_gpu\n"
        "from dcdr_deploy.engines.cuda.tuning import worker\n"
        f"vars(timed_gpu.Gpu(pytest.MonkeyPatch())).update({broken!r})\n"
        "worker.main()\n"
    )
    return Worker((sys.executable, "-c", code), tune.WORKER.name, tune.WORKER.events)


@pytest.mark.slow
def test_forms_that_end_the_process_or_never_end_are_left_out_and_the_rest_is_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    broken = {
        "deadly": {("64_64", FIRST)},
        "endless": {(JOINED, THIRD)},
        "fatal": {(JOINED, FOURTH)},
        "share": {("64_64", SECOND): 0.5, ("64_64", FIRST): 0.1, (JOINED, THIRD): 0.1},
    }
    monkeypatch.setattr(tune, "WORKER", measuring(**broken))
    monkeypatch.setattr(tune, "TRIAL_SECONDS", 3.0)
    report = tune.tune(DEMO)
    why = {(kind, label): why for kind, label, why in report.left_out}
    assert set(why) == {("64_64", FIRST), (JOINED, THIRD), (JOINED, FOURTH)}
    assert "crashed (SIGABRT); its log ends:" in why["64_64", FIRST]
    assert why[JOINED, THIRD] == "nothing came of it in 3 seconds"
    assert "illegal address" in why[JOINED, FOURTH]
    assert report.chosen == {"64_64": SECOND}
    assert {each.kind for each in report.choices} == set(KNOWN)
    assert report.adopted
    assert report.file is not None
    assert json.loads(report.file.read_text())["kernels"] == {"64_64": SECOND}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for the child in /proc")
def test_ctrl_c_during_a_trial_leaves_nothing_running(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from dcdr_deploy.engines.cuda.tuning import tune\n"
        "from dcdr_deploy.system.child import Worker\n"
        f"tune.WORKER = Worker({measuring(endless={('64_64', FIRST)}).command!r}, 'process', tune.WORKER.events)\n"
        f"tune.tune(Path({str(DEMO)!r}), listener=lambda event: print(event.stage, flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    assert process.stdout is not None
    while process.stdout.readline() != "kernel 64_64\n":
        assert process.poll() is None
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    time.sleep(1.0)  # until the kernel that never ends
    assert Path(f"/proc/{child}").exists()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.endswith("KeyboardInterrupt\n")
    assert not Path(f"/proc/{child}").exists()
    assert list(tmp_path.glob("dcdr-tune-*")) == []
