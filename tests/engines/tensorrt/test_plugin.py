"""The DCRB plugin: what it takes and refuses, what it stores in an engine, and what it hands to the kernels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_tensorrt import DataType, FakeTensorRT, TensorFormat
from hypothesis import given
from hypothesis import strategies as st
from models_for_engines import BLOCKS, CUBINS, FLOAT, HALF, demo, one_block, settings
from onnx import TensorProto

from dcdr_deploy.building.network import build_serialized
from dcdr_deploy.building.prepare import prepare
from dcdr_deploy.engines.cuda.dcrb_from_hidden import FromHiddenArguments, FromHiddenKernels, SftArguments
from dcdr_deploy.engines.cuda.dcrb_from_maps import FromMapsArguments, FromMapsKernels
from dcdr_deploy.engines.cuda.sft import SftLayer
from dcdr_deploy.engines.tensorrt import plugin as trt_plugin
from dcdr_deploy.engines.tensorrt.plugin import decode_kernels, encode_kernels, register
from dcdr_deploy.engines.tensorrt.plugin_forms import FORMS
from dcdr_deploy.engines.tensorrt.signature import (
    FROM_HIDDEN,
    FROM_MAPS,
    HIDDEN_INPUTS,
    PluginError,
    check_shapes,
    check_types,
    format_fits,
    offset_strides,
)
from dcdr_deploy.engines.tensorrt.trt_api import load_api
from dcdr_deploy.errors import EngineError
from dcdr_deploy.modelfile.names import DCRB_INPUTS

HIDDEN_TYPES = ["HALF"] * 4 + ["FLOAT", "HALF"] * 3 + ["FLOAT"]
TYPES = {"HALF": ["HALF"] * 7 + ["FLOAT", "HALF", "FLOAT"], "FLOAT": ["FLOAT"] * 10}
PACKED = {"HALF": (9, 4, 4, 32, 8), "FLOAT": (9, 64, 64)}


def shapes(feature: str = "HALF", **changes: tuple[int | None, ...]) -> list[tuple[int | None, ...]]:
    maps = dict.fromkeys(DCRB_INPUTS, (None, 64, None, None)) | {"offset": (None, 18, None, None)}
    constants = {"w1": PACKED[feature], "w2": PACKED[feature], "b1": (64,), "b2": (64,)}
    return list((maps | constants | changes).values())


def hidden_shapes(**changes: tuple[int | None, ...]) -> list[tuple[int | None, ...]]:
    maps = {"z": (None, 64, None, None), "offset": (None, 18, None, None), "hidden": (None, 128, None, None)}
    constants = {"w1": PACKED["HALF"], "b1": (64,), "w2": PACKED["HALF"], "b2": (64,)}
    layers = {"w_sft1": (2, 18, 32, 8), "b_sft1": (2, 64), "w_sft2": (2, 18, 32, 8), "b_sft2": (2, 64)}
    return list((maps | constants | layers | changes).values())


@pytest.fixture
def rtx() -> Any:
    pytest.importorskip("tensorrt_rtx")
    return load_api("tensorrt-rtx")


class Recorder:
    """Stands in for the kernels on a GPU."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem
        self.prepared = 0
        self.launches: list[tuple[FromMapsArguments | FromHiddenArguments | SftArguments, int]] = []

    def prepare(self) -> None:
        self.prepared += 1
        if self.problem is not None:
            raise self.problem

    def launch(self, arguments: FromMapsArguments | FromHiddenArguments | SftArguments, stream: int) -> None:
        self.launches.append((arguments, stream))

    launch_sft = launch


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(trt_plugin, "shared_kernels", lambda cubins, kind: made)
    return made


# What it takes.


@pytest.mark.parametrize("feature", ["HALF", "FLOAT"])
def test_both_precisions_are_taken(feature: str) -> None:
    check_types(TYPES[feature])
    check_shapes(shapes(feature), feature)


