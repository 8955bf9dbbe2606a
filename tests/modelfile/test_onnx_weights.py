"""Nodes and weights, as the kernels read them from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dcdr_deploy.errors import ModelError
from dcdr_deploy.modelfile.onnx_weights import read_graph


def test_a_tensor_that_a_cast_and_another_node_read_has_both_names(tmp_path: Path) -> None:
    """Stored as FP16 for two: one computes with it in FP32, the other as it is."""
    weight = np.arange(6, dtype=np.float16).reshape(2, 3)
    nodes = [
        helper.make_node("Cast", ["w"], ["w32"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "w32"], ["y"]),
        helper.make_node("Mul", ["h", "w"], ["z"]),
    ]
    kinds = {"x": TensorProto.FLOAT, "h": TensorProto.FLOAT16, "y": TensorProto.FLOAT, "z": TensorProto.FLOAT16}
    ends = [helper.make_tensor_value_info(name, kind, [2, 3]) for name, kind in kinds.items()]
    graph = helper.make_graph(nodes, "both", ends[:2], ends[2:], [numpy_helper.from_array(weight, "w")])
    path = tmp_path / "both.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    found = read_graph(path)
    assert [node.inputs for node in found.nodes] == [("x", "w32"), ("h", "w")]
    assert found.tensors.keys() == {"w", "w32"}
    for tensor in found.tensors.values():
        np.testing.assert_array_equal(tensor, weight)


def test_a_negative_size_beside_one_of_0_is_no_shape(tmp_path: Path) -> None:
    """Of no numbers in all, so that nothing is missing."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[0, -1], raw_data=b"")
    end = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    path = tmp_path / "negative.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([], "none", [end], [end], [weight])).SerializeToString())
    with pytest.raises(ModelError, match=r"'w' has 0 bytes for the shape"):
        read_graph(path)
