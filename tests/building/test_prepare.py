"""A prepared graph leaves a parser no choice, and computes what the exported one computes."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from models_for_engines import BLOCKS, FULL, RTX, demo, settings
from onnx import TensorProto, helper, numpy_helper

from dcdr_deploy.building.hidden_maps import remove_unused
from dcdr_deploy.building.prepare import block_names, plugin_version, prepare
from dcdr_deploy.engines.cuda.packing import pack_sft_bias, pack_sft_weight, pack_weight
from dcdr_deploy.errors import ModelError
from dcdr_deploy.export.fp16 import to_fp16
from dcdr_deploy.export.operators import DEFORM_BODIES, gridsample_body

DYNAMIC = settings(dynamic=True, max_batch=2)
SHAPE = (1, 3, 64, 96)


def picture(*shape: int) -> np.ndarray:
    """Smooth waves and an edge in [0, 1]: what a network of pictures was made for."""
    y, x = np.mgrid[0 : shape[2], 0 : shape[3]].astype(np.float32)
    phase = np.random.default_rng(0).uniform(0, 6, (*shape[:2], 1, 1))
    return np.clip(0.5 + 0.4 * np.sin(x / 7 + phase) * np.cos(y / 11) + 0.3 * (x > y), 0, 1).astype(np.float32)


def run(model: onnx.ModelProto, sdr: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"sdr": sdr})[0]


@functools.cache
def lively() -> onnx.ModelProto:
    """The demo model with weights that FP16 cannot hold: as it comes, rounding to FP16 would change nothing at all."""
    model, rng = demo(), np.random.default_rng(1)
    for name, values in weights(model).items():
        replace(model, name, values * rng.uniform(0.99, 1.01, values.shape))
    return model


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {name: values for name, values in constants(model).items() if name.endswith((".weight", ".bias"))}


def replace(model: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    tensor = next(each for each in model.graph.initializer if each.name == name)
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))


@functools.cache
def reference(*shape: int) -> np.ndarray:
    return run(lively(), picture(*shape))


@functools.cache
def last_bits(*shape: int) -> float:
    """How far the exported graph's own results move when the last bits of the picture do.

    Two graphs that compute the same function round differently, and what the network makes of a difference depends on
    its weights: 2e-7 for weights of these, 2e-4 for ones blown up until offsets reach 180 pixels. So the bound is
    measured with the weights at hand instead of fitted to some.
    """
    rng, sdr = np.random.default_rng(2), picture(*shape)
    trembling = [sdr * (1 + 2.0**-23 * rng.choice([-1, 1], shape)) for _ in range(2)]
    return max(float(np.abs(run(lively(), each.astype(np.float32)) - reference(*shape)).max()) for each in trembling)


def largest_error(model: onnx.ModelProto, *shape: int) -> float:
    return float(np.abs(run(model, picture(*shape)) - reference(*shape)).max())


def operators(model: onnx.ModelProto) -> set[tuple[str, str]]:
    return {(node.domain, node.op_type) for node in model.graph.node}


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def unpack(packed: np.ndarray) -> np.ndarray:
    """Invert ``pack_weight`` by packing the coordinates of the weights, which are small enough to be exact in FP16."""
    where = np.indices((64, 64, 3, 3))
    places = tuple(pack_weight(axis.astype(np.float32)).astype(int) for axis in where)
    weight = np.full((64, 64, 3, 3), np.nan, np.float16)
    weight[places] = packed
    return weight


# Without the plugin.


@pytest.mark.parametrize("package", [RTX, FULL])
@pytest.mark.parametrize("shape", [SHAPE, (2, 3, 68, 76)])
def test_without_the_plugin_it_computes_the_same(package: str, shape: tuple[int, ...]) -> None:
    prepared = prepare(lively(), settings(package=package, plugin=False, dynamic=True, max_batch=2))
    onnx.checker.check_model(prepared)
    assert largest_error(prepared, *shape) <= 4 * last_bits(*shape)


def swap_axes(node: onnx.NodeProto) -> None:
    if node.op_type == "Concat" and list(node.input) == ["col_grid", "row_grid"]:
        node.input[:] = ["row_grid", "col_grid"]


def align_corners(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name == "align_corners":
            attribute.i = 1


def repeat_the_border(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name == "padding_mode":
            attribute.s = b"border"


@pytest.mark.parametrize("mistake", [swap_axes, align_corners, repeat_the_border])
def test_the_comparison_notices_mistakes_in_the_body(
    monkeypatch: pytest.MonkeyPatch, mistake: Callable[[onnx.NodeProto], None]
) -> None:
    def mistaken() -> onnx.FunctionProto:
        function = gridsample_body()
        before = function.SerializeToString()
        for node in function.node:
            mistake(node)
        assert function.SerializeToString() != before
        return function

    monkeypatch.setitem(DEFORM_BODIES, "gridsample", mistaken)
    prepared = prepare(lively(), settings(plugin=False, dynamic=True))
    assert largest_error(prepared, *SHAPE) > 1000 * last_bits(*SHAPE)


def test_without_the_plugin_fp16_rounds_the_weights_and_nothing_else() -> None:
    """ONNX Runtime's CPU computes FP16 graphs in FP32: this sees rounded weights, not the arithmetic of a GPU."""
    rounded = onnx.ModelProto()
    rounded.CopyFrom(lively())
    for name, values in weights(rounded).items():
        replace(rounded, name, values.astype(np.float16))
    expected = run(rounded, picture(*SHAPE))
    result = run(prepare(lively(), settings(plugin=False, dynamic=True, fp16=True)), picture(*SHAPE))
    assert np.abs(result - expected).max() <= 4 * last_bits(*SHAPE)
    assert np.abs(result - reference(*SHAPE)).max() > 40 * last_bits(*SHAPE)


@pytest.mark.parametrize(
    ("package", "taken", "left"), [(RTX, "GridSample", "DeformConv"), (FULL, "DeformConv", "GridSample")]
)
def test_each_parser_gets_the_form_that_it_knows(package: str, taken: str, left: str) -> None:
    prepared = prepare(demo(), settings(package=package, plugin=False))
    assert len(prepared.functions) == 0
    assert {domain for domain, _ in operators(prepared)} == {""}
    assert ("", taken) in operators(prepared)
    assert ("", left) not in operators(prepared)
    assert block_names(prepared) == []


def test_coordinates_stay_fp32_in_an_fp16_graph() -> None:
    prepared = onnx.shape_inference.infer_shapes(prepare(demo(), settings(plugin=False, fp16=True)))
    types = {value.name: value.type.tensor_type.elem_type for value in prepared.graph.value_info}
    sampled = [types[name] for node in prepared.graph.node if node.op_type == "GridSample" for name in node.input]
    assert sampled == [TensorProto.FLOAT] * 2 * 9 * 16


def test_a_network_without_deformable_blocks_needs_no_plugin() -> None:
    model = demo()
    for node in model.graph.node:
        if node.domain:
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output))
    del model.functions[:], model.opset_import[1:]
    prepared = prepare(model, settings(plugin=False))
    assert operators(prepared) <= {("", node.op_type) for node in model.graph.node}
    onnx.checker.check_model(prepared)
    with pytest.raises(ModelError, match=r"no dcdr::DCRB nodes for the plugin to take; build with `plugin` none"):
        prepare(model, settings())


# With the plugin.


@pytest.mark.parametrize("fp16", [False, True])
def test_with_the_plugin_only_named_nodes_are_left(fp16: bool) -> None:
    prepared = prepare(demo(), settings(fp16=fp16))
    assert len(prepared.functions) == 0
    assert block_names(prepared) == BLOCKS
    for node in prepared.graph.node:
        if node.domain:
            attributes = {entry.name: entry.s for entry in node.attribute if entry.name != "first"}
            assert attributes == {"plugin_namespace": b"dcdr", "plugin_version": b"2" if fp16 else b"1"}
    assert plugin_version(prepared) == ("2" if fp16 else "1")


@pytest.mark.parametrize("fp16", [False, True])
def test_the_constants_hold_the_weights_of_the_model(fp16: bool) -> None:
    model = lively()
    before, after = constants(model), constants(prepare(model, settings(fp16=fp16)))
    for block in BLOCKS:
        for number in (1, 2):
            weight, bias = f"{block}.dcv{number}.weight", f"{block}.dcv{number}.bias"
            packed = after[f"{weight}.packed"]
            if fp16:
                assert (packed.dtype, packed.shape) == (np.float16, (9, 4, 4, 32, 8))
                assert np.array_equal(unpack(packed), before[weight].astype(np.float16))
            else:
                assert (packed.dtype, packed.shape) == (np.float32, (9, 64, 64))
                assert np.array_equal(packed.reshape(3, 3, 64, 64).transpose(3, 2, 0, 1), before[weight])
            assert after[f"{bias}.packed"].dtype == np.float32
            assert np.array_equal(after[f"{bias}.packed"], before[bias])  # not rounded to FP16 on the way
            assert not np.array_equal(before[bias], before[bias].astype(np.float16))
            assert weight not in after
            assert bias not in after


