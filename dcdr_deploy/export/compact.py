"""Weights that FP16 holds exactly, stored as FP16: files of half the size that compute the same.

A Cast gives each its FP32 values back before it is used; backends do that once, when they load the file, and compute in
FP32 as before. What cannot read through a Cast, as the search for the blocks' constants, reads :func:`unpacked`.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SUFFIX = ".half"
_WORTH = 1024
"""Numbers from which on a tensor is worth a node."""


def packed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose large FP32 weights are stored as FP16, those that FP16 does not hold exactly excepted."""
    copied = _copy(model)
    casts = []
    for tensor in copied.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < _WORTH or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, name + _SUFFIX))
        casts.append(helper.make_node("Cast", [tensor.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del copied.graph.node[:]
    copied.graph.node.extend(nodes)
    return copied


def unpacked(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with FP32 weights in place of FP16 ones that only a Cast to FP32 reads."""
    copied = _copy(model)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    widened = set()
    for tensor in copied.graph.initializer:
        casts = readers.get(tensor.name, [])
        if tensor.data_type == TensorProto.FLOAT16 and len(casts) == 1 and _widens(casts[0]):
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, casts[0].output[0]))
            widened.add(tensor.name)
    kept = [node for node in model.graph.node if widened.isdisjoint(node.output)]
    del copied.graph.node[:]
    copied.graph.node.extend(kept)
    return copied


def _widens(node: onnx.NodeProto) -> bool:
    cast = (node.domain, node.op_type, len(node.output)) == ("", "Cast", 1)
    return cast and any((entry.name, entry.i) == ("to", TensorProto.FLOAT) for entry in node.attribute)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied
