"""The TensorRT backends, on a fake GPU: what is loaded, what is refused and why, and what comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_cuda import SM, FakeDriver
from fake_tensorrt import FakeTensorRT
from fake_trt_engine import FakeContext, FakeEngine, engine_bytes
from gain_net import METADATA, write_gain_net

from dcdr_deploy.engines import EngineOptions, choose_backend, load_engine
from dcdr_deploy.engines.base import normalise
from dcdr_deploy.engines.cuda import memory
from dcdr_deploy.engines.tensorrt import engine as tensorrt
from dcdr_deploy.engines.tensorrt import trt_api
from dcdr_deploy.errors import DcdrError, EngineError, MissingDependency, ModelError, OutputError
from dcdr_deploy.modelfile.metadata import encode
from dcdr_deploy.modelfile.sidecar import Sidecar, read_sidecar, sidecar_path, write
from dcdr_deploy.run.opening import open_runner
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.system import files, hardware, packages
from dcdr_deploy.system.files import file_sha256
from dcdr_deploy.system.packages import install_line

INSTALLED = {"tensorrt": "10.13.0", "tensorrt-rtx": "1.7.1.116"}
SMALLEST, LARGEST = (1, 16, 16), (2, 64, 96)


class Machine:
    """A machine with a GPU and both packages; tests take parts away."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.driver = FakeDriver()
        self.apis = {name: FakeTensorRT(driver=self.driver, rtx=name == "tensorrt-rtx") for name in INSTALLED}
        self.installed = dict(INSTALLED)
        self.sms = [SM]
        patch.setattr(memory, "load_driver", lambda: self.driver)
        patch.setattr(trt_api, "load_api", lambda name: self.apis[name])
        patch.setattr(trt_api, "version", lambda name: self.installed.get(name))
        patch.setattr(packages, "versions", lambda names: dict.fromkeys(names, "13.0"))
        patch.setattr(hardware, "compute_capabilities", lambda: self.sms)
        patch.setattr(hardware, "cuda_device_count", lambda: len(self.sms))
        patch.setattr("dcdr_deploy.engines.cuda.compiler.compile_cubin", lambda source, sm: b"cubin")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def write_engine(path: Path, content: bytes | None = None, **facts: object) -> Path:
    """Write an engine that halves its input, and its sidecar."""
    half = facts.get("precision") == "fp16"
    bounds = facts.get("min_shape", SMALLEST), facts.get("max_shape", LARGEST)
    path.write_bytes(engine_bytes(0.5, *bounds, half=half) if content is None else content)
    package = str(facts.get("package", "tensorrt-rtx"))
    sidecar = Sidecar(
        package=package,
        package_version=INSTALLED[package],
        sms=(SM,),
        precision="fp32",
        min_shape=SMALLEST,
        opt_shape=LARGEST,
        max_shape=LARGEST,
        onnx_sha256="ab" * 32,
        engine_sha256=file_sha256(path),
        metadata=encode(METADATA),
        verified=True,
    )
    write(path, replace(sidecar, **facts))
    return path


@pytest.fixture
def engine_file(tmp_path: Path) -> Path:
    return write_engine(tmp_path / "model.fp32.sm86.engine")


def codes(tiles: int = 3, height: int = 16, width: int = 32, dtype: type = np.uint8) -> np.ndarray:
    shape = (tiles, height, width, 3)
    return np.random.default_rng(4).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("package", list(INSTALLED))
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_codes_give_what_their_normalised_floats_give(
    machine: Machine, tmp_path: Path, package: str, precision: str, dtype: type
):
    path = write_engine(tmp_path / "m.engine", package=package, precision=precision)
    batch = codes(dtype=dtype)
    expected = normalise(batch) / 2
    if precision == "fp16":
        expected = expected.astype(np.float16).astype(np.float32)
    with load_engine(path) as engine:
        assert (engine.info.backend, engine.info.precision, engine.info.device_kind) == (package, precision, "cuda")
        for _ in range(3):  # ordinary, recorded, launched
            np.testing.assert_array_equal(engine.infer_codes(batch), expected)
            np.testing.assert_array_equal(engine.infer(normalise(batch)), expected)
    assert machine.driver.calls["cuGraphLaunch"] > 0
    assert (machine.driver.used, machine.driver.live_handles) == (0, 0)


def test_info_is_the_sidecars(machine: Machine, engine_file: Path):
    with load_engine(engine_file) as engine:
        info = engine.info
        assert (info.metadata.name, info.metadata.peak, info.model) == (METADATA.name, METADATA.peak, engine_file)
        assert (info.smallest_size, info.largest_size, info.fixed_size) == ((16, 16), (64, 96), None)
        assert (info.max_batch, info.group) == (None, 2)
        assert info.bytes_per_pixel == 8 + 96  # what the fake engine says it needs, and input, output and copies
        assert engine.available_memory() == 1 << 30


