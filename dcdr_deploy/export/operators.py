"""The ONNX operators of the domain ``dcdr``: their schemas, and their bodies as ONNX functions.

``dcdr::DCRB`` is a whole deformable residual block behind its offset and SFT maps (eq. 4), ``dcdr::DeformConv2d`` one
3x3 deformable convolution. Both schemas are registered with the onnx package, so that exporters and checkers know the
nodes; both bodies travel in every exported file, so that a runtime without kernels of its own computes them.

The bodies are type-polymorphic: coordinates and sampling are FP32 whatever the features are, and results are cast back
to the features' type. FP16 coordinates would be off by up to a pixel at a width of 1920.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import FunctionProto, TensorProto, helper, numpy_helper
from onnx.defs import OpSchema

from dcdr_deploy.modelfile.names import DCRB, DCRB_INPUTS, DEFORM_CONV, DEFORM_INPUTS, DOMAIN, DOMAIN_VERSION

OPSET = 20
"""ai.onnx opset of the graph and the bodies: DeformConv needs 19, GridSample in its present form 20."""

_FLOATS = ["tensor(float)", "tensor(float16)", "tensor(double)", "tensor(bfloat16)"]


def register_schemas() -> None:
    """Register the schemas of the domain with the onnx package; calling it again changes nothing."""
    for name, inputs, text in (
        (DEFORM_CONV, DEFORM_INPUTS, "3x3 deformable convolution, stride 1, padding 1, zeros outside"),
        (DCRB, DCRB_INPUTS, "z + dc2(SFT2(relu(dc1(SFT1(z))))) with SFTi(v) = v + si * v + ti"),
    ):
        if onnx.defs.has(name, DOMAIN_VERSION, DOMAIN):
            continue
        onnx.defs.register_schema(
            OpSchema(
                name,
                DOMAIN,
                DOMAIN_VERSION,
                text,
                inputs=[OpSchema.FormalParameter(each, "T") for each in inputs],
                outputs=[OpSchema.FormalParameter("y", "T")],
                type_constraints=[("T", _FLOATS, "one floating-point type for all")],
            )
        )


def function_bodies(form: str = "native") -> list[FunctionProto]:
    """The functions that a model file carries.

    Args:
        form: body of ``DeformConv2d``, a key of :data:`DEFORM_BODIES`: ``"native"`` calls ``ai.onnx::DeformConv``,
            ``"gridsample"`` needs no DeformConv.
    """
    return [DEFORM_BODIES[form](), dcrb_function()]


def dcrb_function() -> FunctionProto:
    """Body of ``dcdr::DCRB``, eq. 4 with the ReLU of HDRUNet's residual block."""
    node = helper.make_node
    nodes = [
        node("Mul", ["s1", "z"], ["gained1"]),
        node("Add", ["z", "gained1"], ["sum1"]),
        node("Add", ["sum1", "t1"], ["sft1"]),
        node(DEFORM_CONV, ["sft1", "offset", "w1", "b1"], ["conv1"], domain=DOMAIN),
        node("Relu", ["conv1"], ["hidden"]),
        node("Mul", ["s2", "hidden"], ["gained2"]),
        node("Add", ["hidden", "gained2"], ["sum2"]),
        node("Add", ["sum2", "t2"], ["sft2"]),
        node(DEFORM_CONV, ["sft2", "offset", "w2", "b2"], ["conv2"], domain=DOMAIN),
        node("Add", ["z", "conv2"], ["y"]),
    ]
    return _function(DCRB, DCRB_INPUTS, nodes, doc="Deformable convolution residual block, DCDR-UNet eq. 4")


def native_body() -> FunctionProto:
    """``DeformConv2d`` by ``ai.onnx::DeformConv`` in FP32: ONNX Runtime's CPU kernel has no other type."""
    nodes = [helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT) for name in DEFORM_INPUTS]
    attributes: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1], "dilations": [1, 1]}
    nodes += [
        helper.make_node(
            "DeformConv", ["x_f", "w_f", "offset_f", "b_f"], ["y_f"], group=1, offset_group=1, **attributes
        ),
        helper.make_node("CastLike", ["y_f", "x"], ["y"]),
    ]
    return _function(DEFORM_CONV, DEFORM_INPUTS, nodes, doc="Native form: ai.onnx::DeformConv in FP32")