@functools.cache
def half() -> onnx.ModelProto:
    return to_fp16(lively())


def values_of(model: onnx.ModelProto, names: list[str]) -> list[np.ndarray]:
    """What tensors of a graph hold for a picture; nodes of ours, which nobody can run, are not asked."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    remove_unused(shown)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(names, {"sdr": picture(*SHAPE)})


def test_the_hidden_map_holds_what_the_branches_of_its_blocks_computed() -> None:
    prepared = prepare(half(), settings(dynamic=True))
    made = {output: node for node in half().graph.node for output in node.output}
    before = [node for node in half().graph.node if node.domain]
    after = [node for node in prepared.graph.node if node.domain]
    firsts = [next(entry.i for entry in node.attribute if entry.name == "first") for node in after]
    assert firsts == [0, 32, 0, 32, 64, 96, 64, 96]  # encoder and decoder share a condition map
    hidden = values_of(prepared, sorted({node.input[2] for node in after}))
    by_name = dict(zip(sorted({node.input[2] for node in after}), hidden, strict=True))
    assert [values.shape[1] for values in hidden] == [128, 128]
    for old, new, first in zip(before, after, firsts, strict=True):
        branches = values_of(half(), [made[name].input[0] for name in old.input[2:6]])
        mine = by_name[new.input[2]][:, first : first + 32]
        np.testing.assert_allclose(mine, np.concatenate(branches, axis=1), rtol=1e-3, atol=1e-4)


def test_the_second_convolutions_of_the_sft_layers_are_constants_of_the_block() -> None:
    before, after = constants(lively()), constants(prepare(lively(), settings(fp16=True)))
    for block in BLOCKS:
        for number in (1, 2):
            layer = f"{block}.sft{number}"
            packed, biases = after[f"{block}.w_sft{number}"], after[f"{block}.b_sft{number}"]
            wanted = pack_sft_weight(before[f"{layer}.gain1.weight"], before[f"{layer}.shift1.weight"])
            assert packed.dtype == np.float16
            np.testing.assert_array_equal(packed, wanted)
            np.testing.assert_array_equal(  # not rounded to FP16 on the way
                biases, pack_sft_bias(before[f"{layer}.gain1.bias"], before[f"{layer}.shift1.bias"])
            )
            assert not any(name.startswith(layer) for name in after)


def other_stride(node: onnx.NodeProto) -> None:
    next(entry for entry in node.attribute if entry.name == "strides").ints[:] = [2, 2]


def other_operator(node: onnx.NodeProto) -> None:
    node.op_type = "Selu"
    del node.attribute[:]


@pytest.mark.parametrize(("steps", "spoil"), [(0, other_stride), (1, other_operator), (2, other_stride)])
def test_maps_that_come_from_elsewhere_are_taken_as_maps(steps: int, spoil: Callable[[onnx.NodeProto], None]) -> None:
    model = demo()
    made = {output: node for node in model.graph.node for output in node.output}
    node = made[next(each for each in model.graph.node if each.domain).input[4]]
    for _ in range(steps):
        node = made[node.input[0]]
    spoil(node)
    prepared = prepare(model, settings(fp16=True))
    assert plugin_version(prepared) == "1"
    assert {len(each.input) for each in prepared.graph.node if each.domain} == {10}


def test_everything_but_the_blocks_is_fp16() -> None:
    after = constants(prepare(demo(), settings(fp16=True)))
    assert {value.dtype for name, value in after.items() if name.endswith(".weight")} == {np.dtype(np.float16)}


# Both.


@pytest.mark.parametrize("plugin", [False, True])
def test_an_fp16_model_is_taken_as_it_is(plugin: bool) -> None:
    half = to_fp16(demo())
    prepared = prepare(half, settings(plugin=plugin))
    assert {value.dtype for name, value in constants(prepared).items() if name.endswith(".weight")} == {
        np.dtype(np.float16)
    }
    if plugin:
        assert constants(prepared)[f"{BLOCKS[0]}.dcv1.weight.packed"].dtype == np.float16


@pytest.mark.parametrize("plugin", [False, True])
@pytest.mark.parametrize("fp16", [False, True])
def test_the_interface_stays_float32_and_the_model_given_is_untouched(fp16: bool, plugin: bool) -> None:
    model = demo()
    prepared = prepare(model, settings(fp16=fp16, plugin=plugin))
    assert model == demo()
    for value in (*prepared.graph.input, *prepared.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT


def sizes(model: onnx.ModelProto) -> list[int | str]:
    return [each.dim_value or each.dim_param for each in model.graph.input[0].type.tensor_type.shape.dim]


def test_what_the_profile_fixes_is_fixed_in_the_graph() -> None:
    assert sizes(prepare(demo(), settings())) == [1, 3, 64, 96]
    assert sizes(prepare(demo(), settings(max_batch=4))) == ["n", 3, 64, 96]
    assert sizes(prepare(demo(), DYNAMIC)) == ["n", 3, "4*h", "4*w"]


def exported_for_one_size() -> onnx.ModelProto:
    model = demo()
    for value in (*model.graph.input, *model.graph.output):
        for dimension, size in zip(value.type.tensor_type.shape.dim, (1, 3, 64, 96), strict=True):
            dimension.dim_value = size
    return model


def test_a_model_exported_for_one_size_is_built_for_that_size() -> None:
    assert sizes(prepare(exported_for_one_size(), settings(tile=(64, 96)))) == [1, 3, 64, 96]


@pytest.mark.parametrize("changes", [{"tile": (96, 64)}, {"max_batch": 2}, {"dynamic": True}])
def test_a_model_exported_for_one_size_is_built_for_no_other(changes: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=r"^m\.onnx was exported for batches of 1 and 64x96 only; .*`tile` 64x96"):
        prepare(exported_for_one_size(), settings(**changes), "m.onnx")


# What is refused.


def without_metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def older_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 17


def newer_operators(model: onnx.ModelProto) -> None:
    model.opset_import[1].version = 2


def computed_weights(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Identity", [f"{BLOCKS[0]}.dcv1.weight"], ["computed"]))
    next(node for node in model.graph.node if node.domain).input[6] = "computed"


def narrow(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if ".dcv" in tensor.name:
            shape = (32, 32, 3, 3) if tensor.name.endswith("weight") else (32,)
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(shape, np.float32), tensor.name))


def huge_weights(model: onnx.ModelProto) -> None:
    tensor = next(each for each in model.graph.initializer if each.name.endswith("hr1.weight"))
    values = numpy_helper.to_array(tensor) + np.float32(1e5)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def blocks_without_condition(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("DeformConv2d", ["x", "offset", "w", "b"], ["y"], domain="dcdr"))


def without_a_rank(model: onnx.ModelProto) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[3:]


def with_an_input_too_few(model: onnx.ModelProto) -> None:
    del next(node for node in model.graph.node if node.domain).input[9:]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without_metadata, r"carries no DCDR-UNet metadata"),
        (older_opset, r"has opset 17, not 20; export it again"),
        (newer_operators, r"has version of its own operators 2, not 1; export it again"),
        (computed_weights, r"computed of restoration\.encoder\.0 is no constant; build with `plugin` none"),
        (narrow, r"restoration\.encoder\.0 has width 32; the plugin's kernel knows 64 only, build with `plugin` none"),
        (huge_weights, r"hr1\.weight holds 1e\+05, too large for FP16; build without `fp16`"),
        (blocks_without_condition, r"cannot take \(DeformConv2d\); build with `plugin` none"),
        (without_a_rank, r"'sdr' is not \(N, 3, H, W\); export it again"),
        (with_an_input_too_few, r"restoration\.encoder\.0 has 9 inputs, not 10; export it again"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_in_one_line(spoil: Callable[[onnx.ModelProto], None], words: str) -> None:
    model = demo()
    spoil(model)
    with pytest.raises(ModelError, match=rf"^m\.onnx.*{words}") as caught:
        prepare(model, settings(fp16=True), "m.onnx")
    assert "\n" not in str(caught.value)


def test_nodes_without_a_name_get_one() -> None:
    model = demo()
    for node in model.graph.node:
        node.name = ""
    assert block_names(prepare(model, settings())) == [f"dcrb{number}" for number in range(8)]
