"""Weights stored as FP16 and computed with in FP32: half of the bytes, and the same numbers for every reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest_export import SINGLE, small_network
from onnx import TensorProto, numpy_helper

from dcdr_deploy.engines import load_engine
from dcdr_deploy.engines.cuda.weights import read_onnx
from dcdr_deploy.export.checkpoint import ExportOptions, export_checkpoint
from dcdr_deploy.export.compact import packed, unpacked
from dcdr_deploy.export.fp16 import to_fp16
from dcdr_deploy.export.loading import load_onnx
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.modelfile.onnx_file import read_model
from dcdr_deploy.models import save_safetensors
from dcdr_deploy.run.selection import DEMO_MODEL


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with its weights in FP32."""
    path = tmp_path_factory.mktemp("plain") / "plain.onnx"
    onnx.save(load_onnx(DEMO_MODEL), path)
    return path


def test_the_demo_model_takes_half_of_the_bytes_and_is_a_file_of_fp32(plain: Path) -> None:
    assert plain.stat().st_size > 4 * 1_524_000
    assert DEMO_MODEL.stat().st_size < 2.1 * 1_524_278
    assert read_model(DEMO_MODEL).precision == read_model(plain).precision == "fp32"
    assert not {t.data_type for t in onnx.load(plain).graph.initializer} & {TensorProto.FLOAT16}


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_backend_computes_the_same_to_the_bit(plain: Path, backend: str) -> None:
    picture = np.random.default_rng(1).random((1, 3, 64, 96), np.float32)
    results = []
    for path in (DEMO_MODEL, plain):
        with load_engine(path, backend) as engine:
            results.append(engine.infer(picture))
    np.testing.assert_array_equal(*results)


def test_the_kernels_read_the_same(plain: Path) -> None:
    found, expected = read_onnx(DEMO_MODEL), read_onnx(plain)
    assert found.tensors.keys() == expected.tensors.keys()
    for name, pair in expected.tensors.items():
        for values, others in zip(found.tensors[name], pair, strict=True):
            np.testing.assert_array_equal(values, others)


def test_packing_and_unpacking_gives_the_same_graph_and_changes_no_argument(plain: Path) -> None:
    model = onnx.load(plain)
    before = model.SerializeToString()
    small = packed(model)
    onnx.checker.check_model(small)
    between = small.SerializeToString()
    assert len(between) < 0.55 * len(before)
    again = unpacked(small)
    assert (model.SerializeToString(), small.SerializeToString()) == (before, between)
    assert list(again.graph.node) == list(model.graph.node)
    assert_equal(arrays(again), arrays(model))


def test_what_fp16_does_not_hold_and_what_is_small_stays_as_it_is(plain: Path) -> None:
    model = onnx.load(plain)
    by_name = {tensor.name: tensor for tensor in model.graph.initializer}
    changed = {"restoration.hr1.weight": 1e-9, "restoration.hr2.weight": 1e6, "restoration.down1.weight": np.nan}
    for name, value in changed.items():
        values = numpy_helper.to_array(by_name[name]).copy()
        values[0, 0, 0, 0] = value
        by_name[name].CopyFrom(numpy_helper.from_array(values, name))
    stored = arrays(packed(model))
    for name in (*changed, "restoration.hr1.bias"):
        np.testing.assert_array_equal(stored[name], numpy_helper.to_array(by_name[name]))
    assert stored["restoration.first.weight.half"].dtype == np.float16


def test_fp16_of_a_packed_model_is_fp16_of_the_model(plain: Path, tmp_path: Path) -> None:
    found, expected = to_fp16(onnx.load(DEMO_MODEL)), to_fp16(onnx.load(plain))
    assert list(found.graph.node) == list(expected.graph.node)
    assert_equal(arrays(found), arrays(expected))
    onnx.save(packed(found), tmp_path / "half.onnx")
    assert read_model(tmp_path / "half.onnx").precision == "fp16"


@pytest.mark.slow
def test_an_export_of_an_fp16_checkpoint_can_be_compact(tmp_path: Path) -> None:
    save_safetensors(small_network(SINGLE), tmp_path / "m.safetensors", ModelMetadata(peak=8.0), torch.float16)
    report = export_checkpoint(tmp_path / "m.safetensors", options=ExportOptions(compact=True))
    assert max(each.max_abs_error for each in report.comparisons) < 1e-4
    assert report.metadata.extra["precision"] == read_model(report.path).precision == "fp32"
    halves = [name for name, values in arrays(onnx.load(report.path)).items() if values.dtype == np.float16]
    assert "restoration.up1.weight.half" in halves
    assert not any(values.dtype == np.float16 for values in arrays(load_onnx(report.path)).values())
