"""Metadata in ONNX files: written as strings, read without the onnx package, refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dcdr_deploy.errors import ModelError
from dcdr_deploy.modelfile import metadata, onnx_file
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.run.selection import DEMO_MODEL

STORED = metadata.encode(ModelMetadata(peak=8.0, size_multiple=4, overlap=12, name="net"))


def test_metadata_survive_the_round_trip():
    original = ModelMetadata(
        peak=1 / 3,
        size_multiple=8,
        overlap=230,
        name="Nächte",
        extra={"architecture": '{"width": 64}', "training": "{}"},
    )
    assert metadata.decode(metadata.encode(original)) == original


def test_every_stored_value_is_a_string_under_the_project_prefix():
    assert all(k.startswith("dcdr.") and isinstance(v, str) for k, v in STORED.items())
    assert STORED[metadata.KEY_FORMAT] == "1"


def test_extra_cannot_overwrite_a_field():
    with pytest.raises(ValueError, match="peak"):
        metadata.encode(ModelMetadata(extra={"peak": "3"}))


def test_keys_of_other_tools_are_ignored():
    assert metadata.decode({**STORED, "producer": "x"}).extra == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({metadata.KEY_FORMAT: "2"}, "upgrade"),
        ({metadata.KEY_PEAK: "bright"}, "no number"),
        ({metadata.KEY_PEAK: "nan"}, "dcdr.peak = nan"),
        ({metadata.KEY_PEAK: "0"}, "out of range"),
        ({metadata.KEY_SIZE_MULTIPLE: "0"}, "out of range"),
        ({metadata.KEY_OVERLAP: "-1"}, "out of range"),
        ({metadata.KEY_SIZE_MULTIPLE: str(10**39)}, "out of range"),
        ({metadata.KEY_SIZE_MULTIPLE: "1e39"}, "no number"),
        ({metadata.KEY_SIZE_MULTIPLE: "2048"}, "out of range"),
        ({metadata.KEY_OVERLAP: str(2**40)}, "out of range"),
    ],
)
def test_bad_values_are_refused_by_name(change: dict[str, str], words: str):
    with pytest.raises(ModelError, match=words):
        metadata.decode({**STORED, **change}, "net.onnx")


def test_a_missing_entry_is_named():
    with pytest.raises(ModelError, match=r"net\.onnx lacks .*dcdr\.overlap"):
        metadata.decode({k: v for k, v in STORED.items() if k != metadata.KEY_OVERLAP}, "net.onnx")


def test_a_model_is_read_without_its_weights(model_file: Path):
    model = onnx_file.read_model(model_file)
    assert (model.input_name, model.fixed_size, model.max_batch) == ("x", None, None)
    assert (model.metadata.peak, model.metadata.overlap, model.metadata.extra) == (8.0, 12, {"weights_sha256": "ab"})


def test_properties_equal_those_that_onnxruntime_reads(model_file: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(model_file, providers=["CPUExecutionProvider"])
    assert onnx_file.read_header(model_file).properties == session.get_modelmeta().custom_metadata_map


def test_operators_equal_those_that_onnx_reads():
    onnx = pytest.importorskip("onnx")
    nodes = onnx.load(DEMO_MODEL).graph.node
    found = onnx_file.read_header(DEMO_MODEL).operators
    assert found == {(node.domain, node.op_type) for node in nodes}
    assert ("dcdr", "DCRB") in found


def test_a_fixed_model_tells_its_size_and_batch(make_model: Callable[..., Path]):
    model = onnx_file.read_model(make_model(shape=(1, 3, 32, 48)))
    assert (model.fixed_size, model.max_batch) == ((32, 48), 1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stored": {}}, "dcdr-deploy export"),
        ({"shape": (2, 3, "h", "w")}, "exactly 2 tiles"),
        ({"shape": ("n", 3, 32, "w")}, "only one of height and width"),
        ({"shape": ("n", 3, 30, 48)}, "no multiples of 4"),
        ({"shape": ("n", 3, 2**40, 48)}, "no machine can run"),
        ({"element_type": 10}, "not float32"),
    ],
)
def test_models_that_do_not_fit_are_refused(make_model: Callable[..., Path], settings: dict, words: str):
    with pytest.raises(ModelError, match=words):
        onnx_file.read_model(make_model(**settings))


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(90), b"version https://git-lfs", b"\x08\x0a", bytes(64)]
)
def test_other_files_are_no_models(tmp_path: Path, content: bytes):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="no ONNX model, or was cut short") as caught:
        onnx_file.read_model(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path):
    with pytest.raises(ModelError, match="does not exist"):
        onnx_file.read_model(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="cannot be read"):
        onnx_file.read_model(tmp_path)


def test_a_model_cut_short_anywhere_is_refused(model_file: Path, tmp_path: Path):
    whole = model_file.read_bytes()
    path = tmp_path / "cut.onnx"
    for length in np.linspace(1, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            onnx_file.read_model(path)
