"""The networks of Table 1 go through export, run and build-engine, each with its own encoding and size multiple."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import OpenEXR
import pytest
import torch
from click.testing import CliRunner, Result
from onnx import numpy_helper
from table1_networks import TINY, tiny_network

from dcdr_deploy.building.prepare import prepare
from dcdr_deploy.building.settings import BuildSettings
from dcdr_deploy.cli import main
from dcdr_deploy.engines import load_engine
from dcdr_deploy.errors import ExportError
from dcdr_deploy.export.checkpoint import ExportReport, export_checkpoint
from dcdr_deploy.export.onnx_export import to_onnx
from dcdr_deploy.export.verify import verify
from dcdr_deploy.modelfile.names import DECODING
from dcdr_deploy.models import architecture_of, load_checkpoint
from dcdr_deploy.models.hdrcnn import HDRCNN

pytestmark = pytest.mark.slow


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module", params=TINY)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """An ONNX file, made from the checkpoint of the same name beside it; export itself compares it with torch."""
    path = tmp_path_factory.mktemp(request.param) / f"{request.param}.pth"
    torch.save(tiny_network(request.param).state_dict(), path)
    return export_checkpoint(path)


def test_onnx_runtime_computes_what_torch_computes_at_every_multiple(exported: ExportReport) -> None:
    assert [each.max_abs_error <= 1e-4 for each in exported.comparisons] == [True, True]
    checkpoint = load_checkpoint(exported.path.with_suffix(".pth"))
    multiple = architecture_of(checkpoint.network.config).size_multiple
    assert exported.metadata.size_multiple == checkpoint.metadata.size_multiple == multiple
    smallest = max(multiple, 8)
    x = np.random.default_rng(0).random((1, 3, 2 * smallest, 3 * smallest), np.float32)
    with load_engine(exported.path, "onnxruntime") as engine, torch.no_grad():
        found = engine.infer(x)
        expected = checkpoint.network(torch.from_numpy(x)).numpy()
    assert np.abs((found - expected) / np.maximum(np.abs(expected), 1)).max() <= 1e-4
    assert found.std() > 1e-5


def test_run_pads_pictures_to_the_multiple_and_says_which_light_it_wrote(exported: ExportReport) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (41, 53, 3)).astype(np.uint8)
    folder = exported.path.parent
    cv2.imwrite(str(folder / "in.png"), picture)
    done = call("run", folder / "in.png", folder / "out.exr", "--model", exported.path, "--scale", "native", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["light"] == ("absolute" if exported.path.stem == "hdrtvnet" else "relative")
    pixels = OpenEXR.File(str(folder / "out.exr")).channels()["RGB"].pixels
    assert pixels.shape == picture.shape
    assert np.isfinite(pixels).all()


def test_decoding_stays_exact_where_a_file_or_an_engine_is_in_half_floats(exported: ExportReport) -> None:
    model = onnx.load(str(exported.path))
    decoding = {node.op_type for node in model.graph.node if node.name.startswith(DECODING)}
    assert ("Pow" in decoding) == (exported.path.stem in ("hdrtvnet", "kunet"))
    settings = BuildSettings("tensorrt-rtx", sms=(89,), tile=(64, 96), fp16=True, plugin=False)
    prepared = prepare(model, settings)
    kinds = {tensor.name: tensor.data_type for tensor in prepared.graph.initializer}
    inputs = {name for node in prepared.graph.node if node.name.startswith(DECODING) for name in node.input}
    assert all(kinds[name] != onnx.TensorProto.FLOAT16 for name in inputs & kinds.keys())
    assert onnx.TensorProto.FLOAT16 in kinds.values()


def test_an_engine_is_built_from_it_without_a_plugin(exported: ExportReport) -> None:
    pytest.importorskip("tensorrt_rtx")
    folder = exported.path.parent
    done = call(
        *("build-engine", exported.path, "-o", folder, "--plugin", "none", "--sm", "89", "--tile", "64x96", "--json")
    )
    assert done.exit_code == 0, done.output
    facts = json.loads(next(folder.glob("*.engine.json")).read_text())
    assert (facts["plugin"], facts["plugin_layers"]) == (None, 0)


@pytest.fixture(scope="module")
def large_logarithms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of HDRCNN whose layers give logarithms up to hundreds, as an untrained one of full width may."""
    network = tiny_network("hdrcnn")
    assert isinstance(network, HDRCNN)
    with torch.no_grad():
        network.unet.last_norm.weight.mul_(1000)
    path = tmp_path_factory.mktemp("large") / "hdrcnn.pth"
    torch.save(network.state_dict(), path)
    return path


def test_what_rounding_alone_makes_of_large_logarithms_is_no_error_of_the_file(large_logarithms: Path) -> None:
    report = export_checkpoint(large_logarithms)
    assert max(each.max_abs_error for each in report.comparisons) > 1e-4


def test_an_error_of_the_file_is_refused_where_rounding_is_large_too(large_logarithms: Path) -> None:
    network = load_checkpoint(large_logarithms).network
    model = to_onnx(network)
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "unet.last_fusion.conv.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.003), weight.name))
    path = large_logarithms.with_name("wrong.onnx")
    onnx.save(model, path)
    with pytest.raises(ExportError, match="differs from torch at 96x64 by"):
        verify(path, network, fp16=False)
