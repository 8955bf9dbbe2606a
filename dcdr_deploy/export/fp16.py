"""FP16 by types instead of by a generic converter.

The graph's precision is that of its weights: an initializer that meets features becomes FP16, and a cast at the input
and the output keeps the model's interface FP32. The bodies of ``dcdr::DeformConv2d`` compute coordinates and sampling
in FP32 whatever type they are called with, so nothing inside them has to change. Decoding the output (the nodes of the
module ``decoder``) stays FP32 as a whole: its powers need more digits than FP16 has.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dcdr_deploy.errors import ExportError
from dcdr_deploy.export.compact import unpacked
from dcdr_deploy.imaging.half import HALF_MAX
from dcdr_deploy.modelfile.names import DECODING

FP32_INPUTS = {("Resize", 1), ("Resize", 2)}
"""(operator, input number) pairs whose type is float32 by the operator's definition: region and scales."""


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of an FP32 model that computes in FP16 and still takes and gives float32.

    Raises:
        ExportError: a weight is too large for FP16.
    """
    converted = unpacked(model)
    graph = converted.graph
    del graph.value_info[:]  # types in there are those of FP32
    kept = _float32_names(graph) | _set_apart(graph)
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _retype(tensor)
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] not in kept:
            for attribute in node.attribute:
                if attribute.name == "value":
                    _retype(attribute.t)
    _cast_boundary(graph)
    return converted


def _float32_names(graph: onnx.GraphProto) -> set[str]:
    """Values that must stay float32; one that is also used as a feature would be an error of the graph."""
    return {
        name
        for node in graph.node
        for number, name in enumerate(node.input)
        if (node.op_type, number) in FP32_INPUTS and node.domain == ""
    }


def decodes(node: onnx.NodeProto) -> bool:
    """Whether a node is part of decoding the output, by the name that the exporter gave it."""
    return node.name.startswith(DECODING)


def _set_apart(graph: onnx.GraphProto) -> set[str]:
    """Give the nodes that decode the output constants of their own and a cast before them.

    Returns:
        Names of those constants.
    """
    decoding = [node for node in graph.node if decodes(node)]
    if not decoding:
        return set()
    results = {name for node in decoding for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    own: set[str] = set()
    casts: dict[str, onnx.NodeProto] = {}
    for node in decoding:
        for number, name in enumerate(node.input):
            if not name or name in results:
                continue
            node.input[number] = f"{name}_fp32"
            if name not in constants:
                casts[name] = helper.make_node("Cast", [name], [f"{name}_fp32"], to=TensorProto.FLOAT)
            elif f"{name}_fp32" not in own:
                graph.initializer.add().CopyFrom(constants[name])
                graph.initializer[-1].name = f"{name}_fp32"
                own.add(f"{name}_fp32")
    others = [node for node in graph.node if not decodes(node)]
    ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (*others, *casts.values(), *decoding)]
    del graph.node[:]
    graph.node.extend(ordered)
    return own


def _retype(tensor: TensorProto) -> None:
    if tensor.data_type != TensorProto.FLOAT:
        return
    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0.0))
    if largest > HALF_MAX:
        raise ExportError(f"{tensor.name} holds {largest:.3g}, too large for FP16; export without `fp16`")
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))


def _cast_boundary(graph: onnx.GraphProto) -> None:
    """Cast float32 inputs to FP16 behind the interface and FP16 results back before it."""
    half_inputs = {value.name: f"{value.name}_fp16" for value in graph.input}
    exact = {name for node in graph.node if decodes(node) for name in node.output}
    half_outputs = {value.name: f"{value.name}_fp16" for value in graph.output if value.name not in exact}
    for node in graph.node:
        node.input[:] = [half_inputs.get(name, name) for name in node.input]
        node.output[:] = [half_outputs.get(name, name) for name in node.output]
    before = [
        helper.make_node("Cast", [name], [half], name=f"to_fp16_{name}", to=TensorProto.FLOAT16)
        for name, half in half_inputs.items()
    ]
    after = [
        helper.make_node("Cast", [half], [name], name=f"to_fp32_{name}", to=TensorProto.FLOAT)
        for name, half in half_outputs.items()
    ]
    nodes = [*before, *graph.node, *after]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def is_fp16(model: onnx.ModelProto) -> bool:
    """Whether a model's weights are FP16."""
    return any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer)