class _Body:
    """Collects the nodes of a function body."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def split(self, value: str, parts: int, axis: int, stem: str) -> list[str]:
        names = [f"{stem}{number}" for number in range(parts)]
        self.nodes.append(helper.make_node("Split", [value], names, axis=axis, num_outputs=parts))
        return names

    def constant(self, name: str, value: np.ndarray) -> str:
        tensor = numpy_helper.from_array(np.asarray(value), name)
        return self.add("Constant", [], name, value=tensor)


def gridsample_body() -> FunctionProto:
    """``DeformConv2d`` by nine GridSamples, one a tap, each followed by its 1x1 convolution.

    The sampling grid of a pixel position p on an axis of S pixels is (2 p + 1) / S - 1 (``align_corners`` = 0), which
    is defined for S = 1 too. One tap at a time keeps memory at a tap's features instead of nine.
    """
    body = _Body()
    add, constant = body.add, body.constant
    x, offset = (add("Cast", [name], f"{name}_f", to=TensorProto.FLOAT) for name in ("x", "offset"))
    constant("axis0", np.array([0], np.int64))
    constant("zero", np.int64(0))
    constant("one", np.int64(1))
    constant("two_f", np.float32(2))
    constant("one_f", np.float32(1))
    batch = add("Shape", ["x"], "batch", start=0, end=1)
    size = add("Shape", ["x"], "size", start=2, end=4)
    constant("taps", np.array([9, 2], np.int64))
    add("Concat", [batch, "taps", size], "pair_shape", axis=0)
    pairs = add("Reshape", [offset, "pair_shape"], "pairs")  # (N, 9, 2, H, W)
    relative = body.split(pairs, 2, 2, "relative")
    tap_y, tap_x = np.meshgrid(np.arange(3) - 1, np.arange(3) - 1, indexing="ij")
    grids = []
    for axis, (name, taps, shape) in enumerate((("row", tap_y, [1, 1, 1, -1, 1]), ("col", tap_x, [1, 1, 1, 1, -1]))):
        add("Shape", ["x"], f"{name}_1", start=2 + axis, end=3 + axis)
        add("Squeeze", [f"{name}_1", "axis0"], name)
        add("Range", ["zero", name, "one"], f"{name}_range")
        add("Cast", [f"{name}_range"], f"{name}_range_f", to=TensorProto.FLOAT)
        constant(f"{name}_shape", np.array(shape, np.int64))
        add("Reshape", [f"{name}_range_f", f"{name}_shape"], f"{name}_pixels")
        constant(f"{name}_taps", taps.reshape(1, 9, 1, 1, 1).astype(np.float32) + np.float32(0.5))
        add("Add", [f"{name}_pixels", f"{name}_taps"], f"{name}_centres")
        add("Add", [relative[axis], f"{name}_centres"], f"{name}_position")
        add("Cast", [name], f"{name}_f", to=TensorProto.FLOAT)
        add("Div", ["two_f", f"{name}_f"], f"{name}_scale")
        add("Mul", [f"{name}_position", f"{name}_scale"], f"{name}_scaled")
        grids.append(add("Sub", [f"{name}_scaled", "one_f"], f"{name}_grid"))
    add("Concat", [grids[1], grids[0]], "grid_planes", axis=2)  # GridSample wants (x, y)
    add("Transpose", ["grid_planes"], "grid", perm=[0, 1, 3, 4, 2])
    tap_grids = body.split("grid", 9, 1, "tap_grid")
    constant("flat", np.array([0, 0, 9], np.int64))
    add("Reshape", ["w", "flat"], "w_flat")
    tap_weights = body.split("w_flat", 9, 2, "tap_weight")
    constant("axis1", np.array([1], np.int64))
    constant("pointwise", np.array([0, 0, 1, 1], np.int64))
    total = ""
    for tap in range(9):
        add("Squeeze", [tap_grids[tap], "axis1"], f"tap{tap}")
        sampling = {"mode": "linear", "padding_mode": "zeros", "align_corners": 0}
        add("GridSample", [x, f"tap{tap}"], f"sample{tap}_f", **sampling)
        add("CastLike", [f"sample{tap}_f", "x"], f"sample{tap}")
        add("Reshape", [tap_weights[tap], "pointwise"], f"weight{tap}")
        bias = ["b"] if tap == 0 else []
        part = add("Conv", [f"sample{tap}", f"weight{tap}", *bias], f"part{tap}", kernel_shape=[1, 1])
        total = part if not total else add("Add", [total, part], "y" if tap == 8 else f"total{tap}")
    return _function(DEFORM_CONV, DEFORM_INPUTS, body.nodes, doc="Without DeformConv: GridSample in FP32, a tap each")


DEFORM_BODIES = {"native": native_body, "gridsample": gridsample_body}
"""Bodies of ``dcdr::DeformConv2d`` by form."""


def _function(name: str, inputs: tuple[str, ...], nodes: list[onnx.NodeProto], doc: str) -> FunctionProto:
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    function = helper.make_function(DOMAIN, name, list(inputs), ["y"], nodes, imports)
    function.doc_string = doc
    return function