@pytest.mark.parametrize(
    ("types", "words"),
    [
        (["INT8"] * 10, "features are FP16 or FP32"),
        (TYPES["HALF"][:9], r"it has 10 inputs \(z, offset, .*, not 9"),
        (["HALF"] * 10, "input b1 has type HALF; with features of type HALF it must be FLOAT"),
        (["HALF", "FLOAT", *TYPES["HALF"][2:]], "input offset has type FLOAT; .* must be HALF"),
        (["FLOAT", "HALF", *TYPES["FLOAT"][2:]], "input offset has type HALF; .* must be FLOAT"),
    ],
)
def test_mixed_types_are_refused(types: list[str], words: str) -> None:
    with pytest.raises(PluginError, match=words):
        check_types(types)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"z": (None, 32, None, None)}, "input z has 32 channels instead of 64; use `plugin` none"),
        ({"offset": (1, 27, 8, 8)}, "input offset has 27 channels instead of 18"),
        ({"s1": (64, 8, 8)}, "input s1 has rank 3 instead of 4: 64x8x8"),
        ({"z": (None, 64, 8, 8), "t2": (None, 64, 8, 4)}, r"input t2 is \?x64x8x4, but z is \?x64x8x8"),
        ({"w1": (64, 64, 3, 3)}, "input w1 has shape 64x64x3x3 instead of 9x4x4x32x8"),
        ({"w2": (9, 64, 64)}, "input w2 has shape 9x64x64 instead of 9x4x4x32x8"),
        ({"b2": (32,)}, "input b2 has shape 32 instead of 64"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes: dict[str, tuple[int | None, ...]], words: str) -> None:
    with pytest.raises(PluginError, match=words):
        check_shapes(shapes(**changes), "HALF")


def test_hidden_maps_are_taken_in_fp16() -> None:
    check_types(HIDDEN_TYPES, FROM_HIDDEN)
    check_shapes(hidden_shapes(), "HALF", FROM_HIDDEN, first=96)


@pytest.mark.parametrize(
    ("types", "words"),
    [
        (["FLOAT"] * 11, r"its features are FP16 \(HALF\), not FLOAT"),
        (HIDDEN_TYPES[:10], r"it has 11 inputs \(z, offset, hidden, .*, not 10"),
        (["HALF"] * 11, "input b1 has type HALF; with features of type HALF it must be FLOAT"),
        (["HALF", "HALF", "FLOAT", *HIDDEN_TYPES[3:]], "input hidden has type FLOAT; .* must be HALF"),
    ],
)
def test_types_that_version_2_does_not_take_are_refused(types: list[str], words: str) -> None:
    with pytest.raises(PluginError, match=words):
        check_types(types, FROM_HIDDEN)


@pytest.mark.parametrize(
    ("changes", "first", "words"),
    [
        ({}, 104, "input hidden has 128 channels, of which 32 cannot begin at 104"),
        ({}, 4, "input hidden has 128 channels, of which 32 cannot begin at 4"),
        ({"hidden": (1, 30, 8, 8)}, 0, "input hidden has 30 channels, of which 32 cannot begin at 0"),
        ({"z": (1, 64, 8, 8), "hidden": (1, 128, 8, 4)}, 0, "input hidden is 1x128x8x4, but z is 1x64x8x8"),
        ({"w_sft2": (64, 8, 3, 3)}, 0, "input w_sft2 has shape 64x8x3x3 instead of 2x18x32x8"),
        ({"b_sft1": (64,)}, 0, "input b_sft1 has shape 64 instead of 2x64"),
    ],
)
def test_shapes_that_version_2_does_not_take_are_refused(
    changes: dict[str, tuple[int | None, ...]], first: int, words: str
) -> None:
    with pytest.raises(PluginError, match=words):
        check_shapes(hidden_shapes(**changes), "HALF", FROM_HIDDEN, first)


@pytest.mark.parametrize("name", [*HIDDEN_INPUTS, "out"])
def test_version_2_takes_nhwc_maps_and_linear_constants(name: str) -> None:
    position = [*HIDDEN_INPUTS, "out"].index(name)
    types = [*HIDDEN_TYPES, "HALF"]
    taken = {
        layout
        for layout in ("LINEAR", "HWC8", "CHW32")
        if format_fits(position, types, [layout] * 12, len(HIDDEN_INPUTS), FROM_HIDDEN)
    }
    assert taken == {"LINEAR" if name[0] in "wb" else "HWC8"}
    assert not format_fits(position, ["FLOAT"] * 12, ["LINEAR"] * 12, len(HIDDEN_INPUTS), FROM_HIDDEN)


def fits(name: str, layout: str, kind: str, feature: str = "HALF") -> bool:
    position = [*DCRB_INPUTS, "out"].index(name)
    types, formats = [*TYPES[feature], feature], ["LINEAR"] * 11
    types[position], formats[position] = kind, layout
    return format_fits(position, types, formats, 10)


@pytest.mark.parametrize("name", ["z", "s1", "t1", "s2", "t2", "out"])
def test_features_are_nhwc_in_fp16_and_linear_in_fp32(name: str) -> None:
    assert fits(name, "HWC8", "HALF")
    assert not fits(name, "LINEAR", "HALF")
    assert not fits(name, "CHW32", "HALF")
    assert fits(name, "LINEAR", "FLOAT", "FLOAT")
    assert not fits(name, "HWC8", "FLOAT", "FLOAT")


