"""The registry: a backend is one module and one line, and the choice among them follows the ranks."""

from __future__ import annotations

import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcdr_deploy.engines import Availability, Engine, EngineInfo, EngineOptions, ModelMetadata, choice, registry
from dcdr_deploy.engines.choice import choose_backend, load_engine
from dcdr_deploy.engines.registry import Backend
from dcdr_deploy.errors import EngineError, EngineOutOfMemory, MissingDependency, ModelError
from dcdr_deploy.system.faults import engine_error


class FakeEngine(Engine):
    def __init__(self, name: str, path: Path) -> None:
        self.info = EngineInfo(name, "nowhere", "fp32", path, ModelMetadata())

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        return batch


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Availability]:
    """Two fake backends for .fake files; tests set their state before the choice is made."""
    states = {"slow": Availability(True, devices=("cuda:0", "cpu")), "quick": Availability(True, devices=("cpu",))}
    backends = {}
    for name, ranks in (("slow", {"cuda": 50, "cpu": 50}), ("quick", {"cpu": 10})):
        module = types.ModuleType(f"fake_{name}")
        module.availability = lambda *, deep=False, name=name: states[name]
        module.load = lambda path, options, name=name: FakeEngine(name, path)
        module.refusal = lambda path, options: ""
        monkeypatch.setitem(sys.modules, module.__name__, module)
        backends[name] = Backend(name, module.__name__, "a test", (".fake",), ranks)
    for module in (registry, choice):
        monkeypatch.setattr(module, "BACKENDS", backends)
    return states


MODEL = Path("net.fake")
MISSING = Availability(False, "quick is not installed", install="pip install quick")


def chosen(name: str = "auto", device: str = "auto") -> str:
    return choose_backend(MODEL, name, EngineOptions(device=device)).backend.name


def test_a_gpu_comes_before_a_faster_cpu_backend(fakes: dict[str, Availability]):
    assert chosen() == "slow"


def test_on_a_cpu_the_lowest_rank_is_taken(fakes: dict[str, Availability]):
    assert chosen(device="cpu") == "quick"
    fakes["slow"] = Availability(True, devices=("cpu",))
    assert chosen() == "quick"


def test_a_backend_that_is_not_there_is_passed_over(fakes: dict[str, Availability]):
    fakes["slow"], fakes["quick"] = Availability(True, devices=("cpu",)), MISSING
    assert chosen() == "slow"


def test_a_backend_that_refuses_this_very_file_is_passed_over(fakes: dict[str, Availability]):
    sys.modules["fake_quick"].refusal = lambda path, options: "" if path == MODEL else f"{path} is another's"
    assert chosen(device="cpu") == "quick"
    other = choose_backend(Path("other.fake"), options=EngineOptions(device="cpu"))
    assert other.backend.name == "slow"
    fakes["slow"] = Availability(False, "driver too old")
    with pytest.raises(EngineError, match=r"slow: driver too old; quick: other\.fake is another's"):
        choose_backend(Path("other.fake"))


def test_the_refusal_of_a_backend_that_is_not_installed_hides_its_install_line(fakes: dict[str, Availability]):
    sys.modules["fake_quick"].refusal = lambda path, options: "another's"
    fakes["slow"], fakes["quick"] = Availability(False, "driver too old"), MISSING
    with pytest.raises(EngineError, match=r"quick: another's") as caught:
        chosen()
    assert "pip install" not in str(caught.value)


def test_a_device_that_no_taker_of_the_suffix_knows_is_named(fakes: dict[str, Availability]):
    del registry.BACKENDS["slow"]
    with pytest.raises(EngineError, match=r"no backend runs \.fake models on cuda"):
        chosen(device="cuda")


def test_a_name_is_obeyed(fakes: dict[str, Availability]):
    assert chosen("quick") == "quick"


def test_a_backend_asked_for_but_missing_gives_reason_and_install_line(fakes: dict[str, Availability]):
    fakes["quick"] = MISSING
    with pytest.raises(MissingDependency, match=r"quick is not installed; install: pip install quick"):
        chosen("quick")


def test_a_device_that_a_backend_lacks_is_an_engine_error(fakes: dict[str, Availability]):
    with pytest.raises(EngineError, match="quick cannot be used here: it has no cuda device"):
        chosen("quick", "cuda")


