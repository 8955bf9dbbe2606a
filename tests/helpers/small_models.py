"""ONNX models with the functions of domain ``dcdr``, built by hand: these tests need neither torch nor the exporter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dcdr_deploy.modelfile import metadata
from dcdr_deploy.modelfile.metadata import ModelMetadata

CHANNELS = 8
METADATA = ModelMetadata(peak=8.0, size_multiple=4, overlap=12, name="test net", extra={"weights_sha256": "ab"})
ModelMaker = Callable[..., Path]


def _functions(opset: int) -> list:
    from onnx import helper

    imports = [helper.make_opsetid("", opset), helper.make_opsetid("dcdr", 1)]
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    deform = helper.make_node("DeformConv", ["x", "w", "offset", "b"], ["y"], **attributes)

    def sft(x: str, gain: str, shift: str, result: str) -> list:
        return [
            helper.make_node("Mul", [x, gain], [f"{result}_product"]),
            helper.make_node("Add", [x, f"{result}_product"], [f"{result}_sum"]),
            helper.make_node("Add", [f"{result}_sum", shift], [result]),
        ]

    body = [
        *sft("z", "s1", "t1", "first"),
        helper.make_node("DeformConv2d", ["first", "offset", "w1", "b1"], ["sampled1"], domain="dcdr"),
        helper.make_node("Relu", ["sampled1"], ["hidden"]),
        *sft("hidden", "s2", "t2", "second"),
        helper.make_node("DeformConv2d", ["second", "offset", "w2", "b2"], ["sampled2"], domain="dcdr"),
        helper.make_node("Add", ["z", "sampled2"], ["out"]),
    ]
    inputs = ["z", "offset", "s1", "t1", "s2", "t2", "w1", "b1", "w2", "b2"]
    return [
        helper.make_function("dcdr", "DeformConv2d", ["x", "offset", "w", "b"], ["y"], [deform], imports),
        helper.make_function("dcdr", "DCRB", inputs, ["out"], body, imports),
    ]


def build_model(
    path: Path,
    *,
    shape: tuple[int | str, ...] = ("n", 3, "h", "w"),
    stored: dict[str, str] | None = None,
    element_type: int = 1,
    inline: bool = False,
    half: bool = False,
) -> Path:
    """Write a network of a convolution, two DCRBs and a convolution, with offsets of some pixels.

    ``inline`` leaves no functions, ``half`` computes in FP16 between FP32 ends.
    """
    import onnx
    from onnx import helper, inliner, numpy_helper

    rng = np.random.default_rng(7)
    weights, nodes = [], []

    def weight(name: str, *sizes: int, scale: float = 0.1) -> str:
        values = (rng.standard_normal(sizes) * scale).astype(
            helper.tensor_dtype_to_np_dtype(10 if half else element_type)
        )
        weights.append(numpy_helper.from_array(values, name))
        return name

    def convolution(x: str, result: str, channels: tuple[int, int], scale: float = 0.1) -> str:
        inputs = [x, weight(f"{result}.w", *channels[::-1], 3, 3, scale=scale), weight(f"{result}.b", channels[1])]
        nodes.append(helper.make_node("Conv", inputs, [result], kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        return result

    picture, result = ("x16", "y16") if half else ("x", "y")
    if half:
        nodes.append(helper.make_node("Cast", ["x"], [picture], to=10))
    z = convolution(picture, "features", (3, CHANNELS))
    for block in ("block0", "block1"):
        maps = [convolution(picture, f"{block}.{name}", (3, CHANNELS)) for name in ("s1", "t1", "s2", "t2")]
        offset = convolution(z, f"{block}.offset", (CHANNELS, 18), scale=1.0)
        parameters = []
        for convolution_name in ("1", "2"):
            parameters.append(weight(f"{block}.w{convolution_name}", CHANNELS, CHANNELS, 3, 3))
            parameters.append(weight(f"{block}.b{convolution_name}", CHANNELS))
        nodes.append(helper.make_node("DCRB", [z, offset, *maps, *parameters], [f"{block}.z"], domain="dcdr"))
        z = f"{block}.z"
    convolution(z, result, (CHANNELS, 3))
    if half:
        nodes.append(helper.make_node("Cast", [result], ["y"], to=1))
    ends = ([helper.make_tensor_value_info(name, element_type, list(shape))] for name in ("x", "y"))
    graph = helper.make_graph(nodes, "net", *ends, weights)
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("dcdr", 1)]
    model = helper.make_model(graph, opset_imports=imports, functions=_functions(20), ir_version=10)
    if inline:
        model = inliner.inline_local_functions(model)
    helper.set_model_props(model, metadata.encode(METADATA) if stored is None else stored)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with functions and dynamic sizes."""
    pytest.importorskip("onnx")
    return build_model(tmp_path_factory.mktemp("models") / "net.onnx")


@pytest.fixture
def make_model(tmp_path: Path) -> ModelMaker:
    """Build a model of one's own: ``make_model(name, **settings of build_model)``."""
    pytest.importorskip("onnx")
    return lambda name="own.onnx", **settings: build_model(tmp_path / name, **settings)
