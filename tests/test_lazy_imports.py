"""Heavy packages load with their first use: `import dcdr_deploy` and `--help` need none, `run` only its backend's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dcdr_deploy
from dcdr_deploy.system.packages import install_line

HEAVY = ("torch", "torchvision", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "cuda", "openvino", "cv2", "av")
SERVICE = ("fastapi", "uvicorn", "prometheus_client")
ROOT = Path(dcdr_deploy.__file__).parent.parent


def python(code: str, *arguments: object, blocked: tuple[str, ...], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a new process in which importing the blocked modules raises ImportError."""
    prologue = f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", prologue + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )


CALL = "from dcdr_deploy.cli import main\nmain(prog_name='dcdr-deploy')\n"


def test_importing_the_package_loads_nothing_heavy(tmp_path):
    code = "import dcdr_deploy\nprint([m for m in ('numpy', 'click', 'PIL', 'OpenEXR', 'tqdm') if m in sys.modules])"
    done = python(code, blocked=HEAVY, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("run", "--help"), ("build-engine", "--help"), ("doctor", "--help")]
)
def test_help_needs_none_of_the_heavy_packages(tmp_path, arguments):
    done = python(CALL, *arguments, blocked=HEAVY, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "dcdr-deploy" in done.stdout


def test_the_list_of_commands_imports_no_command(tmp_path):
    code = CALL.replace("main(", "import atexit\natexit.register(lambda: print(sorted(sys.modules)))\nmain(")
    done = python(code, "--help", blocked=(), cwd=tmp_path)
    assert "export" in done.stdout
    assert "dcdr_deploy.cli" in done.stdout
    assert "dcdr_deploy.commands" not in done.stdout


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_run_needs_one_cpu_backend_and_no_torch_and_no_onnx(tmp_path, tiny_model, make_picture, backend):
    pytest.importorskip(backend)
    source = make_picture(tmp_path / "in.png")
    blocked = tuple(name for name in HEAVY if name not in (backend, "cv2"))
    done = python(CALL, "run", source, "out.exr", "--preview", "--model", tiny_model, blocked=blocked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert backend in done.stdout
    assert {"out.exr", "out.preview.png"} <= {path.name for path in tmp_path.iterdir()}


def test_run_loads_no_torch_even_where_it_is_installed(tmp_path, tiny_model, make_picture):
    source = make_picture(tmp_path / "in.png")
    code = CALL.replace("main(", "import atexit\natexit.register(lambda: print('torch' in sys.modules))\nmain(")
    done = python(code, "run", source, "out.exr", "--model", tiny_model, blocked=(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("False\n")


WRONG_MOVES = {
    "export nope.pth": "nope.pth: no such checkpoint",
    "export .": "is a folder: name the checkpoint",
    "export some.pth -o model.bin": "model.bin: an exported model needs the suffix .onnx",
    "export some.pth -o some.pth/model.onnx": "some.pth is not a folder",
    "export some.pth --part nope.pth": "nope.pth: no such checkpoint",
    "export some.pth --calibrate nope": "nope holds no pictures",
    "train --data nope -o run": "nope: no such folder",
    "train --data . -o run": "has no folders leftImg8bit",
    "train --ldr nope --hdr nope -o run": "nope: no such folder",
    "train --ldr nope -o run": "give both",
    "train --photos nope --panoramas panoramas -o run": "nope: no such folder",
    "train --panoramas nope -o run": "nope: no such folder",
    "train --panoramas empty -o run": "no .exr or .hdr file for train",
    "train --panoramas panoramas --split-list nope.tsv -o run": "nope.tsv: cannot be read (No such file",
    "train --panoramas panoramas --weights nope.pth -o run": "nope.pth: no such checkpoint",
    "train --panoramas panoramas --vgg19-weights nope.pth -o run": "nope.pth: no such file",
    "train --panoramas panoramas --recipe nope -o run": "unknown recipe",
    "train --panoramas panoramas -o some.pth": "some.pth is a file",
    "train --panoramas panoramas -o some.pth/run": "some.pth is not a folder",
    "train --panoramas panoramas -o begun": "begun holds a run already",
    "train --resume -o run": "no checkpoint at",
    "evaluate nope.exr truth.exr": "nope.exr: no such file",
    "build-engine nope.onnx": "nope.onnx does not exist",
    "benchmark -m nope.onnx": "nope.onnx does not exist",
    "inspect nope.pth": "nope.pth: no such file",
    "triton models -m nope.onnx": "nope.onnx does not exist",
    "vapoursynth nope.onnx -o script.vpy": "nope.onnx does not exist",
    "preview nope.exr": "nope.exr: no such file",
    "view nope.exr": "nope.exr: no such file",
    "serve -m nope.onnx": "nope.onnx does not exist",
    "run nope.png out.exr": "nope.png: no such file",
}


def test_a_wrong_path_is_told_before_anything_heavy_is_loaded(tmp_path):
    for name in ("some.pth", "begun/last.pth", "panoramas/validation/b.hdr", "panoramas/a.hdr"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"anything")
    (tmp_path / "empty").mkdir()
    code = f"""
import json
from click.testing import CliRunner
from dcdr_deploy.cli import main
for line in {list(WRONG_MOVES)!r}:
    result = CliRunner().invoke(main, line.split())
    print(json.dumps([result.exit_code, result.output, [name for name in {HEAVY + SERVICE!r} if name in sys.modules]]))
"""
    done = python(code, blocked=(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = dict(zip(WRONG_MOVES, map(json.loads, done.stdout.splitlines()), strict=True))
    for line, (status, output, loaded) in told.items():
        assert (status, loaded) == (2, []), (line, output)
        assert WRONG_MOVES[line] in output, (line, output)


def test_a_command_whose_package_is_missing_says_what_to_install(tmp_path):
    done = python(CALL, "export", "model.pth", blocked=("torch", "onnx", "onnxscript"), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert install_line("export") in done.stderr


def test_the_service_says_what_to_install_where_its_packages_are_missing(tmp_path):
    done = python(CALL, "serve", blocked=("fastapi", "uvicorn"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"error: this needs fastapi, uvicorn: {install_line('serve')}\n")


def test_every_public_name_can_be_had():
    for name in dcdr_deploy.__all__:
        assert getattr(dcdr_deploy, name) is not None
    assert set(dcdr_deploy.__all__) <= set(dir(dcdr_deploy))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        dcdr_deploy.nonsense  # noqa: B018 - the access is the test
