"""Folders without permission: one line for a file, and a folder run goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dcdr_deploy

RIGHTS = "-dac_override,-dac_read_search"
"""Without these, permissions hold for root too."""

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """``dcdr-deploy`` as a process for which permissions hold."""
    prefix: list[str] = []
    if not hasattr(os, "geteuid"):
        pytest.skip("has no such permissions")
    if os.geteuid() == 0:
        tool = shutil.which("setpriv")
        if tool is None:
            pytest.skip("root may do everything, and there is no setpriv")
        prefix = [tool, f"--inh-caps={RIGHTS}", f"--bounding-set={RIGHTS}"]

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, sys.executable, "-m", "dcdr_deploy", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(dcdr_deploy.__file__).parent.parent)},
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def closed(tmp_path: Path, make_picture) -> Iterator[Path]:
    """A folder with a picture, to be closed by the test."""
    folder = tmp_path / "closed"
    make_picture(folder / "a.png")
    yield folder
    folder.chmod(0o700)


@pytest.mark.parametrize("mode", [0o000, 0o600])
def test_a_picture_below_a_folder_without_permission_is_one_line(call, closed, tmp_path, mode):
    closed.chmod(mode)
    done = call("run", "closed/a.png", "o.exr")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: closed/a.png: may not be read; check its permissions\n"
    assert not (tmp_path / "o.exr").exists()


def test_an_output_below_a_folder_without_permission_is_one_line(call, closed, make_picture, tmp_path):
    make_picture(tmp_path / "in.png")
    closed.chmod(0o000)
    done = call("run", "in.png", "closed/o.exr")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: closed/o.exr: ")


def test_a_folder_whose_files_may_not_be_looked_at_lists_each_as_a_failure(call, closed, tiny_model):
    closed.chmod(0o400)
    done = call("run", "closed", "hdr", "-m", tiny_model, "--backend", "onnxruntime", "--json")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["error"] == "closed/a.png: may not be read; check its permissions"


@pytest.mark.parametrize("arguments", [("inspect", "closed/m.onnx"), ("run", "in.png", "o.exr", "-m", "closed/m.onnx")])
def test_a_model_below_a_folder_without_permission_is_one_line(call, closed, make_picture, tmp_path, arguments):
    make_picture(tmp_path / "in.png")
    closed.chmod(0o000)
    done = call(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "closed/m.onnx" in done.stderr
