"""From wishes to a runner: an engine file that was found by itself gives way where it does not load."""

from __future__ import annotations

from pathlib import Path

import pytest
from ear import Ear

from dcdr_deploy.engines.base import EngineOptions
from dcdr_deploy.engines.choice import load_engine, model_suffixes
from dcdr_deploy.engines.registry import AUTO
from dcdr_deploy.errors import DcdrError, EngineError, ModelError
from dcdr_deploy.run import opening
from dcdr_deploy.run.events import ModelChosen
from dcdr_deploy.run.opening import RunnerSettings, open_runner
from dcdr_deploy.run.selection import ModelChoice


@pytest.fixture
def unlucky(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    """A working directory with an engine that passes its check and does not load, and an ONNX file that does."""

    def choose(requested: object, *, suffixes: frozenset[str], device_index: int) -> ModelChoice:
        if requested is not None:
            return ModelChoice(Path(str(requested)), "as asked for")
        if ".engine" in suffixes:
            return ModelChoice(Path("m.engine"), "found", (), True)
        return ModelChoice(tiny_model, "found")

    def load(path: Path, backend: str, options: EngineOptions):
        if path.suffix == ".engine":
            raise EngineError("the driver is too old")
        return load_engine(path, backend, options)

    monkeypatch.setattr(opening, "choose_model", choose)
    monkeypatch.setattr(opening, "load_engine", load)


def test_an_engine_that_was_found_gives_way_with_a_note(unlucky):
    ear = Ear()
    with open_runner(listener=ear) as runner:
        assert runner.engine.info.model is not None
    assert ear.notes == ["m.engine is not used: the driver is too old"]
    assert [event.choice.path.name for event in ear.of(ModelChosen)] == ["m.engine", "gain.onnx"]


@pytest.mark.parametrize(("model", "backend"), [("m.engine", AUTO), (None, "tensorrt-rtx")])
def test_an_engine_that_was_asked_for_does_not(unlucky, model, backend):
    with pytest.raises(EngineError, match="too old"), open_runner(model, RunnerSettings(backend=backend)):
        pytest.fail("something else ran")


def test_suffixes_follow_backend_and_device():
    assert {".engine", ".onnx", ".pth"} <= model_suffixes()
    assert ".engine" not in model_suffixes(options=EngineOptions("cpu"))
    assert ".onnx" in model_suffixes(options=EngineOptions("cpu"))
    assert model_suffixes("tensorrt-rtx") == {".engine"}
    assert model_suffixes("onnxruntime") == {".onnx"}
    with pytest.raises(DcdrError, match="not known"):
        model_suffixes("nonsense")
    with pytest.raises(DcdrError, match="tensorrt does not run on cpu; leave `device` and `backend` out"):
        model_suffixes("tensorrt", EngineOptions("cpu"))


def test_a_backend_for_engines_only_says_what_it_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DCDR_MODEL", raising=False)
    with pytest.raises(ModelError, match=r"\.engine"), open_runner(settings=RunnerSettings(backend="tensorrt-rtx")):
        pytest.fail("something ran")