@pytest.mark.parametrize(
    ("name", "device", "remedy"),
    [
        ("auto", "cuda", "leave `device` out to take the best that works here"),
        ("slow", "auto", "leave `backend` out to take the best that works here"),
        ("slow", "cuda", "leave `device` and `backend` out to take the best that works here"),
    ],
)
def test_what_was_asked_for_and_cannot_be_had_says_what_to_leave_out(fakes, name, device, remedy):
    fakes["slow"] = Availability(False, "no NVIDIA GPU or driver found")
    with pytest.raises(EngineError, match=f"no NVIDIA GPU or driver found.*; {remedy}$"):
        chosen(name, device)


def test_no_usable_backend_lists_the_reasons_of_those_that_could(fakes: dict[str, Availability]):
    fakes["slow"], fakes["quick"] = Availability(False, "driver too old"), MISSING
    with pytest.raises(MissingDependency, match=r"slow: driver too old; quick: quick is not"):
        chosen()
    with pytest.raises(EngineError, match="slow: driver too old") as caught:
        chosen(device="cuda")
    assert "quick" not in str(caught.value)  # it could not have helped


def test_an_unknown_name_lists_the_known(fakes: dict[str, Availability]):
    with pytest.raises(EngineError, match="auto, slow, quick"):
        chosen("directml")


def test_a_suffix_that_no_backend_takes_lists_the_known(fakes: dict[str, Availability]):
    with pytest.raises(ModelError, match=r"models end in \.fake"):
        choose_backend(Path("net.h5"))
    with pytest.raises(ModelError, match=r"slow takes \.fake, not \.h5"):
        choose_backend(Path("net.h5"), "slow")


def test_a_backend_that_cannot_be_imported_stays_listed(
    monkeypatch: pytest.MonkeyPatch, fakes: dict[str, Availability]
):
    registry.BACKENDS["broken"] = Backend("broken", "dcdr_deploy.engines.no_such_module", "-", (".fake",), {"cpu": 1})
    state = registry.availabilities()["broken"]
    assert not state.ok
    assert "no_such_module" in state.reason
    assert chosen(device="cpu") == "quick"


def test_load_engine_loads_from_the_chosen_module(fakes: dict[str, Availability], tmp_path: Path):
    path = tmp_path / "Net.FAKE"
    path.touch()
    assert load_engine(str(path), options=EngineOptions(device="cpu")).info.backend == "quick"
    with pytest.raises(ModelError, match="does not exist"):
        load_engine(tmp_path / "none.fake")
    with pytest.raises(ModelError, match="no file"):
        load_engine(tmp_path)