def test_offsets_are_linear_or_nhwc() -> None:
    assert fits("offset", "LINEAR", "HALF")
    assert fits("offset", "HWC8", "HALF")
    assert not fits("offset", "CHW32", "HALF")
    assert not fits("offset", "LINEAR", "FLOAT")
    assert fits("offset", "LINEAR", "FLOAT", "FLOAT")


@pytest.mark.parametrize(("name", "kind"), [("w1", "HALF"), ("w2", "HALF"), ("b1", "FLOAT"), ("b2", "FLOAT")])
def test_constants_are_linear_and_biases_fp32(name: str, kind: str) -> None:
    assert fits(name, "LINEAR", kind)
    assert not fits(name, "HWC8", kind)
    assert not fits(name, "LINEAR", {"HALF": "FLOAT", "FLOAT": "HALF"}[kind])


def test_features_of_other_types_are_not_taken() -> None:
    assert not fits("z", "LINEAR", "INT8")


def test_offsets_lie_as_the_layout_says() -> None:
    """The strides address the same numbers in a linear tensor and in one padded to 24 channels."""
    n, h, w = 2, 3, 5
    linear = np.arange(n * 18 * h * w).reshape(n, 18, h, w)
    padded = np.full((n, h, w, 24), -1)
    padded[..., :18] = linear.transpose(0, 2, 3, 1)
    for layout, memory in (("LINEAR", linear.ravel()), ("HWC8", padded.ravel())):
        image, channel, pixel = offset_strides(h, w, layout)
        seen = [
            [memory[i * image + c * channel + p * pixel] for p in range(h * w)] for i in range(n) for c in range(18)
        ]
        assert np.array_equal(seen, linear.reshape(n * 18, h * w))


# What an engine stores.


@given(st.dictionaries(st.integers(50, 130), st.binary(max_size=300)))
def test_kernels_come_back_from_their_fields(cubins: dict[int, bytes]) -> None:
    assert decode_kernels(encode_kernels(cubins)) == cubins


def test_fields_of_others_are_ignored_and_damage_is_told() -> None:
    assert decode_kernels({"pads": np.zeros(2, np.int32), "small": b"", "smile": b"x"}) == {}
    with pytest.raises(PluginError, match="kernels for SM 86 inside the engine are damaged"):
        decode_kernels({"sm86": np.frombuffer(b"nonsense", np.int8)})


def creator(trt: Any, version: str = FROM_MAPS) -> Any:
    all_creators = trt.get_plugin_registry().all_creators
    return next(each for each in all_creators if (each.name, each.plugin_version) == ("DCRB", version))


@pytest.mark.parametrize(("version", "first"), [(FROM_MAPS, {}), (FROM_HIDDEN, {"first": 64})])
def test_a_plugin_is_rebuilt_from_its_own_fields(rtx: Any, version: str, first: dict[str, int]) -> None:
    register(rtx, CUBINS)
    maker = creator(rtx, version)
    int32 = rtx.PluginFieldType.INT32
    given = [rtx.PluginField(name, np.array([value], np.int32), int32) for name, value in first.items()]
    built = maker.create_plugin("block", rtx.PluginFieldCollection(given), rtx.TensorRTPhase.BUILD)
    fields = built.get_fields_to_serialize()
    register(rtx)  # as in a fresh process: no kernels but those in the engine
    loaded = maker.create_plugin("block", fields, rtx.TensorRTPhase.RUNTIME).clone()
    stored = {field.name: field.data for field in loaded.get_fields_to_serialize()}
    assert decode_kernels(stored) == CUBINS
    assert {name: int(stored[name][0]) for name in stored if not name.startswith("sm")} == first


def test_damaged_fields_are_noted_where_the_engine_can_find_them(rtx: Any) -> None:
    registration = register(rtx)
    fields = rtx.PluginFieldCollection([rtx.PluginField("sm86", np.zeros(9, np.int8), rtx.PluginFieldType.CHAR)])
    with pytest.raises(PluginError):
        creator(rtx).create_plugin("block", fields, rtx.TensorRTPhase.RUNTIME)
    assert "dcdr::DCRB 'block': the kernels for SM 86 inside the engine are damaged" in registration.problems[0]


