"""The weights of a DCDR-UNet by the names of its layers, from an exported ONNX file or a checkpoint.

An exported file keeps the names of the layers in those of its weights, with three exceptions that the exporter makes to
save bytes: equal tensors are stored once, a bias of zeros is left out, and a tensor that is only reshaped loses its
name. So the layers are counted off in the order in which the network computes them, and the names have to agree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.cuda.packing import SFT_HIDDEN
from dcdr_deploy.errors import EngineError, ModelError
from dcdr_deploy.imaging.half import HALF_MAX
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.modelfile.names import DCRB, DOMAIN, OFFSET_CHANNELS, WIDTH
from dcdr_deploy.modelfile.onnx_file import read_model
from dcdr_deploy.modelfile.onnx_weights import Node, OnnxGraph, read_graph
from dcdr_deploy.system.words import number_of

CONDITION_WIDTH = 32
TONE_WIDTHS = (16, 32, 48, 64)
NETWORK = "dcdrunet"

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Structure:
    """What varies among the networks that the engine runs: DCDR-UNets of width 64 with condition net and tone net.

    Attributes:
        blocks: DCRBs at x0.5 in the encoder, at x0.25, and at x0.5 in the decoder.
        tone_width: channels of the tone net, one of :data:`TONE_WIDTHS`.
    """

    blocks: tuple[int, int, int] = (2, 4, 2)
    tone_width: int = WIDTH

    def block_names(self) -> list[list[str]]:
        """Names of the blocks of encoder, middle and decoder."""
        parts = zip(("encoder", "middle", "decoder"), self.blocks, strict=True)
        return [[f"restoration.{part}.{number}" for number in range(count)] for part, count in parts]


@dataclass(frozen=True)
class Layer:
    """A 3x3 convolution by its name, (out, in) channels."""

    name: str
    channels_out: int
    channels_in: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of its weights."""
        return self.channels_out, self.channels_in, 3, 3


@dataclass(frozen=True)
class Weights:
    """A network's weights: ``tensors[name]`` is (weight (O, I, 3, 3), bias (O,)) of a layer, both float32."""

    structure: Structure
    tensors: Mapping[str, tuple[Array, Array]]
    metadata: ModelMetadata


def layers(structure: Structure) -> list[Layer]:
    """Return all convolutions in the order in which the network computes them."""
    return list(_layers(structure))


def _layers(structure: Structure) -> Iterator[Layer]:
    half, hidden = CONDITION_WIDTH, SFT_HIDDEN
    yield Layer("condition.trunk.0", half, 3)
    yield from (Layer(f"condition.trunk.{number}", half, half) for number in (1, 2))
    yield from (Layer(f"condition.heads.{head}.{number}", half, half) for head in range(3) for number in range(2))

    def sft(name: str) -> Iterator[Layer]:
        for part in ("gain", "shift"):
            yield Layer(f"{name}.{part}0", hidden, half)
            yield Layer(f"{name}.{part}1", WIDTH, hidden)

    def blocks(names: list[str]) -> Iterator[Layer]:
        for name in names:
            yield Layer(f"{name}.offset", OFFSET_CHANNELS, WIDTH)
            yield from sft(f"{name}.sft1")
            yield from sft(f"{name}.sft2")
            yield Layer(f"{name}.dcv1", WIDTH, WIDTH)
            yield Layer(f"{name}.dcv2", WIDTH, WIDTH)

    def plain(name: str, channels_out: int = WIDTH, channels_in: int = WIDTH) -> Layer:
        return Layer(f"restoration.{name}", channels_out, channels_in)

    encoder, middle, decoder = structure.block_names()
    yield plain("first", channels_in=3)
    yield from sft("restoration.sft1")
    yield plain("hr1")
    yield plain("down1")
    yield from blocks(encoder)
    yield plain("down2")
    yield from blocks(middle)
    yield plain("up1", 4 * WIDTH)
    yield from blocks(decoder)
    yield plain("up2", 4 * WIDTH)
    yield from sft("restoration.sft2")
    yield plain("hr2")
    yield plain("last", 3)
    tone = structure.tone_width
    for number, (channels_out, channels_in) in enumerate(((tone, 3), (tone, tone), (tone, tone), (3, tone))):
        yield Layer(f"tone.layers.{number}", channels_out, channels_in)


def structure_of(metadata: ModelMetadata) -> Structure | str:
    """Return a network's structure by what its file says, or why it is none that the engine runs."""
    kind = metadata.extra.get("network", NETWORK)
    if kind != NETWORK:
        return f"the network is of architecture {kind}, and the kernels are DCDR-UNet's"
    try:
        config = json.loads(metadata.extra["architecture"])
        blocks = config["blocks"]
        first, second, third = (int(count) for count in blocks)
        tone = int(config["tone_width"])
        fixed = {key: int(config[key]) for key in ("width", "condition_width", "sft_hidden")}
        parts = {key: bool(config[key]) for key in ("condition_net", "tone_net", "deformable")}
    except (KeyError, TypeError, ValueError):
        return "the file does not say how its network is built"
    wanted = {"width": WIDTH, "condition_width": CONDITION_WIDTH, "sft_hidden": SFT_HIDDEN}
    for key, value in wanted.items():
        if fixed[key] != value:
            return f"the network has {key} {fixed[key]}, and the kernels are made for {value}"
    for key, present in parts.items():
        if not present:
            return f"the network was built with {key}=false, and the kernels are made for the whole DCDR-UNet"
    if tone not in TONE_WIDTHS:
        return f"the network has tone_width {tone}, and the kernels take {', '.join(map(str, TONE_WIDTHS))}"
    if min(first, second, third) < 1 or first + second + third > 256:
        return f"the network has {first}, {second} and {third} blocks, and the kernels want at least one at each scale"
    return Structure((first, second, third), tone)