def test_a_backend_that_cannot_load_the_model_gives_way_and_says_why(
    fakes: dict[str, Availability], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    def refuse(path: Path, options: EngineOptions) -> Engine:
        raise EngineError("the driver is too old")

    path = tmp_path / "net.fake"
    path.touch()
    sys.modules["fake_slow"].load = refuse
    assert load_engine(path).info.backend == "quick"
    assert "quick is used instead of slow: the driver is too old" in caplog.text
    with pytest.raises(EngineError, match=r"^the driver is too old$"):
        load_engine(path, "slow")
    with pytest.raises(EngineError, match=r"^the driver is too old$"):
        load_engine(path, options=EngineOptions(device="cuda"))


def test_what_a_usable_backend_has_against_the_file_is_said(
    fakes: dict[str, Availability], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "net.fake"
    path.touch()
    sys.modules["fake_slow"].refusal = lambda path, options: f"it has no {options.precision}"
    registry.BACKENDS["slow"] = replace(registry.BACKENDS["slow"], suffixes=(".fake", ".other"))
    assert load_engine(path, options=EngineOptions(precision="fp32")).info.backend == "quick"
    assert "quick is used instead of slow: it has no fp32" in caplog.text


NO_KERNELS = Availability(False, "nvrtc not installed", install="pip install nvrtc")


@pytest.mark.parametrize(
    ("state", "gpus", "device", "told"),
    [
        (NO_KERNELS, 1, "auto", "instead of slow: nvrtc not installed; install: pip install nvrtc"),
        (Availability(False, "driver too old"), 1, "auto", "instead of slow: driver too old"),
        (NO_KERNELS, 0, "auto", ""),
        (Availability(False, "no NVIDIA GPU or driver found"), 0, "auto", ""),
        (NO_KERNELS, 1, "cpu", ""),
    ],
)
def test_who_has_a_gpu_is_told_what_it_lacks_and_nobody_else(
    fakes, tmp_path, caplog, monkeypatch, state, gpus, device, told
):
    monkeypatch.setattr("dcdr_deploy.system.hardware.cuda_device_count", lambda: gpus)
    path = tmp_path / "net.fake"
    path.touch()
    fakes["slow"] = state
    registry.BACKENDS["slow"] = replace(registry.BACKENDS["slow"], ranks={"cuda": 5}, suffixes=(".fake", ".other"))
    assert load_engine(path, options=EngineOptions(device=device)).info.backend == "quick"
    assert caplog.text.count("instead") == bool(told)
    assert told in caplog.text
    caplog.clear()
    assert load_engine(path, "quick").info.backend == "quick"
    assert not caplog.text  # it was asked for


def test_who_uses_a_gpu_is_told_of_a_faster_way_to_only_if_it_can_be_installed(fakes, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("dcdr_deploy.system.hardware.cuda_device_count", lambda: 1)
    path = tmp_path / "net.fake"
    path.touch()
    fakes["quick"] = Availability(True, devices=("cuda:0",))
    registry.BACKENDS["slow"] = replace(registry.BACKENDS["slow"], ranks={"cuda": 5}, suffixes=(".fake", ".other"))
    registry.BACKENDS["quick"] = replace(registry.BACKENDS["quick"], ranks={"cuda": 10})
    for state, told in ((NO_KERNELS, True), (Availability(False, "the GPU is too old"), False)):
        fakes["slow"] = state
        caplog.clear()
        assert load_engine(path).info.backend == "quick"
        assert ("install: pip install nvrtc" in caplog.text) == ("instead" in caplog.text) == told


def test_the_packages_of_the_kernels_are_named_where_the_base_installation_meets_a_gpu(tiny_model, caplog, monkeypatch):
    monkeypatch.setattr("dcdr_deploy.system.hardware.cuda_device_count", lambda: 1)
    monkeypatch.setattr("dcdr_deploy.engines.cuda.engine.packages.versions", lambda distributions: {})
    monkeypatch.setattr("dcdr_deploy.engines.cuda.engine.refusal", lambda path, options: "")
    with load_engine(tiny_model) as engine:
        assert f"{engine.info.backend} is used instead of cuda: cuda-bindings and" in caplog.text
    assert "install: pip install" in caplog.text


def test_a_damaged_model_is_an_error_of_the_first_backend_that_sees_it(fakes: dict[str, Availability], tmp_path: Path):
    def refuse(path: Path, options: EngineOptions) -> Engine:
        raise ModelError("cut short")

    path = tmp_path / "net.fake"
    path.touch()
    sys.modules["fake_slow"].load = refuse
    with pytest.raises(ModelError, match="cut short"):
        load_engine(path)


def test_real_backends_are_listed_and_answer():
    states = registry.availabilities()
    assert list(states) == registry.backend_names()
    assert {"onnxruntime", "cuda", "openvino", "tensorrt", "tensorrt-rtx", "torch"} <= set(states)
    assert all(state.devices if state.ok else state.reason for state in states.values())


@pytest.mark.parametrize(
    "words",
    [
        "std::bad_alloc",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 99",
        "CUDA out of memory. Tried to allocate 2 GiB",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_words_for_lack_of_memory_are_known(words: str):
    assert isinstance(engine_error("x", RuntimeError(words)), EngineOutOfMemory)


def test_other_failures_stay_plain_and_on_one_line():
    error = engine_error("x", RuntimeError("Non-zero status\n  while running " + "y" * 999))
    assert type(error) is EngineError
    assert "\n" not in str(error)
    assert len(str(error)) < 400


def test_importing_the_package_loads_no_backend():
    heavy = ["onnxruntime", "openvino", "onnx", "torch", "tensorrt", "tensorrt_rtx", "cuda.bindings", "cv2"]
    rooms = ("engines", "run.tiling", "run.runner", "run.gate", "inspection.machine", "modelfile.onnx_file")
    backends = ("onnxruntime", "openvino", "torch.engine", "tensorrt.engine", "cuda.engine")
    modules = [f"dcdr_deploy.{name}" for name in (*rooms, *(f"engines.{each}" for each in backends))]
    script = f"import sys, {', '.join(modules)}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
