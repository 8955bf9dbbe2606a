"""Engines of the demo model: real TensorRT-RTX builds, and the differences between packages over fakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ear import Ear
from fake_tensorrt import STRONGLY_TYPED, FakeTensorRT, RtxConfig, layer
from models_for_engines import BLOCKS, CUBINS, FULL, demo, one_block, settings

from dcdr_deploy.building import network
from dcdr_deploy.building.network import GIB, BuiltEngine, build_serialized
from dcdr_deploy.building.prepare import prepare
from dcdr_deploy.errors import EngineError, OutputError

CONVOLUTIONS = {(True, True): 39, (True, False): 101, (False, True): 101 + 9 * 16, (False, False): 101 + 9 * 16}
"""In the network by plugin and FP16.

The plugin takes hidden maps in FP16: of eight convolutions for the SFT layers of each of eight blocks one is left for
each of two condition maps. Without the plugin each of 16 deformable convolutions is nine of 1x1.
"""


def build(chosen: Any, **callbacks: Any) -> BuiltEngine:
    pytest.importorskip("tensorrt_rtx")
    return build_serialized(prepare(demo(), chosen).SerializeToString(), chosen, CUBINS, **callbacks)


def check(built: BuiltEngine, chosen: Any) -> None:
    precision = "HALF" if chosen.fp16 else "FLOAT"
    assert built.plugin_layers == built.layer_types.get("PLUGIN_V3", 0) == (8 if chosen.plugin else 0)
    assert len(built.engine) > 1 << 20
    convolutions = CONVOLUTIONS[chosen.plugin, chosen.fp16]
    assert built.layer_types["CONVOLUTION"] == convolutions
    assert built.layer_precisions["CONVOLUTION"] == {precision: convolutions}
    if chosen.plugin:
        assert built.layer_precisions["PLUGIN_V3"] == {precision: 8}
        assert "GRID_SAMPLE" not in built.layer_types
    else:
        assert built.layer_precisions["GRID_SAMPLE"] == {"FLOAT": 9 * 16}


@pytest.mark.parametrize(
    ("fp16", "plugin", "dynamic"),
    [
        pytest.param(True, True, False, id="fp16-dcrb-static"),
        pytest.param(True, True, True, id="fp16-dcrb-dynamic"),
        pytest.param(False, True, False, id="fp32-dcrb-static"),
        pytest.param(False, True, True, id="fp32-dcrb-dynamic"),
        # Many kernels and so many seconds: the other two are built by the tests of the command.
        pytest.param(True, False, False, id="fp16-none-static", marks=pytest.mark.slow),
        pytest.param(False, False, True, id="fp32-none-dynamic", marks=pytest.mark.slow),
    ],
)
def test_one_engine_for_three_gpus(fp16: bool, plugin: bool, dynamic: bool) -> None:
    chosen = settings(sms=(86, 89, 120), fp16=fp16, plugin=plugin, dynamic=dynamic, max_batch=2 if dynamic else 1)
    check(build(chosen), chosen)


@pytest.mark.parametrize("sm", [75, 86, 89, 120])
def test_an_engine_for_a_gpu_that_is_not_here(sm: int) -> None:
    chosen = settings(sms=(sm,), fp16=True, max_batch=4)
    check(build(chosen), chosen)


def test_an_architecture_that_the_package_does_not_know_is_refused_with_those_it_does() -> None:
    with pytest.raises(EngineError, match=r"cannot build for SM 90; it knows 75, 80, 86, 89, 120"):
        build(settings(sms=(86, 90)))


def test_progress_and_messages_are_told() -> None:
    ear = Ear()
    lines: list[str] = []
    build(settings(fp16=True), listener=ear, log=lines.append)
    assert all(0 <= done <= total for done, total in ear.steps)
    ended = {event.stage for event in ear.heard if event.done == event.total}
    assert ended == {event.stage for event in ear.heard} != set()
    assert lines
    assert all("\n" not in line and line.startswith("[") for line in lines)


def test_the_limit_of_the_workspace_is_passed_on() -> None:
    chosen = settings(fp16=True, workspace=0.5)
    check(build(chosen), chosen)


def test_a_plugin_build_without_kernels_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="needs its compiled kernels"):
        build_serialized(b"", settings(), {})


def test_a_graph_with_an_operator_that_nobody_knows_is_refused_in_one_line() -> None:
    pytest.importorskip("tensorrt_rtx")
    model = one_block()
    model.graph.node[0].op_type = "Nonsense"
    with pytest.raises(EngineError, match="the ONNX parser refuses the model: ") as caught:
        build_serialized(model.SerializeToString(), settings(plugin=False, tile=(16, 16)), {})
    assert "\n" not in str(caught.value)


# What other packages and versions do otherwise, over fakes.

PLUGINS = [layer("PLUGIN_V3", name) for name in BLOCKS]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(trt: Any) -> Any:
        monkeypatch.setattr(network, "load_api", lambda name: trt)
        return trt

    return install


def build_fake(**changes: Any) -> BuiltEngine:
    chosen = settings(package=changes.pop("package", FULL), **changes)
    return build_serialized(prepare(demo(), chosen).SerializeToString(), chosen, CUBINS)


def test_strong_typing_is_asked_for_where_it_must_be(use: Any) -> None:
    old, new = use(FakeTensorRT(PLUGINS)), FakeTensorRT(PLUGINS, version="11.4", strongly_typed=False)
    build_fake()
    use(new)
    build_fake()
    assert old.built.networks[0].flags == 1 << STRONGLY_TYPED
    assert new.built.networks[0].flags == 0


def test_full_tensorrt_builds_for_the_gpu_that_is_there(use: Any) -> None:
    trt = use(FakeTensorRT(PLUGINS))
    assert build_fake(sms=(90,)).engine == b"engine"
    assert not hasattr(trt.built.configs[0], "num_compute_capabilities")
    with pytest.raises(EngineError, match="one GPU architecture at a time"):
        build_fake(sms=(86, 90))


def test_rtx_is_given_its_targets(use: Any) -> None:
    trt = use(FakeTensorRT(PLUGINS, rtx=True))
    build_fake(package="tensorrt-rtx", sms=(86, 120))
    assert trt.built.configs[0].num_compute_capabilities == 2
    assert trt.built.configs[0].targets == {0: "SM86", 1: "SM120"}
    with pytest.raises(EngineError, match=r"cannot build for SM 89; it knows 86, 120"):
        build_fake(package="tensorrt-rtx", sms=(89,))


def test_a_target_that_rtx_refuses_fails_the_build(use: Any) -> None:
    class Choosy(RtxConfig):
        refused = "SM120"

    trt = use(FakeTensorRT(PLUGINS, rtx=True, config=Choosy))
    with pytest.raises(EngineError, match=r"tensorrt-rtx .* refuses to build for SM 120; leave it out of `sms`"):
        build_fake(package="tensorrt-rtx", sms=(86, 120))
    assert trt.built.configs[0].targets == {0: "SM86"}


def test_full_tensorrt_with_the_names_of_rtx_still_builds_for_the_gpu_that_is_there(use: Any) -> None:
    trt = use(FakeTensorRT(PLUGINS, rtx=True))
    assert build_fake(sms=(90,)).engine == b"engine"
    assert (trt.built.configs[0].num_compute_capabilities, trt.built.configs[0].targets) == (0, {})


def test_rtx_keeps_no_timing_cache(use: Any, tmp_path: Path) -> None:
    trt = use(FakeTensorRT(PLUGINS, rtx=True))
    build_fake(package="tensorrt-rtx", sms=(86,), timing_cache=tmp_path / "timings")
    assert trt.built.configs[0].caches == []
    assert list(tmp_path.iterdir()) == []


def test_engines_leave_allocation_to_the_caller_where_that_can_be_asked_for(use: Any) -> None:
    rtx = use(FakeTensorRT(PLUGINS, rtx=True))
    build_fake(package="tensorrt-rtx", sms=(86,))
    assert rtx.built.configs[0].raised == ["user allocation"]
    full = use(FakeTensorRT(PLUGINS))
    build_fake()
    assert full.built.configs[0].raised == []


def test_settings_reach_the_configuration(use: Any) -> None:
    trt = use(FakeTensorRT(PLUGINS))
    build_fake(workspace=1.5, max_batch=4)
    config = trt.built.configs[0]
    assert config.limits == {"workspace": 3 * GIB // 2}
    assert config.shapes == {"sdr": ((1, 3, 64, 96), (4, 3, 64, 96), (4, 3, 64, 96))}
    assert config.cleared == ["tf32"]


def test_a_version_without_progress_builds_without(use: Any) -> None:
    use(FakeTensorRT(PLUGINS, monitor=False))
    assert build_fake().plugin_layers == 8


@pytest.mark.parametrize(
    ("stored", "tried"),
    [(None, [b""]), (b"old", [b"old"]), (b"damaged", [b""]), (b"other GPU", [b"other GPU", b""])],
)
def test_the_timing_cache_is_kept_or_begun_anew(
    use: Any, tmp_path: Path, stored: bytes | None, tried: list[bytes]
) -> None:
    trt = use(FakeTensorRT(PLUGINS))
    path = tmp_path / "new" / "timings"
    if stored is not None:
        path.parent.mkdir()
        path.write_bytes(stored)
    build_fake(timing_cache=path)
    assert trt.built.configs[0].caches == tried
    assert path.read_bytes() == tried[-1] + b"+timings"
    assert list(path.parent.iterdir()) == [path]


def test_a_timing_cache_that_cannot_be_used_is_told(use: Any, tmp_path: Path) -> None:
    use(FakeTensorRT(PLUGINS))
    with pytest.raises(EngineError, match=r"timing cache .* cannot be read: Is a directory"):
        build_fake(timing_cache=tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((EngineError, OutputError), match="file"):
        build_fake(timing_cache=tmp_path / "file" / "cache")


def test_blocks_that_went_elsewhere_fail_the_build_and_are_told(use: Any) -> None:
    use(FakeTensorRT([*PLUGINS[:5], layer("CONVOLUTION", "c")]))
    with pytest.raises(EngineError, match=r"gave 5 of 8 DCRB nodes to the plugin and made 0 other .* among 6 layers"):
        build_fake()


def test_plugins_where_none_was_asked_for_fail_an_rtx_build(use: Any) -> None:
    use(FakeTensorRT([layer("PLUGIN_V3", "stray")], rtx=True))
    with pytest.raises(EngineError, match=r"gave 0 of 0 DCRB nodes to the plugin and made 1 other plugin layer among"):
        build_fake(package="tensorrt-rtx", plugin=False)


def test_full_tensorrt_may_use_its_own_plugin_for_deformable_convolutions(use: Any) -> None:
    use(FakeTensorRT([layer("PLUGIN_V2", "conv1"), layer("CONVOLUTION", "c")]))
    built = build_fake(plugin=False)
    assert built.plugin_layers == 0
    assert built.layer_types == {"PLUGIN_V2": 1, "CONVOLUTION": 1}
    assert built.layer_precisions["CONVOLUTION"] == {"FLOAT": 1}


def test_a_build_that_fails_says_why(use: Any) -> None:
    words = (("INFO", "fine"), ("ERROR", "first"), ("INTERNAL_ERROR", "out of\nluck"))
    use(FakeTensorRT(PLUGINS, engine=None, words=words))
    with pytest.raises(EngineError, match=r"^tensorrt could not build the engine: out of luck$"):
        build_fake()


def test_a_model_that_the_parser_refuses_says_why(use: Any) -> None:
    use(FakeTensorRT(PLUGINS, parses=False))
    with pytest.raises(EngineError, match=r"^the ONNX parser refuses the model: no importer for X$"):
        build_fake()
