"""HDRUNet goes through export, inspect and run as DCDR-UNet does; its output becomes linear light on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import OpenEXR
import pytest
import torch
from click.testing import CliRunner, Result

from dcdr_deploy.cli import main
from dcdr_deploy.commands.show.export import as_text
from dcdr_deploy.engines import load_engine
from dcdr_deploy.export.checkpoint import ExportOptions, ExportReport, describe, export_checkpoint
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.modelfile.onnx_file import read_model
from dcdr_deploy.models import HDRUNet, HDRUNetConfig, initialise, load_checkpoint, save_safetensors

SMALL = HDRUNetConfig(width=8, condition_hidden=6, condition_width=4, sft_hidden=3, blocks=(1, 2, 1))
SINGLE = replace(SMALL, blocks=(0, 1, 0))


def small_network(config: HDRUNetConfig = SMALL) -> HDRUNet:
    """An output in the range of pictures."""
    network = HDRUNet(config)
    initialise(network, 2)
    with torch.no_grad():
        network.conv_last.weight.mul_(0.1)
        network.mask_est[-1].weight.mul_(0.1)
        network.mask_est[-1].bias.fill_(0.5)
    return network.eval()


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def reference(path: Path, x: np.ndarray, output: str) -> np.ndarray:
    network = load_checkpoint(path).network
    network.config = replace(network.config, output=output)
    with torch.no_grad():
        return network(torch.from_numpy(x)).numpy()


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as other tools write it."""
    path = tmp_path_factory.mktemp("hdrunet") / "hdrunet.pth"
    torch.save(small_network().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with fewer blocks, for what is exported once more."""
    path = tmp_path_factory.mktemp("single") / "hdrunet.pth"
    torch.save(small_network(SINGLE).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def exported_hdrunet(public: Path) -> ExportReport:
    return export_checkpoint(public)


def test_onnx_runtime_computes_what_torch_computes(public: Path, exported_hdrunet: ExportReport) -> None:
    x = np.random.default_rng(0).random((2, 3, 36, 52), np.float32)
    with load_engine(exported_hdrunet.path, "onnxruntime") as engine:
        result = engine.infer(x)
    assert np.abs(result - reference(public, x, "gamma:2.24")).max() <= 1e-4
    assert result.std() > 0.01


def test_the_file_holds_standard_operators_only_and_is_accepted_by_the_checker(exported_hdrunet: ExportReport) -> None:
    model = onnx.load(str(exported_hdrunet.path))
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    onnx.checker.check_model(model)


def test_metadata_names_the_network_and_the_overlap_of_its_receptive_field(exported_hdrunet: ExportReport) -> None:
    metadata = read_model(exported_hdrunet.path).metadata
    reach = small_network().receptive_field()
    assert metadata.extra["network"] == "hdrunet"
    assert HDRUNetConfig.from_json(metadata.extra["architecture"]) == replace(SMALL, output="gamma:2.24")
    assert reach <= metadata.overlap < reach + 4
    assert (metadata.size_multiple, metadata.peak, metadata.extra["offsets"]) == (4, 1.0, "{}")


def test_the_published_network_needs_an_overlap_of_96(tmp_path: Path) -> None:
    torch.save(HDRUNet().state_dict(), tmp_path / "m.pth")
    assert describe(load_checkpoint(tmp_path / "m.pth"), ExportOptions()).overlap == 96


def test_the_report_says_that_the_published_encoding_was_assumed(exported_hdrunet: ExportReport) -> None:
    text = as_text(exported_hdrunet)
    assert "taken as gamma:2.24" in text
    assert "--output-encoding" in text


def test_an_encoding_that_the_user_names_goes_into_the_file(single: Path, tmp_path: Path) -> None:
    result = call("export", single, "-o", tmp_path / "m.onnx", "--output-encoding", "linear")
    assert result.exit_code == 0, result.output
    assert "does not say how its output" not in result.stdout
    x = np.random.default_rng(1).random((1, 3, 16, 20), np.float32)
    with load_engine(tmp_path / "m.onnx", "onnxruntime") as engine:
        assert np.abs(engine.infer(x) - reference(single, x, "linear")).max() <= 1e-4


def test_weights_of_this_tool_are_linear_as_they_are(tmp_path: Path) -> None:
    save_safetensors(small_network(SINGLE), tmp_path / "m.safetensors", ModelMetadata(peak=8.0), torch.float32)
    report = export_checkpoint(tmp_path / "m.safetensors")
    assert report.encoding_assumed is None
    assert "Pow" not in {node.op_type for node in onnx.load(str(report.path)).graph.node}


def test_fp16_files_are_close(single: Path, tmp_path: Path) -> None:
    report = export_checkpoint(single, tmp_path / "m.onnx", ExportOptions(fp16=True))
    assert all(each.psnr >= 60 for each in report.comparisons)


@pytest.mark.parametrize("encoding", ["gamma:0", "gamma:-1", "log:nan", "gamma:x", "sRGB", "linear:2"])
def test_an_encoding_that_there_is_not_is_refused(public: Path, encoding: str) -> None:
    result = call("export", public, "--output-encoding", encoding)
    assert result.exit_code == 2
    assert "--output-encoding" in result.stderr


def test_dcdr_unet_takes_no_encoding(checkpoint: Path) -> None:
    result = call("export", checkpoint, "--output-encoding", "gamma:2.2")
    assert result.exit_code == 2
    assert "(DCDR-UNet) gives linear light" in result.stderr


def test_run_takes_the_checkpoint_and_the_file(public: Path, exported_hdrunet: ExportReport, tmp_path: Path) -> None:
    picture = np.random.default_rng(2).integers(0, 255, (42, 54, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "in.png"), picture)
    written = []
    for model in (public, exported_hdrunet.path):
        written.append(tmp_path / f"{model.suffix[1:]}.exr")
        result = call("run", tmp_path / "in.png", written[-1], "--model", model, "--float", "--tile", "32")
        assert result.exit_code == 0, result.output
    by_torch, by_onnx = (OpenEXR.File(str(path)).channels()["RGB"].pixels for path in written)
    assert np.abs(by_torch - by_onnx).max() < 1e-4


def test_inspect_describes_it(public: Path) -> None:
    data = json.loads(call("inspect", public, "--json").stdout)
    assert (data["network"], data["deformable_blocks"]) == ("HDRUNet", 0)
    assert data["architecture"]["blocks"] == [1, 2, 1]


def test_an_engine_is_built_from_it_without_a_word_about_plugins(
    exported_hdrunet: ExportReport, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    result = call("build-engine", exported_hdrunet.path, "-o", tmp_path, "--fp16", "--sm", "89", "--tile", "64x96")
    assert result.exit_code == 0, result.output
    facts = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert (facts["plugin"], facts["plugin_layers"]) == (None, 0)
