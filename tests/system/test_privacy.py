"""Nothing leaves the machine, and nothing is kept about it: no backend looks anybody up or writes a file of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WATCH = """
import socket, sys
def refuse(*names, **options):
    print("LOOKED UP", names[:2], file=sys.stderr, flush=True)
    raise OSError("no network in this test")
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
socket.socket.connect = refuse
"""


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_a_run_looks_nobody_up_and_leaves_nothing_behind(tmp_path: Path, make_picture, backend: str) -> None:
    pytest.importorskip(backend)
    home, temporary, watch = (tmp_path / name for name in ("home", "tmp", "watch"))
    for folder in (home, temporary, watch):
        folder.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH)
    picture = make_picture(tmp_path / "a.png", size=(16, 16))
    root = Path(__file__).resolve().parents[2]
    environment = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "CI")}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONPATH": f"{watch}{os.pathsep}{root}"}
    weights = "safetensors" if backend == "torch" else "onnx"
    model = root / "dcdr_deploy" / "weights" / f"dcdr-unet-demo.{weights}"
    command = [
        sys.executable,
        "-m",
        "dcdr_deploy",
        "run",
        picture,
        tmp_path / "a.exr",
        "--backend",
        backend,
        "-m",
        model,
    ]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "LOOKED UP" not in result.stderr
    assert sorted(path for folder in (home, temporary) for path in folder.rglob("*") if path.is_file()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="counts on fork and exec")
def test_onnxruntime_is_told_before_it_is_imported() -> None:
    code = "import dcdr_deploy, os, sys; print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["1", "False"]