@pytest.mark.parametrize("size", [(5, 3), (60, 90), (200, 150), (64, 300)])
@pytest.mark.parametrize("fixed", [False, True])
def test_the_runner_takes_frames_of_any_size(machine: Machine, tmp_path: Path, size: tuple[int, int], fixed: bool):
    path = write_engine(tmp_path / "m.engine", min_shape=(1, *LARGEST[1:]) if fixed else SMALLEST)
    pixels = codes(1, *size)[0]
    with load_engine(path) as engine:
        runner = Runner(engine)
        np.testing.assert_array_equal(runner.run(pixels), pixels.astype(np.float32) / np.float32(255) / 2)
        if fixed:
            assert runner.statistics.tile_size == (64, 96)


def test_running_out_of_memory_halves_the_tile(machine: Machine, tmp_path: Path):
    machine.driver.memory = 300_000
    path = write_engine(tmp_path / "m.engine", max_shape=(1, 256, 256))
    pixels = codes(1, 128, 256)[0]
    with load_engine(path) as engine:
        runner = Runner(engine, tile=None)
        np.testing.assert_array_equal(runner.run(pixels), pixels.astype(np.float32) / np.float32(255) / 2)
        assert runner.statistics.retries > 0


def test_without_a_compiler_the_processor_normalises(
    machine: Machine, engine_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def missing(source: str, sm: int) -> bytes:
        raise MissingDependency("no NVRTC; pip install it")

    monkeypatch.setattr("dcdr_deploy.engines.cuda.compiler.compile_cubin", missing)
    with load_engine(engine_file) as engine:
        np.testing.assert_array_equal(engine.infer_codes(codes()), normalise(codes()) / 2)
    assert "normalised on the processor, which is slower: no NVRTC" in caplog.text


REBUILD = "build it again with `dcdr-deploy build-engine`"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"sms": (89, 120)}, f"is for SM89, SM120, but this GPU is SM86; {REBUILD} --sm 86"),
        ({"package_version": "1.6.0"}, f"was built with tensorrt-rtx 1.6.0, but 1.7.1.116 is installed; {REBUILD}"),
        ({"engine_sha256": "00" * 32}, f"is not the file that m.engine.json describes: damaged; {REBUILD}"),
        ({"plugin": "dcdr::DCRB", "plugin_version": "7"}, f"version 7 of the plugin dcdr::DCRB.*; {REBUILD}"),
        ({"metadata": {"dcdr.format": "9"}}, "metadata of version 9"),
    ],
    ids=["another GPU", "another version", "another engine file", "another plugin", "newer metadata"],
)
def test_an_engine_that_does_not_fit_says_why_and_how_to_rebuild(
    machine: Machine, tmp_path: Path, facts: dict, words: str
):
    path = write_engine(tmp_path / "m.engine", **facts)
    with pytest.raises(ModelError, match=words) as caught:
        load_engine(path)
    assert "\n" not in str(caught.value)
    assert machine.driver.live_handles == 0


def edits_and_losses_of_the_sidecar_are_told(engine_file: Path) -> None:
    beside = sidecar_path(engine_file)
    beside.write_text(beside.read_text().replace('"fp32"', '"fp16"'))
    with pytest.raises(ModelError, match=f"was edited or damaged after it was written; {REBUILD}"):
        load_engine(engine_file)
    beside.unlink()
    with pytest.raises(ModelError, match=f"has no sidecar .*; {REBUILD}"):
        load_engine(engine_file)


def test_a_sidecar_that_was_edited_or_is_missing_is_refused(machine: Machine, engine_file: Path):
    edits_and_losses_of_the_sidecar_are_told(engine_file)


@pytest.mark.parametrize("missing", ["GPU", "packages"])
def test_a_sidecar_that_was_edited_or_is_missing_is_told_also_where_nothing_could_run_it(
    machine: Machine, engine_file: Path, missing: str
):
    (machine.sms if missing == "GPU" else machine.installed).clear()
    machine.installed.pop("tensorrt", None)
    edits_and_losses_of_the_sidecar_are_told(engine_file)


def test_an_engine_that_the_package_refuses_is_one_line(machine: Machine, tmp_path: Path):
    path = write_engine(tmp_path / "m.engine", content=b"something else")
    with pytest.raises(ModelError, match=f"tensorrt-rtx cannot load .*m.engine: magicTag does not match; {REBUILD}"):
        load_engine(path)


