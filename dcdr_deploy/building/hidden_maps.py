"""The SFT layers of DCRB nodes in one convolution for each condition map, as version 2 of the plugin takes them.

In an exported graph a block's gain and shift maps come from two convolutions each with a leaky ReLU between. The first
ones of all blocks that read the same condition map become one convolution, whose result is the hidden map; the second
ones go into the plugin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dcdr_deploy.engines.cuda.packing import SFT_HIDDEN, WIDTH

_MAPS = slice(2, 6)
"""Gain 1, shift 1, gain 2 and shift 2 among the inputs of an exported DCRB node."""


@dataclass(frozen=True)
class Branch:
    """One of a block's four maps: second(leaky_relu(first(condition))).

    Attributes:
        condition: the condition map.
        first: node of the first convolution.
        activation: node of the leaky ReLU.
        second: node of the second convolution.
    """

    condition: str
    first: onnx.NodeProto
    activation: onnx.NodeProto
    second: onnx.NodeProto


@dataclass(frozen=True)
class HiddenBlock:
    """What a block takes instead of its maps.

    Attributes:
        hidden: name of the hidden map.
        first: the block's first channel in it.
        branches: where its four maps came from.
    """

    hidden: str
    first: int
    branches: tuple[Branch, ...]


def merge_hidden_maps(model: onnx.ModelProto, blocks: list[onnx.NodeProto]) -> list[HiddenBlock] | None:
    """Put the first convolutions of the blocks' SFT layers together.

    Args:
        model: changed in place, unless the result is ``None``. The old convolutions stay until :func:`remove_unused`.
        blocks: its DCRB nodes, named.

    Returns:
        In the blocks' order; ``None`` where the maps of a block do not come from two convolutions each of the form and
        with the number of hidden channels that the kernels know, from one condition map.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    found: list[tuple[Branch, ...]] = []
    for block in blocks:
        branches = [_branch(name, producers, constants) for name in block.input[_MAPS]]
        whole = tuple(branch for branch in branches if branch is not None)
        if len(whole) < len(branches) or len({(b.condition, _slope(b.activation)) for b in whole}) != 1:
            return None
        found.append(whole)
    groups: dict[tuple[str, float], list[int]] = defaultdict(list)
    for number, branches_of in enumerate(found):
        groups[branches_of[0].condition, _slope(branches_of[0].activation)].append(number)
    merged: dict[int, HiddenBlock] = {}
    for place, ((condition, slope), numbers) in enumerate(groups.items()):
        name = f"hidden_maps.{place}"
        firsts = [branch.first for number in numbers for branch in found[number]]
        _insert(model, name, condition, slope, firsts, constants)
        for index, number in enumerate(numbers):
            merged[number] = HiddenBlock(f"{name}.active", index * 4 * SFT_HIDDEN, found[number])
    return [merged[number] for number in range(len(blocks))]


def _branch(name: str, producers: Mapping[str, onnx.NodeProto], constants: Mapping[str, TensorProto]) -> Branch | None:
    second = producers.get(name)
    if second is None or not _is_convolution(second, constants, WIDTH, SFT_HIDDEN):
        return None
    activation = producers.get(second.input[0])
    if activation is None or (activation.domain, activation.op_type) != ("", "LeakyRelu"):
        return None
    first = producers.get(activation.input[0])
    if first is None or not _is_convolution(first, constants, SFT_HIDDEN, None):
        return None
    return Branch(first.input[0], first, activation, second)


def _is_convolution(
    node: onnx.NodeProto, constants: Mapping[str, TensorProto], channels_out: int, channels_in: int | None
) -> bool:
    """Tell whether a node is a 3x3 convolution with constant weights, biases and zero padding of 1."""
    if (node.domain, node.op_type, len(node.input)) != ("", "Conv", 3):
        return False
    if any(name not in constants for name in node.input[1:]):
        return False
    out, inner, *kernel = constants[node.input[1]].dims
    usual = {"pads": [1] * 4, "strides": [1, 1], "dilations": [1, 1], "group": 1, "kernel_shape": [3, 3]}
    given = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    known = all(name in usual and value == usual[name] for name, value in given.items() if name != "auto_pad")
    fits = (out, kernel) == (channels_out, [3, 3]) and channels_in in (inner, None)
    return fits and known and "pads" in given and given.get("auto_pad", b"NOTSET") == b"NOTSET"


def _slope(activation: onnx.NodeProto) -> float:
    return float(next((entry.f for entry in activation.attribute if entry.name == "alpha"), 0.01))


def _insert(
    model: onnx.ModelProto,
    name: str,
    condition: str,
    slope: float,
    firsts: list[onnx.NodeProto],
    constants: Mapping[str, TensorProto],
) -> None:
    """Add one convolution with the output channels of all, and its leaky ReLU, before the first of them."""
    graph = model.graph
    for place, part in ((1, "weight"), (2, "bias")):
        values = np.concatenate([numpy_helper.to_array(constants[node.input[place]]) for node in firsts])
        graph.initializer.append(numpy_helper.from_array(values, f"{name}.{part}"))
    inputs = [condition, f"{name}.weight", f"{name}.bias"]
    convolution = helper.make_node("Conv", inputs, [name], name=name, pads=[1, 1, 1, 1])
    active = helper.make_node("LeakyRelu", [name], [f"{name}.active"], name=f"{name}.active", alpha=slope)
    outputs = {node.output[0] for node in firsts}
    at = next(number for number, node in enumerate(graph.node) if node.output and node.output[0] in outputs)
    graph.node.insert(at, active)
    graph.node.insert(at, convolution)


def remove_unused(model: onnx.ModelProto) -> None:
    """Remove nodes whose results nobody reads."""
    graph = model.graph
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(reversed(kept))