@pytest.mark.parametrize("fp16", [False, True])
def test_an_engine_carries_the_kernels_of_each_block(rtx: Any, fp16: bool) -> None:
    chosen = settings(sms=(86, 120), fp16=fp16)
    cubins = {sm: np.random.default_rng(sm).bytes(2000) for sm in chosen.sms}
    built = build_serialized(prepare(demo(), chosen).SerializeToString(), chosen, cubins)
    for data in encode_kernels(cubins).values():
        assert built.engine.count(data.tobytes()) >= len(BLOCKS)


# What is refused while building.


@pytest.mark.parametrize(
    ("feature", "changes", "words"),
    [
        (HALF, {"z": (HALF, [1, 32, 16, 16])}, "input z has 32 channels instead of 64; use `plugin` none"),
        (HALF, {"t1": (HALF, [1, 32, 16, 16])}, "input t1 has 32 channels instead of 64; use `plugin` none"),
        (HALF, {"offset": (HALF, [18, 16, 16])}, "input offset has rank 3 instead of 4: 18x16x16"),
        (HALF, {"s2": (HALF, [1, 64, 16, 8])}, "input s2 is 1x64x16x8, but z is 1x64x16x16"),
        (HALF, {"s1": (FLOAT, [1, 64, 16, 16])}, "input s1 has type FLOAT; with features of type HALF it must be HALF"),
        (FLOAT, {"offset": (HALF, [1, 18, 16, 16])}, "input offset has type HALF; .* it must be FLOAT"),
        (HALF, {"w1": (HALF, [64, 64, 3, 3])}, "input w1 has shape 64x64x3x3 instead of 9x4x4x32x8"),
        (HALF, {"z": (TensorProto.INT32, [1, 64, 16, 16])}, r"its features are FP16 or FP32 .*, not INT32"),
    ],
)
def test_a_graph_that_does_not_fit_is_found_at_build_with_a_sentence(
    rtx: Any, feature: int, changes: dict[str, tuple[int, list[int]]], words: str
) -> None:
    model = one_block(feature, **changes).SerializeToString()
    with pytest.raises(EngineError, match=f"the ONNX parser refuses the model: dcdr::DCRB 'block': {words}") as caught:
        build_serialized(model, settings(tile=(16, 16)), CUBINS)
    assert "\n" not in str(caught.value)


def test_the_parser_hands_a_block_its_first_channel_of_the_hidden_map(rtx: Any) -> None:
    chosen = settings(fp16=True)
    model = prepare(demo(), chosen)
    node = [each for each in model.graph.node if each.domain][2]
    next(entry for entry in node.attribute if entry.name == "first").i = 104
    words = "input hidden has 128 channels, of which 32 cannot begin at 104"
    with pytest.raises(EngineError, match=f"dcdr::DCRB 'restoration.middle.0': {words}"):
        build_serialized(model.SerializeToString(), chosen, CUBINS)


def test_a_refusal_is_forgotten_with_the_next_build(rtx: Any) -> None:
    with pytest.raises(EngineError):
        build_serialized(one_block(b1=(HALF, [64])).SerializeToString(), settings(tile=(16, 16)), CUBINS)
    assert build_serialized(one_block().SerializeToString(), settings(tile=(16, 16)), CUBINS).plugin_layers == 1


# What it does in a run, over base classes that need no library.


def plugin(trt: Any, feature: str = "HALF", version: str = FROM_MAPS, first: int = 0) -> Any:
    maker = next(each for each in trt.get_plugin_registry().creators if each.plugin_version == version)
    fields = [SimpleNamespace(name="first", data=np.array([first], np.int32))] if version == FROM_HIDDEN else []
    made = maker.create_plugin("block", fields, None)
    types = HIDDEN_TYPES if version == FROM_HIDDEN else TYPES[feature]
    assert made.get_output_data_types([DataType[each] for each in types]) == [DataType[feature]]
    return made


def desc(shape: tuple[int, ...], kind: str, layout: str) -> Any:
    return SimpleNamespace(dims=shape, type=DataType[kind], format=TensorFormat[layout])


@pytest.mark.parametrize(
    ("feature", "layout", "strides"),
    [("HALF", "LINEAR", (18 * 48, 48, 1)), ("HALF", "HWC8", (24 * 48, 1, 24)), ("FLOAT", "LINEAR", (18 * 48, 48, 1))],
)
def test_a_run_hands_pointers_shape_and_stream_to_the_kernels(
    recorder: Recorder, feature: str, layout: str, strides: tuple[int, int, int]
) -> None:
    trt = FakeTensorRT()
    register(trt, CUBINS)
    inputs = [desc((2, 64, 6, 8), feature, "LINEAR") for _ in DCRB_INPUTS]
    inputs[1] = desc((2, 18, 6, 8), feature, layout)
    pointers = [16 * (number + 1) for number in range(10)]
    plugin(trt, feature).clone().enqueue(inputs, [inputs[0]], pointers, [1600], 3200, 77)
    [(arguments, stream)] = recorder.launches
    assert stream == 77
    assert (arguments.batch, arguments.height, arguments.width) == (2, 6, 8)
    assert arguments.fp16 is (feature == "HALF")
    assert [getattr(arguments, name) for name in DCRB_INPUTS] == pointers
    assert (arguments.out, arguments.workspace, arguments.offset_strides) == (1600, 3200, strides)


