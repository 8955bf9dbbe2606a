"""A process of the tests that ends by itself is a failure of the test that it was in, and of no other."""

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
    once = Path(__file__).with_suffix(".once")
    if not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)

def test_after(): pass
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_test_whose_process_ends_has_failed_and_the_others_run(tmp_path: Path) -> None:
    """Also where it is in the last file, when the other worker has nothing left."""
    for name in "abcd":
        (tmp_path / f"test_{name}.py").write_text(QUICK)
    (tmp_path / "test_z.py").write_text(CRASHING)
    options = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-p", "no:cacheprovider"]
    plugins = ["-p", "xdist", "-p", "crashed_workers"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(HELPERS)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "crashed while running 'test_z.py::test_crash': SIGKILL" in done.stdout
    assert "1 failed, 15 passed" in done.stdout  # twelve quick ones, before and after, and the one that runs again
