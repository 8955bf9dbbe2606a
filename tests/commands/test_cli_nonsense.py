"""Files around a run that hold nonsense under a right checksum: a plain run goes on, and a named one says why not."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from dcdr_deploy.modelfile.metadata import KEY_SIZE_MULTIPLE, ModelMetadata, encode
from dcdr_deploy.modelfile.sidecar import Sidecar, _checksum, sidecar_path, write
from dcdr_deploy.system.files import file_sha256

ORT = ("--backend", "onnxruntime")


@pytest.fixture
def strange_engine(tmp_path: Path) -> Path:
    """An engine whose sidecar has a right checksum and ``"sms": 5``."""
    path = tmp_path / "strange.engine"
    path.write_bytes(b"engine")
    shape = (1, 64, 64)
    facts = Sidecar(
        "tensorrt", "10.1", (86,), "fp16", shape, shape, shape, "", file_sha256(path), encode(ModelMetadata())
    )
    write(path, facts)
    data = json.loads(sidecar_path(path).read_text(encoding="utf-8"))
    del data["checksum"]
    data["sms"] = 5
    sidecar_path(path).write_text(json.dumps({**data, "checksum": _checksum(data)}), encoding="utf-8")
    return path


@pytest.mark.parametrize("command", [("run", "in.png", "out.exr", "-m"), ("inspect",)])
def test_a_sidecar_of_nonsense_is_named_in_one_line(dcdr, make_picture, strange_engine, command):
    make_picture(Path("in.png"))
    done = dcdr(*command, strange_engine)
    assert done.exit_code == 2
    assert "sms = 5, which makes no sense" in done.stderr.splitlines()[-1]


def test_a_plain_run_beside_a_sidecar_of_nonsense_goes_on(dcdr, make_picture, write_tiny_model, strange_engine):
    make_picture(Path("in.png"))
    write_tiny_model(Path("mine.onnx"))
    done = dcdr("run", "in.png", "out.exr")
    assert done.exit_code == 0, done.stderr
    assert "note: not taken: strange.engine.json has sms = 5" in done.stderr
    assert "model: mine.onnx" in done.stderr


def test_a_size_multiple_of_nonsense_is_named_in_one_line(dcdr, make_picture, write_tiny_model):
    make_picture(Path("in.png"))
    write_tiny_model(Path("odd.onnx"), stored={**encode(ModelMetadata()), KEY_SIZE_MULTIPLE: "9" * 39})
    done = dcdr("run", "in.png", "out.exr", "-m", "odd.onnx", *ORT)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "out of range" in done.stderr.splitlines()[-1]


def test_a_fixed_size_of_nonsense_is_named_in_one_line(dcdr, make_picture, tiny_model):
    make_picture(Path("in.png"))
    model = onnx.load(tiny_model)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 2**40
    Path("odd.onnx").write_bytes(model.SerializeToString())
    done = dcdr("run", "in.png", "out.exr", "-m", "odd.onnx", *ORT)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "which no machine can run" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("line", ['{"output": []}', '{"output": {}}', "[]", "7", '"x"', "null", '{"output": "a.exr"}'])
def test_a_line_of_nonsense_in_the_manifest_is_no_obstacle(dcdr, make_picture, tiny_model, line):
    make_picture(Path("photos/a.png"))
    assert dcdr("run", "photos", "hdr", "-m", tiny_model, *ORT).exit_code == 0
    (manifest,) = (path for path in Path("hdr").iterdir() if path.suffix == ".jsonl")
    manifest.write_text(line + "\n" + manifest.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    done = dcdr("run", "photos", "hdr", "-m", tiny_model, *ORT)
    assert done.exit_code == 0, done.stderr
