"""Every form of the deformable convolution computes what ONNX's DeformConv computes."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn import functional as F

from dcdr_deploy.models import ops
from dcdr_deploy.models.deform import deform_conv2d, deform_conv2d_gather, sampling_plan

FORMS = {"torchvision": deform_conv2d, "gather": deform_conv2d_gather}


def onnx_deform_conv(x, offset, weight, bias, stride=1, padding=1, dilation=1):
    """The reference: one DeformConv node in ONNX Runtime."""
    names = ["x", "w", "offset", "b"]
    node = helper.make_node(
        "DeformConv",
        names,
        ["y"],
        kernel_shape=list(weight.shape[2:]),
        pads=[padding] * 4,
        strides=[stride] * 2,
        dilations=[dilation] * 2,
    )
    values = dict(zip(names, (x, weight, offset, bias), strict=True))
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(v.shape)) for name, v in values.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)
    graph = helper.make_graph([node], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: v.numpy() for name, v in values.items()})[0])


def offsets_of(kind: str, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    normal = torch.randn(shape, generator=generator)
    return {
        "zero": torch.zeros(shape),
        "sub-pixel": 0.4 * normal,
        "integer": (3 * normal).round(),
        "30 px": 30 * normal,
        "1e12": 1e12 * normal,
    }[kind]


def case(batch=1, channels=5, out=7, height=13, width=11, kernel=3, stride=1, padding=1, dilation=1):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, height, width, generator=generator)
    weight = torch.randn(out, channels, kernel, kernel, generator=generator) / (channels * kernel**2) ** 0.5
    bias = torch.randn(out, generator=generator)
    sizes = [(side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in (height, width)]
    return x, weight, bias, (batch, 2 * kernel**2, *sizes)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["zero", "sub-pixel", "integer", "30 px", "1e12"])
def test_agrees_with_onnx_runtime_over_offsets(form: str, kind: str) -> None:
    x, weight, bias, shape = case(batch=3)
    offset = offsets_of(kind, shape)
    result = FORMS[form](x, offset, weight, bias)
    assert torch.allclose(result, onnx_deform_conv(x, offset, weight, bias), atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "geometry",
    [
        {"stride": 2},
        {"dilation": 2, "padding": 2},
        {"stride": 2, "dilation": 3, "padding": 3},
        {"kernel": 5, "padding": 2},
        {"kernel": 1, "padding": 0},
    ],
)
def test_agrees_with_onnx_runtime_over_stride_and_dilation(form: str, geometry: dict[str, int]) -> None:
    x, weight, bias, shape = case(**geometry)
    offset = offsets_of("30 px", shape) / 10
    steps = {key: geometry.get(key, 1) for key in ("stride", "padding", "dilation")}
    result = FORMS[form](x, offset, weight, bias, **steps)
    assert torch.allclose(result, onnx_deform_conv(x, offset, weight, bias, **steps), atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3)])
def test_agrees_with_onnx_runtime_on_thin_pictures(form: str, size: tuple[int, int]) -> None:
    x, weight, bias, shape = case(height=size[0], width=size[1])
    offset = offsets_of("sub-pixel", shape) * 3
    assert torch.allclose(FORMS[form](x, offset, weight, bias), onnx_deform_conv(x, offset, weight, bias), atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
def test_zero_offsets_are_a_plain_convolution(form: str) -> None:
    x, weight, bias, shape = case()
    assert torch.allclose(FORMS[form](x, torch.zeros(shape), weight, bias), F.conv2d(x, weight, bias, 1, 1), atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_an_offset_moves_first_the_row_then_the_column(form: str) -> None:
    x = torch.arange(20.0).reshape(1, 1, 4, 5)
    weight, bias = torch.zeros(1, 1, 3, 3), torch.zeros(1)
    weight[0, 0, 1, 1] = 1  # the centre tap only
    offset = torch.zeros(1, 18, 4, 5)
    offset[:, 8], offset[:, 9] = 1.0, 0.5  # centre tap: one row down, half a column right
    result = FORMS[form](x, offset, weight, bias)
    assert result[0, 0, 0, 0] == pytest.approx(5.5)
    assert result[0, 0, 3, 0] == 0  # below the picture: zero


@pytest.mark.parametrize("form", [*FORMS, "custom op"])
def test_gradients_are_right_in_double_precision(form: str) -> None:
    generator = torch.Generator().manual_seed(2)
    shapes = [(1, 2, 4, 5), (1, 18, 4, 5), (3, 2, 3, 3), (3,)]
    tensors = [torch.randn(shape, generator=generator, dtype=torch.double, requires_grad=True) for shape in shapes]
    function = ops.deform_conv2d if form == "custom op" else FORMS[form]
    assert torch.autograd.gradcheck(function, tensors)


def test_the_dcrb_operator_has_right_gradients() -> None:
    generator = torch.Generator().manual_seed(3)
    c, size = 2, (3, 4)
    shapes = [(1, c, *size), (1, 18, *size), *[(1, c, *size)] * 4, (c, c, 3, 3), (c,), (c, c, 3, 3), (c,)]
    tensors = [torch.randn(shape, generator=generator, dtype=torch.double, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(ops.dcrb, tensors)


@pytest.mark.parametrize("operator", [ops.deform_conv2d, ops.dcrb])
def test_registered_operators_pass_torchs_own_checks(operator) -> None:
    c, size = 4, (5, 6)
    x, offset = torch.randn(2, c, *size), torch.randn(2, 18, *size)
    weight, bias = torch.randn(c, c, 3, 3), torch.randn(c)
    maps = [torch.randn(2, c, *size) for _ in range(4)]
    inputs = (x, offset, weight, bias)
    if operator is ops.dcrb:
        inputs = (x, offset, *maps, weight, bias, weight.clone(), bias.clone())
    torch.library.opcheck(operator, inputs, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_positions_of_the_gather_form_do_not_depend_on_the_offsets_type(dtype: torch.dtype) -> None:
    offset = (torch.arange(18.0).reshape(1, 18, 1, 1) / 8).expand(1, 18, 2, 300)
    assert torch.equal(sampling_plan(offset.to(dtype), 2, 300).weight, sampling_plan(offset, 2, 300).weight)


def test_bfloat16_arithmetic_bends_no_convolution_far_from_the_corner() -> None:
    x, weight, bias, shape = case(height=2, width=300)
    offset = offsets_of("sub-pixel", shape).bfloat16()
    exact = deform_conv2d(x, offset.float(), weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        found = deform_conv2d_gather(x, offset, weight, bias).float()
    assert (found - exact).norm() < 0.01 * exact.norm()


def test_half_a_pixel_is_the_mean_of_two() -> None:
    row = np.array([[0.0, 2.0, 6.0]], np.float32)
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 1] = 1
    offset = torch.zeros(1, 18, 1, 3)
    offset[:, 9] = 0.5
    result = deform_conv2d_gather(torch.from_numpy(row[None, None]), offset, weight, None)
    assert result.flatten().tolist() == pytest.approx([1.0, 4.0, 3.0])  # the last with zero outside
