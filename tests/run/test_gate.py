"""The accuracy gate: passes what is right, refuses what is wrong, whatever the engine's sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcdr_deploy.engines import EngineOptions, load_engine
from dcdr_deploy.engines.base import Engine, EngineInfo
from dcdr_deploy.errors import ModelError
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.modelfile.sidecar import Sidecar
from dcdr_deploy.run.gate import GateResult, find_source, run_gate
from dcdr_deploy.run.selection import DEMO_MODEL, NAMED_MODELS
from dcdr_deploy.system.files import file_sha256


class Scaled(Engine):
    """Halves its input, with an error of a given size; remembers the shapes it was given."""

    def __init__(self, error: float = 0.0, precision: str = "fp16", **info: object) -> None:
        metadata = ModelMetadata(size_multiple=4, overlap=8)
        self.info = EngineInfo("fake", "nowhere", precision, None, metadata, **info)
        self.error = error
        self.shapes: list[tuple[int, ...]] = []

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        self.shapes.append(batch.shape)
        sign = np.where(np.arange(batch.shape[3]) % 2, 1, -1).astype(np.float32)
        return batch / 2 + np.float32(self.error) * sign


class Late(Scaled):
    """Right at first, wrong in the runs after that: as a graph that was recorded badly."""

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        again = len(self.shapes) > 0
        return super()._infer(batch) + np.float32(0.1 if again else 0)


@pytest.mark.parametrize(
    ("error", "precision", "psnr", "passed"),
    [
        (0.0, "fp32", 100.0, True),
        (10**-2.6, "fp16", 52.0, True),
        (10**-2.4, "fp16", 48.0, False),
        (10**-2.6, "fp32", 52.0, False),
        (10**-4.1, "fp32", 82.0, True),
    ],
)
def test_the_precision_decides_how_much_may_differ(
    tiny_model: Path, error: float, precision: str, psnr: float, passed: bool
):
    result = run_gate(Scaled(error, precision), tiny_model)
    assert (result.finite, result.passed) == (True, passed)
    assert result.psnr == pytest.approx(psnr, abs=0.1) or (error == 0 and result.psnr > psnr)


@pytest.mark.parametrize("name", NAMED_MODELS)
def test_an_engine_of_a_model_of_the_package_has_it_to_be_compared_with(tmp_path: Path, name: str):
    model, shape = NAMED_MODELS[name], (1, 64, 64)
    sidecar = Sidecar("tensorrt", "10.3", (86,), "fp16", shape, shape, shape, file_sha256(model), "", {})
    assert find_source(tmp_path / "net.engine", sidecar) == model
    assert find_source(tmp_path / "net.engine", replace(sidecar, onnx_sha256="0" * 64)) is None


def test_nan_never_passes(tiny_model: Path):
    result = run_gate(Scaled(float("nan")), tiny_model)
    assert (result.finite, result.passed) == (False, False)


@pytest.mark.parametrize("most", [None, 8])
def test_the_worst_tile_counts_and_a_shape_is_run_again(tiny_model: Path, most: int | None):
    engine = Late(group=most)
    result = run_gate(engine, tiny_model)
    assert engine.shapes == [(2, 3, 256, 256)] * 2
    assert not result.passed
    assert result.psnr == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(
    ("info", "size"),
    [
        ({"fixed_size": (64, 96)}, (64, 96)),
        ({"smallest_size": (64, 64), "largest_size": (4096, 4096)}, (256, 256)),
        ({"smallest_size": (512, 64), "largest_size": (512, 128)}, (512, 128)),
    ],
)
def test_tiles_have_a_size_that_the_engine_takes(tiny_model: Path, info: dict, size: tuple[int, int]):
    engine = Scaled(**info)
    assert run_gate(engine, tiny_model).passed
    assert engine.shapes == [(2, 3, *size)] * 2


def test_a_model_that_onnx_runtime_refuses_is_an_error(tmp_path: Path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError):
        run_gate(Scaled(), path)


def test_figures_are_numbers_that_json_can_hold():
    assert GateResult(61.2345, finite=True, passed=True).figures() == {"psnr": 61.23}


def test_the_demo_network_in_half_precision_passes_and_a_broken_one_does_not(tmp_path: Path):
    """The tiles are fit to tell: FP16 weights stay above the limit, weights that are a tenth too small fall below."""
    onnx = pytest.importorskip("onnx")
    from dcdr_deploy.export.fp16 import to_fp16

    if not DEMO_MODEL.is_file():
        pytest.skip("no demo weights")
    model = onnx.load(DEMO_MODEL)
    onnx.save(to_fp16(model), tmp_path / "half.onnx")
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4:
            weights = onnx.numpy_helper.to_array(tensor) * np.float32(0.9)
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights, tensor.name))
    onnx.save(model, tmp_path / "broken.onnx")
    results = {}
    for name in ("half", "broken"):
        with load_engine(tmp_path / f"{name}.onnx", "onnxruntime", EngineOptions("cpu")) as engine:
            engine.info = replace(engine.info, precision="fp16", fixed_size=(64, 64))  # small, to be quick
            results[name] = run_gate(engine, DEMO_MODEL)
    assert results["half"].passed
    assert not results["broken"].passed