def test_a_run_of_version_2_makes_the_first_sft_layer_and_then_the_block(recorder: Recorder) -> None:
    trt = FakeTensorRT()
    register(trt, CUBINS)
    inputs = [desc((2, 64, 6, 8), "HALF", "HWC8") for _ in HIDDEN_INPUTS]
    inputs[2] = desc((2, 128, 6, 8), "HALF", "HWC8")
    given = {name: 16 * (number + 1) for number, name in enumerate(HIDDEN_INPUTS)}
    made = plugin(trt, version=FROM_HIDDEN, first=32).clone()
    made.enqueue(inputs, [inputs[0]], list(given.values()), [1600], 3200, 77)
    assert [stream for _, stream in recorder.launches] == [77, 77]
    layers = [
        SftLayer(given["hidden"], 128, 32 + 16 * n, given[f"w_sft{n + 1}"], given[f"b_sft{n + 1}"]) for n in (0, 1)
    ]
    (before, _), (block, _) = recorder.launches
    assert before == SftArguments(2, 6, 8, given["z"], layers[0], out=1600)
    places = {name: given[name] for name in ("offset", "z", "w1", "b1", "w2", "b2")}
    assert block == FromHiddenArguments(2, 6, 8, u=1600, sft2=layers[1], **places, out=1600, workspace=3200)


def test_a_context_loads_the_kernels_before_anything_is_captured(recorder: Recorder) -> None:
    trt = FakeTensorRT()
    register(trt, CUBINS)
    attached = plugin(trt).attach_to_context(None)
    assert recorder.prepared == 1
    assert recorder.launches == []
    assert attached.plugin_name == "DCRB"


def test_what_goes_wrong_in_a_run_is_noted_once(recorder: Recorder) -> None:
    trt = FakeTensorRT()
    registration = register(trt, CUBINS)
    recorder.problem = EngineError("this GPU is SM90,\nthe kernels are not")
    for _ in range(3):
        with pytest.raises(EngineError):
            plugin(trt).attach_to_context(None)
    assert registration.problems == ["dcdr::DCRB 'block': this GPU is SM90, the kernels are not"]


@pytest.mark.parametrize("feature", ["HALF", "FLOAT"])
def test_the_workspace_is_what_the_kernels_need_for_the_largest_shape(recorder: Recorder, feature: str) -> None:
    trt = FakeTensorRT()
    register(trt, CUBINS)
    tensor = SimpleNamespace(desc=desc((-1, 64, -1, -1), feature, "LINEAR"), max=(4, 64, 540, 960))
    wanted = FromMapsKernels.workspace_bytes(4, 540, 960, fp16=feature == "HALF")
    assert plugin(trt, feature).get_workspace_size([tensor] * 10, [tensor]) == wanted


def test_the_workspace_of_version_2_is_a_map(recorder: Recorder) -> None:
    trt = FakeTensorRT()
    register(trt, CUBINS)
    tensor = SimpleNamespace(desc=desc((-1, 64, -1, -1), "HALF", "HWC8"), max=(4, 64, 540, 960))
    wanted = FromHiddenKernels.workspace_bytes(4, 540, 960)
    assert plugin(trt, version=FROM_HIDDEN).get_workspace_size([tensor] * 11, [tensor]) == wanted


def test_registering_again_replaces_the_kernels_only() -> None:
    trt = FakeTensorRT()
    first, second = register(trt, CUBINS), register(trt, {75: b"x"})
    assert first is second
    assert second.cubins == {75: b"x"}
    assert [each.plugin_version for each in trt.get_plugin_registry().creators] == list(FORMS)


def test_a_name_that_is_taken_is_told() -> None:
    trt = FakeTensorRT()
    stranger = SimpleNamespace(name="DCRB", plugin_version="1", plugin_namespace="dcdr")
    trt.get_plugin_registry().register_creator(stranger, "dcdr")
    with pytest.raises(EngineError, match="another plugin dcdr::DCRB 1 is registered in this process"):
        register(trt, CUBINS)
