"""Heavy packages load with their first use: `import dcdr_deploy` and `--help` need none, `run` only its backend's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dcdr_deploy
from dcdr_deploy.system.packages import install_line

HEAVY = ("torch", "torchvision", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "cuda", "openvino", "cv2", "av")
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


def test_a_command_whose_package_is_missing_says_what_to_install(tmp_path):
    done = python(CALL, "export", "model.pth", blocked=("torch", "onnx", "onnxscript"), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert install_line("export") in done.stderr


def test_every_public_name_can_be_had():
    for name in dcdr_deploy.__all__:
        assert getattr(dcdr_deploy, name) is not None
    assert set(dcdr_deploy.__all__) <= set(dir(dcdr_deploy))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        dcdr_deploy.nonsense  # noqa: B018 - the access is the test