def test_an_engine_with_other_ends_is_refused(machine: Machine, tmp_path: Path):
    path = write_engine(tmp_path / "m.engine", content=engine_bytes(ends=("sdr", "hdr", "mask")))
    with pytest.raises(ModelError, match="1 input and 2 outputs"):
        load_engine(path)
    assert (machine.driver.used, machine.driver.live_handles) == (0, 0)


def test_the_automatic_choice_takes_the_package_that_built_the_engine(machine: Machine, tmp_path: Path):
    for package in INSTALLED:
        path = write_engine(tmp_path / f"{package}.engine", package=package)
        assert choose_backend(path).backend.name == package


def test_a_backend_named_for_the_others_engine_says_which_one_to_name(machine: Machine, engine_file: Path):
    with pytest.raises(ModelError, match="built with tensorrt-rtx, not tensorrt; run it with `backend` tensorrt-rtx"):
        load_engine(engine_file, "tensorrt")


def test_a_missing_package_is_asked_for_by_its_own_install_line(machine: Machine, engine_file: Path):
    machine.installed.clear()
    with pytest.raises(MissingDependency) as caught:
        load_engine(engine_file)
    assert "tensorrt: model.fp32.sm86.engine was built with tensorrt-rtx" in str(caught.value)
    assert str(caught.value).endswith(f"install: {install_line('rtx')}")


def test_without_a_gpu_or_with_too_few_the_reason_is_given(machine: Machine, engine_file: Path):
    with pytest.raises(EngineError, match="no GPU 1; this machine has 1"):
        load_engine(engine_file, options=EngineOptions("cuda:1"))
    machine.sms.clear()
    with pytest.raises(EngineError, match="tensorrt-rtx: no NVIDIA GPU or driver found"):
        load_engine(engine_file)
    with pytest.raises(EngineError, match=r"no backend runs \.engine models on cpu"):
        load_engine(engine_file, options=EngineOptions("cpu"))


def test_another_precision_than_the_engines_is_refused(machine: Machine, engine_file: Path):
    with pytest.raises(EngineError, match="is fp32, not fp16 as asked for"):
        load_engine(engine_file, options=EngineOptions(precision="fp16"))


