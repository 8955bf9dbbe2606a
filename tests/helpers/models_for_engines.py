"""The demo model, a graph of a single block, and settings: what the tests of the builder build."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dcdr_deploy.building.settings import BuildSettings
from dcdr_deploy.export.loading import load_onnx
from dcdr_deploy.modelfile.names import DCRB_INPUTS
from dcdr_deploy.run.selection import DEMO_MODEL

RTX, FULL = "tensorrt-rtx", "tensorrt"
BLOCKS = [f"restoration.{part}" for part in ("encoder.0", "encoder.1", *(f"middle.{n}" for n in range(4)))]
BLOCKS += ["restoration.decoder.0", "restoration.decoder.1"]
CUBINS = {sm: bytes(str(sm), "ascii") * 500 for sm in (86, 89, 120)}
"""Stand in for compiled kernels: a build stores them and does not look inside."""

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
_TYPES = {HALF: np.float16, FLOAT: np.float32, TensorProto.INT32: np.int32}


def demo() -> onnx.ModelProto:
    return load_onnx(DEMO_MODEL)


def settings(**changes: Any) -> BuildSettings:
    chosen: dict[str, Any] = {"package": RTX, "sms": (86,), "tile": (64, 96)} | changes
    return BuildSettings(**chosen)


def one_block(feature: int = HALF, **changes: tuple[int, list[int]]) -> onnx.ModelProto:
    """A graph with one prepared ``dcdr::DCRB`` node; ``changes`` are (type, shape) of its inputs by name."""
    packed = [9, 4, 4, 32, 8] if feature == HALF else [9, 64, 64]
    shapes = {"offset": (feature, [1, 18, 16, 16]), "w1": (feature, packed), "w2": (feature, packed)}
    shapes |= {"b1": (FLOAT, [64]), "b2": (FLOAT, [64])}
    tensors = {name: shapes.get(name, (feature, [1, 64, 16, 16])) for name in DCRB_INPUTS} | changes
    constants = [
        numpy_helper.from_array(np.zeros(shape, _TYPES[kind]), name) for name, (kind, shape) in tensors.items()
    ]
    nodes = [  # the features must depend on an input, or there is nothing to build
        helper.make_node("ReduceMean", ["sdr"], ["mean"]),
        helper.make_node("CastLike", ["mean", "z"], ["mean_cast"]),
        helper.make_node("Add", ["z", "mean_cast"], ["features"]),
        helper.make_node(
            "DCRB",
            ["features", *DCRB_INPUTS[1:]],
            ["y"],
            name="block",
            domain="dcdr",
            plugin_namespace="dcdr",
            plugin_version="1",
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("sdr", FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", tensors["z"][0], None)],
        initializer=constants,
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("dcdr", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
