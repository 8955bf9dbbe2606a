"""Which package, GPUs, shapes and file name a build takes where the user left them open."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.building.request import Builder, BuildRequest, installed_builders, output_path, present_sm, resolve
from dcdr_deploy.building.settings import DEFAULT_TILE, BuildSettings
from dcdr_deploy.building.worker import settings_from_data, settings_to_data
from dcdr_deploy.engines.tensorrt import trt_api
from dcdr_deploy.errors import EngineError, MissingDependency, ModelError, OutputError
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.modelfile.onnx_file import OnnxModel
from dcdr_deploy.system import hardware

BLOCKS = frozenset({("", "Conv"), ("dcdr", "DCRB")})
MODEL = OnnxModel(Path("model.onnx"), ModelMetadata(), "sdr", None, None, operators=BLOCKS)
STATIC = OnnxModel(Path("model.onnx"), ModelMetadata(), "sdr", (64, 96), 1)
RTX = Builder("tensorrt-rtx", "1.7.1", (75, 80, 86, 89, 120))
FULL = Builder("tensorrt", "10.9")
NO_RTX = Builder("tensorrt-rtx", "", problem="tensorrt-rtx is not installed")
NO_FULL = Builder("tensorrt", "", problem="tensorrt is not installed")


def settle(*builders: Builder, present: int | None = None, model: OnnxModel = MODEL, **wishes: object) -> BuildSettings:
    settings, builder = resolve(BuildRequest(**wishes), model, builders, present)
    assert builder.name == settings.package
    return settings


def test_on_a_gpu_everything_has_a_default():
    settings = settle(NO_FULL, RTX, present=86)
    assert settings == BuildSettings("tensorrt-rtx", (86,), tile=DEFAULT_TILE)
    assert settings.plugin
    assert settings.precision == "fp32"


@pytest.mark.parametrize(
    ("operators", "plugin"),
    [
        ({("", "Conv")}, False),
        ({("", "DCRB")}, False),
        ({("dcdr", "DeformConv2d")}, False),
        ({("dcdr", "DCRB"), ("dcdr", "DeformConv2d")}, False),
        (BLOCKS, True),
    ],
)
def test_the_plugin_is_used_where_the_model_has_blocks_for_it(operators, plugin):
    model = OnnxModel(Path("model.onnx"), ModelMetadata(), "sdr", None, None, operators=frozenset(operators))
    assert settle(RTX, present=86, model=model).plugin is plugin
    assert settle(RTX, present=86, model=model, plugin=True).plugin
    assert not settle(RTX, present=86, model=model, plugin=False).plugin


def test_current_stands_for_the_gpu_of_this_machine():
    assert settle(RTX, present=86, sms=("current", 120, 75, 120)).sms == (75, 86, 120)


@pytest.mark.parametrize("sms", [(), ("current",), (86, "current")])
def test_without_a_gpu_the_user_is_asked_to_name_some(sms):
    with pytest.raises(EngineError, match=r"no NVIDIA GPU to build for; name the GPUs with `sms`, such as `sms` 86,89"):
        settle(RTX, sms=sms)


@pytest.mark.parametrize(
    ("builders", "present", "sms", "package"),
    [
        ((FULL, RTX), 86, (), "tensorrt"),
        ((FULL, RTX), 86, (86, 120), "tensorrt-rtx"),
        ((FULL, RTX), None, (86,), "tensorrt-rtx"),
        ((FULL, RTX), 90, (), "tensorrt"),
        ((FULL, RTX), 90, (86,), "tensorrt-rtx"),
        ((NO_FULL, RTX), 89, (), "tensorrt-rtx"),
        ((FULL, NO_RTX), 89, (), "tensorrt"),
    ],
)
def test_the_package_that_fits_the_gpu_is_taken(builders, present, sms, package):
    assert settle(*builders, present=present, sms=sms).package == package


def test_without_any_package_both_install_lines_are_shown():
    with pytest.raises(MissingDependency) as caught:
        settle(NO_FULL, NO_RTX)
    assert all(package.install in str(caught.value) for package in trt_api.PACKAGES.values())


def test_a_package_named_but_missing_shows_its_own_line():
    with pytest.raises(MissingDependency, match=r"tensorrt is not installed; install: .*tensorrt>="):
        settle(NO_FULL, RTX, package="tensorrt", sms=(86,))


def test_a_package_that_cannot_be_imported_gives_its_reason_once():
    broken = Builder("tensorrt", "", problem=f"tensorrt cannot be imported; {trt_api.PACKAGES['tensorrt'].install}")
    with pytest.raises(MissingDependency) as caught:
        settle(broken, RTX, package="tensorrt", sms=(86,))
    assert str(caught.value) == broken.problem


@pytest.mark.parametrize(
    ("builders", "present", "sms", "sentence"),
    [
        ((NO_FULL, RTX), 90, (), r"tensorrt-rtx builds for SM75, .*SM120, not for SM90; .*pip install .*tensorrt>="),
        ((NO_FULL, RTX), None, (86, 42), r"not for SM42"),
        (
            (FULL, NO_RTX),
            None,
            (86,),
            r"for the GPU of the machine it runs on, which has none; .*pip install .*tensorrt-rtx",
        ),
        ((FULL, NO_RTX), 89, (86,), r"which is SM89"),
        ((FULL, NO_RTX), 89, (86, 89), r"which is SM89"),
        ((FULL, RTX), None, (90,), r"which has none; tensorrt-rtx builds for .* not for SM90"),
    ],
)
def test_a_gpu_that_no_package_builds_for_is_an_error_with_the_reasons(builders, present, sms, sentence):
    with pytest.raises(EngineError, match=sentence):
        settle(*builders, present=present, sms=sms)


def test_sm90_with_tensorrt_rtx_by_name_lists_what_it_builds_for():
    with pytest.raises(EngineError, match=r"tensorrt-rtx builds for SM75, SM80, SM86, SM89, SM120, not for SM90"):
        settle(FULL, RTX, present=90, package="tensorrt-rtx")


def test_an_fp16_model_stays_fp16_and_an_fp32_model_is_converted_on_request():
    half = OnnxModel(Path("m.onnx"), ModelMetadata(), "sdr", None, None, "fp16")
    assert settle(RTX, sms=(86,), model=half).precision == "fp16"
    assert settle(RTX, sms=(86,), model=half, fp16=True).precision == "fp16"
    assert settle(RTX, sms=(86,), fp16=True).precision == "fp16"


def test_a_static_model_lends_its_size():
    assert settle(RTX, sms=(86,), model=STATIC).size == (64, 96)
    assert settle(RTX, sms=(86,), model=STATIC, tile=(64, 96)).size == (64, 96)


@pytest.mark.parametrize("wishes", [{"tile": (96, 64)}, {"dynamic": True}, {"max_batch": 2}])
def test_a_static_model_takes_no_other_shapes(wishes):
    with pytest.raises(ModelError, match="without --static"):
        settle(RTX, sms=(86,), model=STATIC, **wishes)


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"tile": (30, 64)}, "`tile` 30x64: height and width must be positive multiples of 4"),
        ({"tile": (0, 64)}, "`tile` 0x64"),
        ({"max_batch": 0}, "`max_batch` must be at least 1"),
        ({"workspace": 0.0}, "`workspace` must be more than 0"),
        ({"workspace": float("nan")}, "`workspace` must be more than 0"),
        ({"tile": (8192, 8192)}, "more than an engine can index"),
        ({"tile": (64, 7680), "dynamic": True}, "more than an engine can index"),
        ({"max_batch": 32}, "choose a smaller `tile` or `max_batch`"),
    ],
)
def test_settings_out_of_range_name_the_option(wishes, sentence):
    with pytest.raises(EngineError, match=sentence):
        settle(RTX, sms=(86,), **wishes)


EDGES = st.integers(1, 256).map(lambda n: 4 * n)


@given(EDGES, EDGES, st.integers(1, 8), st.booleans())
def test_profiles_are_ordered_and_hold_the_tile(height, width, max_batch, dynamic):
    profile = BuildSettings("p", (86,), tile=(height, width), max_batch=max_batch, dynamic=dynamic).profile()
    for low, best, high in zip(profile.smallest, profile.best, profile.largest, strict=True):
        assert low <= best <= high
    assert profile.best == (max_batch, height, width)
    if dynamic:
        upright = (width, height)
        assert all(
            low <= edge <= high
            for low, edge, high in zip(profile.smallest[1:], upright, profile.largest[1:], strict=True)
        )
    else:
        assert profile.smallest[1:] == profile.largest[1:]


@given(
    st.builds(
        BuildSettings,
        st.sampled_from(["tensorrt", "tensorrt-rtx"]),
        st.lists(st.integers(50, 130), min_size=1).map(tuple),
        st.booleans(),
        st.booleans(),
        st.none() | st.tuples(EDGES, EDGES),
        st.integers(1, 4),
        st.booleans(),
        st.none() | st.floats(0.5, 64),
        st.none() | st.just(Path("a/b.cache")),
    )
)
def test_settings_reach_the_child_unchanged(settings):
    import json

    assert settings_from_data(json.loads(json.dumps(settings_to_data(settings)))) == settings


@pytest.mark.parametrize(
    ("source", "fp16", "sms", "name"),
    [
        ("model.onnx", True, (86,), "model.fp16.sm86.engine"),
        ("model.onnx", False, (75, 120), "model.fp32.sm75-120.engine"),
        ("model.fp16.onnx", True, (89,), "model.fp16.sm89.engine"),
        ("my.net.v2.onnx", False, (89,), "my.net.v2.fp32.sm89.engine"),
    ],
)
def test_the_name_tells_precision_and_gpus(tmp_path, source, fp16, sms, name):
    settings = BuildSettings("tensorrt-rtx", sms, fp16)
    assert output_path(None, Path("elsewhere") / source, tmp_path, settings) == tmp_path / name
    assert output_path(tmp_path, Path(source), Path("x"), settings) == tmp_path / name
    assert output_path(tmp_path / "own.ENGINE", Path(source), Path("x"), settings) == tmp_path / "own.ENGINE"


@pytest.mark.parametrize("name", ["model.onnx", "model", "model.plan"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(OutputError, match=r"needs the suffix \.engine"):
        output_path(tmp_path / name, Path("model.onnx"), Path(), BuildSettings("tensorrt-rtx", (86,)))


def test_packages_are_listed_with_what_they_build_for_or_why_they_cannot(monkeypatch):
    monkeypatch.setattr(trt_api, "version", lambda name: {"tensorrt": "10.9"}.get(name))

    def stub(name: str) -> object:
        raise MissingDependency(f"{name} cannot be imported")

    monkeypatch.setattr(trt_api, "load_api", stub)
    full, rtx = installed_builders()
    assert (full.name, full.problem) == ("tensorrt", "tensorrt cannot be imported")
    assert (rtx.name, rtx.problem) == ("tensorrt-rtx", "tensorrt-rtx is not installed")


def test_the_first_gpu_is_the_present_one(monkeypatch):
    monkeypatch.setattr(hardware, "compute_capabilities", lambda: [89, 120])
    assert present_sm() == 89
    monkeypatch.setattr(hardware, "compute_capabilities", list)
    assert present_sm() is None


def test_full_tensorrt_with_the_list_of_rtx_builds_for_its_own_gpu_all_the_same(monkeypatch: pytest.MonkeyPatch):
    listing = SimpleNamespace(ComputeCapability=SimpleNamespace(__members__={"SM86": 86, "SM120": 120}))
    monkeypatch.setattr(trt_api, "version", lambda name: "11.4")
    monkeypatch.setattr(trt_api, "load_api", lambda name: listing)
    assert {each.name: each.sms for each in installed_builders()} == {"tensorrt": (), "tensorrt-rtx": (86, 120)}


def test_tiles_are_multiples_of_what_the_network_takes() -> None:
    model = OnnxModel(Path("m.onnx"), ModelMetadata(size_multiple=32), "sdr", None, None)
    settings, _ = resolve(BuildRequest(sms=(86,)), model, [RTX], None)
    assert settings.tile == (1088, 1920)
    with pytest.raises(ModelError, match=r"m\.onnx takes heights and widths that are multiples of 32, not 1080x1920"):
        resolve(BuildRequest(sms=(86,), tile=(1080, 1920)), model, [RTX], None)