def test_doctor_says_what_is_missing(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    assert tensorrt.for_package("tensorrt").availability().devices == ("cuda:0",)
    machine.sms.clear()
    assert tensorrt.for_package("tensorrt-rtx").availability().reason.endswith("can be built, not run")
    monkeypatch.setattr(packages, "versions", lambda names: {})
    assert "cuda-bindings is not installed" in tensorrt.for_package("tensorrt").availability().reason
    machine.installed.clear()
    state = tensorrt.for_package("tensorrt").availability()
    assert (state.ok, state.reason) == (False, "tensorrt is not installed")
    assert state.install == install_line("tensorrt")


@pytest.fixture
def unverified(machine: Machine, tmp_path: Path) -> Path:
    """An engine that nobody has compared yet, beside its ONNX file and another one."""
    source = write_gain_net(tmp_path / "model.onnx")
    write_gain_net(tmp_path / "another.onnx", gain=0.25)
    return write_engine(tmp_path / "m.engine", verified=False, onnx_sha256=file_sha256(source))


def first_run(engine: Path) -> None:
    with open_runner(engine):
        pass


def test_the_first_run_compares_and_notes_that_it_passed(unverified: Path):
    first_run(unverified)
    sidecar = read_sidecar(unverified)
    assert sidecar.verified
    assert sidecar.gate["psnr"] >= 80


def test_the_second_run_does_not_compare_again(unverified: Path, monkeypatch: pytest.MonkeyPatch):
    first_run(unverified)
    monkeypatch.setattr("dcdr_deploy.run.gate.sample_tiles", lambda *size: 1 / 0)
    first_run(unverified)


def test_an_engine_that_is_found_chosen_and_loaded_is_digested_once(
    machine: Machine, engine_file: Path, monkeypatch: pytest.MonkeyPatch
):
    read: list[Path] = []
    real = files._digest
    monkeypatch.setattr(files, "_digest", lambda path: read.append(path) or real(path))
    now = files.time.time()
    monkeypatch.setattr(files.time, "time", lambda: now + 60)  # it has lain there for a while
    monkeypatch.chdir(engine_file.parent)
    monkeypatch.delenv("DCDR_MODEL", raising=False)
    files._digest_at_rest.cache_clear()
    with open_runner() as runner:
        assert runner.engine.info.backend == "tensorrt-rtx"
    files._digest_at_rest.cache_clear()
    assert [path.name for path in read] == [engine_file.name]


def test_an_engine_with_wrong_results_is_refused_and_stays_unverified(
    machine: Machine, unverified: Path, tmp_path: Path
):
    wrong = write_engine(
        tmp_path / "wrong.engine",
        engine_bytes(0.6, SMALLEST, LARGEST),
        verified=False,
        onnx_sha256=read_sidecar(unverified).onnx_sha256,
        plugin=None,
    )
    with pytest.raises(ModelError, match=r"does not give on this GPU .*PSNR 2\d\.\d dB, 80 needed.*run model.onnx"):
        first_run(wrong)
    assert not read_sidecar(wrong).verified
    assert (machine.driver.used, machine.driver.live_handles) == (0, 0)


def test_without_the_onnx_file_a_warning_says_so_and_the_engine_runs(
    unverified: Path, caplog: pytest.LogCaptureFixture
):
    (unverified.parent / "model.onnx").unlink()
    with open_runner(unverified) as runner:
        assert runner.engine.infer_codes(codes()).shape == (3, 3, 16, 32)
    assert "the ONNX file it was built from is not beside it" in caplog.text
    assert not read_sidecar(unverified).verified


def test_where_no_backend_can_compare_a_warning_says_so_and_the_engine_runs(
    unverified: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*arguments: object) -> None:
        raise MissingDependency("it cannot be imported")

    for backend in ("onnxruntime", "openvino"):
        monkeypatch.setattr(f"dcdr_deploy.engines.{backend}.load", broken)
    first_run(unverified)
    assert "could not be compared with ONNX Runtime: it cannot be imported" in caplog.text
    assert not read_sidecar(unverified).verified


def test_a_sidecar_that_cannot_be_written_is_no_reason_to_stop(
    unverified: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def read_only(*arguments: object) -> None:
        raise OutputError("m.engine.json: cannot be written")

    monkeypatch.setattr("dcdr_deploy.run.gate.mark_verified", read_only)
    first_run(unverified)
    assert "agrees with ONNX Runtime, but that cannot be noted" in caplog.text


def test_an_engine_that_fails_in_the_comparison_is_an_error(machine: Machine, unverified: Path):
    machine.apis["tensorrt-rtx"].most_contexts = 0
    with pytest.raises(DcdrError, match="no execution context"):
        first_run(unverified)
    assert (machine.driver.used, machine.driver.live_handles) == (0, 0)


def test_the_fake_package_has_nothing_that_the_real_one_lacks():
    """Guards against the fake: what the backend calls exists under these names in TensorRT-RTX."""
    real = pytest.importorskip("tensorrt_rtx")
    assert real.ExecutionContextAllocationStrategy.USER_MANAGED
    assert real.DynamicShapesKernelSpecializationStrategy.EAGER
    assert real.TensorIOMode.INPUT
    assert real.DataType.FLOAT
    for fake, name in ((FakeEngine, "ICudaEngine"), (FakeContext, "IExecutionContext")):
        public = {each for each in vars(fake) if not each.startswith("_")}
        assert [each for each in public if not hasattr(getattr(real, name), each)] == []
    assert hasattr(real.ICudaEngine, "device_memory_size_v2")
    assert hasattr(real.IExecutionContext, "is_stream_capturable")
    for name in ("set_execution_context_allocation_strategy", "dynamic_shapes_kernel_specialization_strategy"):
        assert hasattr(real.IRuntimeConfig, name)


@pytest.mark.gpu
@pytest.mark.skipif(hardware.cuda_device_count() == 0, reason="no NVIDIA GPU")
@pytest.mark.parametrize("plugin", [True, False], ids=["plugin", "no plugin"])
def test_a_real_engine_agrees_with_onnx_runtime(tmp_path: Path, plugin: bool):
    from dcdr_deploy.building.build import build_engine
    from dcdr_deploy.building.request import BuildRequest
    from dcdr_deploy.run.selection import DEMO_MODEL

    built = trt_api.versions()
    if not built:
        pytest.skip("neither tensorrt nor tensorrt-rtx is installed")
    name = next(iter(built))
    known, present = trt_api.builder_sms(trt_api.load_api(name)), hardware.compute_capabilities()[0]
    if known and present not in known:
        pytest.skip(f"{name} does not build for SM{present}")
    request = BuildRequest(package=name, fp16=True, plugin=plugin, tile=(64, 96), max_batch=2)
    report = build_engine(DEMO_MODEL, tmp_path, request)
    assert report.sidecar.verified
    batch = codes(5, 64, 96)
    with (
        load_engine(report.engine) as engine,
        load_engine(DEMO_MODEL, "onnxruntime", EngineOptions("cpu")) as reference,
    ):
        for _ in range(3):
            assert np.mean((engine.infer_codes(batch) - reference.infer_codes(batch)) ** 2) < 1e-5
