"""`dcdr-deploy export` writes a file that is whole, verified, self-describing and free of this machine's traces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest_export import SINGLE, small_network
from onnx import TensorProto, numpy_helper

from dcdr_deploy.engines import load_engine
from dcdr_deploy.errors import CheckpointError, ExportError, InputError
from dcdr_deploy.export import checkpoint as pipeline
from dcdr_deploy.export.checkpoint import ExportOptions, ExportReport, export_checkpoint
from dcdr_deploy.export.fp16 import to_fp16
from dcdr_deploy.export.operators import OPSET, function_bodies
from dcdr_deploy.export.places import default_output
from dcdr_deploy.modelfile.onnx_file import read_model
from dcdr_deploy.models import DCDRUNetConfig, load_checkpoint


def reference(checkpoint: Path, picture: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return load_checkpoint(checkpoint).network(torch.from_numpy(picture)).numpy()


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


def test_the_file_lies_beside_the_checkpoint(checkpoint: Path, exported: ExportReport) -> None:
    assert exported.path == checkpoint.with_name("model.onnx")
    assert exported.path.is_file()


def test_fp16_has_a_name_of_its_own() -> None:
    assert default_output(Path("a/model.pth"), fp16=True) == Path("a/model.fp16.onnx")


def test_the_graph_has_one_dcrb_node_a_block_named_as_the_module(exported: ExportReport) -> None:
    nodes = [node for node in onnx.load(str(exported.path)).graph.node if node.domain == "dcdr"]
    assert [node.op_type for node in nodes] == ["DCRB"] * 4
    names = [node.name for node in nodes]
    assert names == ["restoration.encoder.0", "restoration.middle.0", "restoration.middle.1", "restoration.decoder.0"]


def test_the_file_carries_both_functions_and_the_checker_accepts_it(exported: ExportReport) -> None:
    model = onnx.load(str(exported.path))
    assert {(f.domain, f.name) for f in model.functions} == {("dcdr", "DeformConv2d"), ("dcdr", "DCRB")}
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": OPSET, "dcdr": 1}
    onnx.checker.check_model(model)


def test_batch_height_and_width_are_dynamic(exported: ExportReport) -> None:
    model = onnx.load(str(exported.path))
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        assert [bool(dimension.dim_param) for dimension in dimensions] == [True, False, True, True]
        assert dimensions[1].dim_value == 3


@pytest.mark.parametrize("shape", [(1, 3, 4, 8), (3, 3, 20, 12), (1, 3, 68, 100)])
def test_onnx_runtime_computes_what_torch_computes(
    checkpoint: Path, exported: ExportReport, shape: tuple[int, ...]
) -> None:
    x = picture(*shape)
    with load_engine(exported.path, "onnxruntime") as engine:
        assert np.abs(engine.infer(x) - reference(checkpoint, x)).max() <= 1e-4


def test_openvino_computes_what_torch_computes(checkpoint: Path, exported: ExportReport) -> None:
    pytest.importorskip("openvino")
    x = picture(1, 3, 36, 52)
    with load_engine(exported.path, "openvino") as engine:
        assert np.abs(engine.infer(x) - reference(checkpoint, x)).max() <= 1e-4


def test_the_gridsample_form_computes_the_same(checkpoint: Path, exported: ExportReport, tmp_path: Path) -> None:
    model = onnx.load(str(exported.path))
    del model.functions[:]
    model.functions.extend(function_bodies("gridsample"))
    onnx.checker.check_model(model)
    onnx.save(model, str(tmp_path / "grid.onnx"))
    x = picture(2, 3, 24, 36)
    with load_engine(tmp_path / "grid.onnx", "onnxruntime") as engine:
        assert np.abs(engine.infer(x) - reference(checkpoint, x)).max() <= 1e-4


@pytest.mark.parametrize(
    "changes",
    [{"condition_net": False}, {"deformable": False}, {"tone_net": False}, {"condition_net": False, "tone_net": False}],
)
def test_ablated_networks_export_and_verify(tmp_path: Path, changes: dict[str, bool]) -> None:
    config: DCDRUNetConfig = replace(SINGLE, **changes)
    torch.save(small_network(config).state_dict(), tmp_path / "m.pth")
    report = export_checkpoint(tmp_path / "m.pth")
    assert all(each.max_abs_error <= 1e-4 for each in report.comparisons)


def test_both_sizes_are_verified(exported: ExportReport) -> None:
    assert len(exported.comparisons) == 2
    assert all(each.max_abs_error <= 1e-4 for each in exported.comparisons)


def test_metadata_reaches_the_runner(checkpoint: Path, exported: ExportReport) -> None:
    metadata = read_model(exported.path).metadata
    assert metadata.peak == 4.0
    assert metadata.size_multiple == 4
    assert metadata.overlap == exported.metadata.overlap > 84  # the offsets of this network reach further than 0
    config = DCDRUNetConfig.from_json(metadata.extra["architecture"])
    assert config == load_checkpoint(checkpoint).network.config
    assert set(metadata.extra) >= {"weights_sha256", "tool_version", "offsets", "precision"}


def test_no_path_of_this_machine_is_in_the_file(exported: ExportReport) -> None:
    content = exported.path.read_bytes()
    for trace in (b"site-packages", str(Path.cwd()).encode(), b"stack_trace", b"pkg.torch"):
        assert trace not in content


def test_static_models_take_one_size(single_checkpoint: Path, tmp_path: Path) -> None:
    report = export_checkpoint(single_checkpoint, tmp_path / "s.onnx", ExportOptions(static=(32, 48)))
    assert read_model(report.path).fixed_size == (32, 48)
    assert [each.size for each in report.comparisons] == [(32, 48)]


@pytest.mark.parametrize("static", [(30, 48), (0, 8), (2, 2)])
def test_a_static_size_off_the_multiple_is_refused(checkpoint: Path, tmp_path: Path, static: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="multiples of 4"):
        export_checkpoint(checkpoint, tmp_path / "m.onnx", ExportOptions(static=static))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("peak", [0.0, -1.0, float("nan"), float("inf")])
def test_a_peak_that_is_no_positive_number_is_refused(peak: float) -> None:
    with pytest.raises(InputError, match="`peak`"):
        ExportOptions(peak=peak)


def test_a_peak_that_nobody_named_is_reported(single_checkpoint: Path, exported: ExportReport, tmp_path: Path) -> None:
    report = export_checkpoint(single_checkpoint, tmp_path / "m.onnx", ExportOptions(verify=False))
    assert report.peak_assumed
    assert report.metadata.peak == 1.0
    assert report.comparisons == []
    assert not exported.peak_assumed


def test_an_export_that_differs_from_torch_is_refused_and_leaves_no_file(
    single_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = pipeline.to_onnx

    def tampered(*arguments: object) -> onnx.ModelProto:
        model = honest(*arguments)  # type: ignore[arg-type]
        tensor = next(t for t in model.graph.initializer if t.name == "restoration.last.weight")
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.01), tensor.name))
        return model

    monkeypatch.setattr(pipeline, "to_onnx", tampered)
    with pytest.raises(ExportError, match="differs from torch"):
        export_checkpoint(single_checkpoint, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_survives_a_failed_export(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("old")
    (tmp_path / "m.pth").write_text("junk")
    with pytest.raises(CheckpointError):
        export_checkpoint(tmp_path / "m.pth")
    assert (tmp_path / "m.onnx").read_text() == "old"


def test_another_suffix_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.onnx"):
        export_checkpoint(checkpoint, tmp_path / "m.engine")


def test_fp16_weights_and_interface(exported_fp16: ExportReport) -> None:
    model = onnx.load(str(exported_fp16.path))
    kinds = {tensor.data_type for tensor in model.graph.initializer if tensor.name.endswith("weight")}
    assert kinds == {TensorProto.FLOAT16}
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    onnx.checker.check_model(model)


def test_fp16_is_close_to_fp32_and_says_how_close(
    checkpoint: Path, exported: ExportReport, exported_fp16: ExportReport
) -> None:
    assert all(each.psnr >= 60 for each in exported_fp16.comparisons)
    assert all(a.psnr < b.psnr for a, b in zip(exported_fp16.comparisons, exported.comparisons, strict=True))
    x = picture(1, 3, 40, 28)
    with load_engine(exported_fp16.path, "onnxruntime") as engine:
        assert np.mean((engine.infer(x) - reference(checkpoint, x)) ** 2) < 1e-6


def test_fp16_refuses_weights_that_do_not_fit(exported: ExportReport) -> None:
    model = onnx.load(str(exported.path))
    tensor = next(t for t in model.graph.initializer if t.name == "restoration.hr1.weight")
    tensor.CopyFrom(numpy_helper.from_array(np.full((8, 8, 3, 3), 1e5, np.float32), tensor.name))
    with pytest.raises(ExportError, match=r"restoration\.hr1\.weight"):
        to_fp16(model)


@pytest.mark.parametrize("form", ["native", "gridsample"])
def test_coordinates_are_fp32_when_features_are_fp16(form: str) -> None:
    """Beyond 2048 FP16 knows whole pixels only; sampling half a pixel off must still give the mean of two."""
    import onnxruntime
    from onnx import helper

    width = 4096
    names, half = ["x", "offset", "w", "b"], TensorProto.FLOAT16
    node = helper.make_node("DeformConv2d", names, ["y"], domain="dcdr")
    shapes = [[1, 1, 1, width], [1, 18, 1, width], [1, 1, 3, 3], [1]]
    inputs = [helper.make_tensor_value_info(n, half, s) for n, s in zip(names, shapes, strict=True)]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", half, [1, 1, 1, width])])
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("dcdr", 1)]
    model = helper.make_model(graph, opset_imports=imports, functions=function_bodies(form), ir_version=10)
    values = [np.zeros(shape, np.float16) for shape in shapes]
    values[0][..., ::2] = 1  # 1, 0, 1, 0, ...
    values[1][:, 9] = 0.5  # centre tap, half a pixel to the right
    values[2][0, 0, 1, 1] = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result = session.run(None, dict(zip(names, values, strict=True)))[0]
    assert np.abs(result[0, 0, 0, :-1] - 0.5).max() < 0.01