def onnx_refusal(path: Path) -> str:
    """Return why an ONNX file is not for this engine, by its header alone; empty if it is.

    Raises:
        ModelError: it is damaged.
    """
    structure = structure_of(read_model(path).metadata)
    return structure if isinstance(structure, str) else ""


def read_onnx(path: Path) -> Weights:
    """Read the weights of an exported DCDR-UNet, stored in FP32 or FP16.

    Raises:
        ModelError: the file is damaged or not of this project.
        EngineError: it holds a network that the engine does not know.
    """
    metadata = read_model(path).metadata
    structure = structure_of(metadata)
    if isinstance(structure, str):
        raise EngineError(f"{path}: {structure}")
    graph = read_graph(path)
    found = list(_convolutions(graph))
    expected = layers(structure)
    if len(found) != len(expected):
        counted = number_of(len(found), "convolution")
        raise ModelError(f"{path} has {counted}, not {len(expected)} as a DCDR-UNet of its kind; export it again")
    names = {layer.name for layer in expected}
    tensors = {}
    for layer, (weight, bias) in zip(expected, found, strict=True):
        stated = weight.removesuffix(".weight")
        if weight not in graph.tensors or (stated != layer.name and not _stored_once(graph, weight, found, names)):
            raise ModelError(f"{path} computes {stated} where {layer.name} should be; export it again")
        tensors[layer.name] = _pair(layer, graph, weight, bias, path)
    return Weights(structure, tensors, metadata)


def _convolutions(graph: OnnxGraph) -> Iterator[tuple[str, str]]:
    """Names of weights and bias of all convolutions, the two of a block's included; empty where there is no bias."""
    for node in graph.nodes:
        if (node.domain, node.operator) == ("", "Conv"):
            yield _input(node, 1), _input(node, 2)
        elif (node.domain, node.operator) == (DOMAIN, DCRB):
            yield _input(node, 6), _input(node, 7)
            yield _input(node, 8), _input(node, 9)


def _input(node: Node, number: int) -> str:
    return node.inputs[number] if number < len(node.inputs) else ""


def _stored_once(graph: OnnxGraph, weight: str, found: list[tuple[str, str]], names: set[str]) -> bool:
    """Tell whether several layers share a tensor under the name of one of them, which equal tensors do."""
    return weight.removesuffix(".weight") in names and sum(weight == other for other, _ in found) > 1


def _pair(layer: Layer, graph: OnnxGraph, weight: str, bias: str, path: Path) -> tuple[Array, Array]:
    values = graph.tensors[weight].astype(np.float32)
    if bias and bias not in graph.tensors:
        raise ModelError(f"{path}: the bias of {layer.name} is no number of the file; export it again")
    added = graph.tensors[bias].astype(np.float32) if bias else np.zeros(layer.channels_out, np.float32)
    return _checked(layer, values, added, path)


def _checked(layer: Layer, weight: Array, bias: Array, path: Path) -> tuple[Array, Array]:
    if weight.shape != layer.shape or bias.shape != (layer.channels_out,):
        raise ModelError(f"{path}: {layer.name} has the shape {weight.shape}, not {layer.shape}; export it again")
    largest = max(float(np.abs(weight).max()), float(np.abs(bias).max()))
    if not largest <= HALF_MAX:
        raise EngineError(f"{path}: {layer.name} holds {largest:.3g}, which FP16 cannot; use another backend")
    return weight, bias


def read_checkpoint(path: Path) -> Weights:
    """Read the weights of a checkpoint, which takes torch.

    Raises:
        CheckpointError: it is unsafe, damaged, or of no known architecture.
        EngineError: the engine does not know its network.
    """
    from dcdr_deploy.models import architecture_of, load_checkpoint

    loaded = load_checkpoint(path)
    config = loaded.network.config
    told = {"network": architecture_of(config).name, "architecture": config.to_json()}
    structure = structure_of(ModelMetadata(extra=told))
    if isinstance(structure, str):
        raise EngineError(f"{path}: {structure}")
    state = {name: tensor.detach().numpy() for name, tensor in loaded.network.state_dict().items()}
    tensors = {
        layer.name: _checked(layer, state[f"{layer.name}.weight"], state[f"{layer.name}.bias"], path)
        for layer in layers(structure)
    }
    return Weights(structure, tensors, loaded.metadata)
