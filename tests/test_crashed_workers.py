"""A process of the tests that ends by itself loses no test, and twice in one test it is that test's failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPERS = Path(__file__).parent / "helpers"
QUICK = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_quick(number): pass
"""

CRASHING = """
import os, signal
from pathlib import Path

def test_before(): pass

def test_crash():
    ends = Path(__file__).with_suffix(".ends")
    ends.write_text(ends.read_text()[1:])
    if ends.read_text():
        os.kill(os.getpid(), signal.SIGKILL)
"""
"""Its process ends as often as there is a letter left in a file beside it."""


def run(folder: Path, crashes: int) -> subprocess.CompletedProcess[str]:
    """Files of tests on two workers; in the last test of the last one a process ends so many times."""
    for name in "abcd":
        (folder / f"test_{name}.py").write_text(QUICK)
    (folder / "test_z.py").write_text(CRASHING)
    (folder / "test_z.ends").write_text("x" * (crashes + 1))
    options = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-rs", "-p", "no:cacheprovider"]
    plugins = ["-p", "xdist", "-p", "crashed_workers"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(HELPERS)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options, "--rootdir", str(folder), str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_test_whose_process_ended_once_runs_again_and_that_is_told(tmp_path: Path) -> None:
    done = run(tmp_path, 1)
    assert done.returncode == 0, done.stdout
    assert "14 passed, 1 skipped" in done.stdout
    assert "process ended in test_z.py::test_crash: SIGKILL" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_test_whose_process_ends_again_has_failed(tmp_path: Path) -> None:
    done = run(tmp_path, 2)
    assert done.returncode == 1, done.stdout
    assert "test_z.py::test_crash: SIGKILL, then SIGKILL" in done.stdout
    assert "crashed while running 'test_z.py::test_crash'" in done.stdout
