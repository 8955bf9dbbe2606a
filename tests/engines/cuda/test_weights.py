"""Weights by the names of the layers: what the exporter does to save bytes is undone, anything else is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcdr_deploy.engines.base import EngineOptions
from dcdr_deploy.engines.cuda import engine
from dcdr_deploy.engines.cuda.weights import Structure, layers, onnx_refusal, read_checkpoint, read_onnx, structure_of
from dcdr_deploy.errors import EngineError, ModelError
from dcdr_deploy.modelfile.metadata import ModelMetadata

WEIGHTS = Path(engine.__file__).parents[2] / "weights"
DEMO = WEIGHTS / "dcdr-unet-demo.onnx"

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

Export = Callable[..., Path]


@pytest.fixture(scope="module")
def small():
    """A whole network with one block at each scale."""
    from dcdr_deploy.models.config import DCDRUNetConfig

    return DCDRUNetConfig(blocks=(1, 1, 1), tone_width=32)


@pytest.fixture(scope="module")
def export(small, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """``export(fp16=..., edit=...)``: an ONNX file of a fresh network, changed by a function of the model."""
    from dcdr_deploy.export.checkpoint import store_metadata
    from dcdr_deploy.export.fp16 import to_fp16
    from dcdr_deploy.export.onnx_export import to_onnx
    from dcdr_deploy.models import DCDRUNet

    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(1)
    network = DCDRUNet(small).eval()
    exported = to_onnx(network)

    def make(fp16: bool = False, edit=lambda model: None) -> Path:
        model = onnx.ModelProto()
        model.CopyFrom(to_fp16(exported) if fp16 else exported)
        store_metadata(model, ModelMetadata(extra={"network": "dcdrunet", "architecture": small.to_json()}))
        edit(model)
        path = folder / f"{len(list(folder.iterdir()))}.onnx"
        onnx.save(model, str(path))
        torch.save(network.state_dict(), path.with_suffix(".pth"))
        return path

    return make


def assert_equal(found, expected, dtype: type = np.float32) -> None:
    assert set(found.tensors) == set(expected.tensors)
    for name, pair in expected.tensors.items():
        for one, other in zip(found.tensors[name], pair, strict=True):
            np.testing.assert_array_equal(one, other.astype(dtype).astype(np.float32), err_msg=name)


def test_the_demo_weights_are_those_of_its_checkpoint():
    found = read_onnx(DEMO)
    assert found.structure == Structure((2, 4, 2), 64)
    assert found.metadata.peak == 8.0
    assert_equal(found, read_checkpoint(WEIGHTS / "dcdr-unet-demo.safetensors"))


def test_the_layers_are_all_parameters_of_the_network(small):
    from dcdr_deploy.models import DCDRUNet

    shapes = {layer.name: layer.shape for layer in layers(Structure((1, 1, 1), 32))}
    assert shapes == {
        name.removesuffix(".weight"): tuple(tensor.shape)
        for name, tensor in DCDRUNet(small).state_dict().items()
        if name.endswith(".weight")
    }


@pytest.mark.parametrize("fp16", [False, True])
def test_equal_tensors_stored_once_and_biases_left_out_come_back(export: Export, fp16: bool):
    """A fresh network has nothing but equal zeros for offsets."""
    path = export(fp16)
    assert_equal(read_onnx(path), read_checkpoint(path.with_suffix(".pth")), np.float16 if fp16 else np.float32)


def swapped(model) -> None:
    one, other = (node for node in model.graph.node if node.op_type == "Conv" and ".hr" in node.input[1])
    one.input[1], other.input[1] = other.input[1], one.input[1]


def renamed(model) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "restoration.hr1.weight")
    for node in model.graph.node:
        node.input[:] = ["w7" if name == tensor.name else name for name in node.input]
    tensor.name = "w7"


def shortened(model) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "restoration.hr1.weight")
    tensor.raw_data = tensor.raw_data[:-4]


def unlike(model) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "restoration.hr1.weight")
    tensor.dims[:] = [64, 64, 9, 1]


def elsewhere(model) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "restoration.hr1.weight")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def alone(model) -> None:
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    model.graph.ClearField("node")
    model.graph.node.append(convolution)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (swapped, "computes restoration.hr2 where restoration.hr1 should be"),
        (renamed, "computes w7 where restoration.hr1 should be"),
        (shortened, "'restoration.hr1.weight' has 147452 bytes for the shape"),
        (unlike, "restoration.hr1 has the shape"),
        (elsewhere, "keeps its weights in weights.bin, which is not beside it"),
        (alone, "has 1 convolution, not"),
    ],
)
def test_a_file_whose_weights_cannot_be_told_is_refused_in_a_line(export: Export, edit, words: str):
    path = export(edit=edit)
    with pytest.raises(ModelError, match=words.replace("(", r"\(")) as caught:
        read_onnx(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_beyond_half_precision_are_refused(export: Export):
    def grow(model) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == "restoration.hr1.bias":
                tensor.raw_data = np.full(64, 1e6, np.float32).tobytes()

    with pytest.raises(EngineError, match="hr1 holds 1e\\+06, which FP16 cannot"):
        read_onnx(export(edit=grow))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 32}, "width 32, and the kernels are made for 64"),
        ({"condition_width": 16}, "condition_width 16"),
        ({"sft_hidden": 16}, "sft_hidden 16"),
        ({"tone_width": 40}, "tone_width 40, and the kernels take 16, 32, 48, 64"),
        ({"tone_net": False}, "tone_net=false"),
        ({"condition_net": False}, "condition_net=false"),
        ({"deformable": False}, "deformable=false"),
        ({"blocks": (2, 0, 2)}, "at least one at each scale"),
    ],
)
def test_networks_that_the_kernels_are_not_made_for_are_named(small, change: dict, words: str):
    config = replace(small, **change)
    metadata = ModelMetadata(extra={"network": "dcdrunet", "architecture": config.to_json()})
    assert words in structure_of(metadata)


def test_other_architectures_are_refused_by_the_header_alone(tmp_path: Path):
    model = onnx.load(str(DEMO))
    for entry in model.metadata_props:
        if entry.key == "dcdr.network":
            entry.value = "hdrunet"
    path = tmp_path / "other.onnx"
    onnx.save(model, str(path))
    assert onnx_refusal(path) == "the network is of architecture hdrunet, and the kernels are DCDR-UNet's"
    assert onnx_refusal(DEMO) == ""
    with pytest.raises(EngineError, match="architecture hdrunet"):
        read_onnx(path)
    assert "hdrunet" in engine.refusal(path)


def test_a_file_without_a_description_of_its_network_is_refused():
    assert "does not say how" in structure_of(ModelMetadata())
    assert "does not say how" in structure_of(ModelMetadata(extra={"architecture": "{"}))


def test_another_precision_than_the_kernels_have_is_refused():
    assert engine.refusal(DEMO, EngineOptions(precision="fp32")) == "it computes in fp16 only"
    assert engine.refusal(DEMO, EngineOptions(precision="fp16")) == ""
    with pytest.raises(EngineError, match="fp16 only"):
        engine.load(DEMO, EngineOptions(precision="fp32"))
    with pytest.raises(EngineError, match="NVIDIA GPUs only"):
        engine.load(DEMO, EngineOptions(device="cpu"))
