"""``dcdr-deploy inspect`` on ONNX files: without torch, and files that lie about themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import dcdr_deploy


def first_tensor(model: onnx.ModelProto, dims: tuple[int, ...]) -> None:
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)


def first_numbers(model: onnx.ModelProto, count: int) -> None:
    """The first tensor as a list of numbers in place of bytes, too few of them."""
    first = model.graph.initializer[0]
    first.ClearField("raw_data")
    first.float_data.extend([0.5] * count)


def first_type(model: onnx.ModelProto, number: int) -> None:
    model.graph.initializer[0].data_type = number


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: first_tensor(model, (-1,)), "negative size"),
        (lambda model: first_tensor(model, (2**62, 2**62)), "the numbers for its shape"),
        (lambda model: first_numbers(model, 3), "the numbers for its shape"),
        (lambda model: first_type(model, 99), "an element type that does not exist (99)"),
        (lambda model: first_type(model, 0), "the numbers for its shape"),
        (lambda model: first_type(model, 11), "the numbers for its shape"),
    ],
)
def test_a_tensor_that_lies_about_itself_is_named_in_one_line(
    dcdr, tiny_model: Path, change: Callable[[onnx.ModelProto], None], words: str
):
    model = onnx.load(tiny_model)
    change(model)
    Path("lying.onnx").write_bytes(model.SerializeToString())
    done = dcdr("inspect", "lying.onnx")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: lying.onnx is damaged: its tensor ")
    assert words in done.stderr


def test_a_folder_is_no_file_but_is_there(dcdr, tmp_path: Path):
    done = dcdr("inspect", tmp_path)
    assert done.exit_code == 2
    assert done.stderr == f"error: {tmp_path}: is a folder; name a file in it\n"


def test_an_unknown_type_of_the_input_is_shown_by_its_number(dcdr, tiny_model: Path):
    model = onnx.load(tiny_model)
    model.graph.input[0].type.tensor_type.elem_type = 99
    Path("odd.onnx").write_bytes(model.SerializeToString())
    assert "type 99" in dcdr("inspect", "odd.onnx").stdout


def test_an_onnx_file_is_inspected_without_torch(tiny_model: Path, tmp_path: Path):
    code = (
        "import sys\nsys.modules.update(dict.fromkeys(('torch', 'torchvision', 'onnxscript', 'onnxruntime')))\n"
        "from dcdr_deploy.cli import main\nmain(prog_name='dcdr-deploy')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(tiny_model)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(dcdr_deploy.__file__).parent.parent)},
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "dcdr.peak: 8.0" in done.stdout
