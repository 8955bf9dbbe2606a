"""``precision``: a checkpoint runs in either where the GPU can, a model file has its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dcdr_deploy.engines import EngineOptions, load_engine
from dcdr_deploy.engines.base import EngineInfo
from dcdr_deploy.errors import EngineError
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.modelfile.onnx_file import read_model
from dcdr_deploy.run.manifest import settings_key
from dcdr_deploy.system import hardware

NO_GPU = hardware.cuda_device_count() == 0


def options(precision: str, device: str = "cpu") -> EngineOptions:
    return EngineOptions(device=device, threads=1, precision=precision)


def picture() -> np.ndarray:
    return np.random.default_rng(3).random((1, 3, 24, 32), dtype=np.float32)


def test_a_precision_that_is_not_known_is_refused():
    with pytest.raises(EngineError, match="precision 'int8' is not known; use one of: auto, fp32, fp16"):
        EngineOptions(precision="int8")


# Files


@pytest.mark.parametrize(("half", "precision"), [(False, "fp32"), (True, "fp16")])
def test_a_file_has_the_precision_of_its_weights(make_model: Callable[..., Path], half: bool, precision: str):
    assert read_model(make_model(half=half)).precision == precision


def test_the_demo_weights_are_fp32():
    from dcdr_deploy.run.selection import DEMO_MODEL

    assert read_model(DEMO_MODEL).precision == "fp32"


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("half", "wanted", "words"),
    [
        (False, "fp16", "is fp32, not fp16 as asked for; export the checkpoint with --fp16"),
        (True, "fp32", "is fp16, not fp32 as asked for; export the checkpoint without --fp16"),
    ],
)
def test_another_precision_than_the_files_is_refused_with_the_way_out(
    make_model: Callable[..., Path], backend: str, half: bool, wanted: str, words: str
):
    pytest.importorskip(backend)
    path = make_model(half=half)
    with pytest.raises(EngineError, match=words) as caught:
        load_engine(path, backend, options(wanted))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("half", "precision"), [(False, "fp32"), (True, "fp16")])
def test_the_files_own_precision_may_be_asked_for(make_model: Callable[..., Path], half: bool, precision: str):
    for wanted in ("auto", precision):
        with load_engine(make_model(half=half), "onnxruntime", options(wanted)) as engine:
            assert engine.info.precision == precision


# Checkpoints


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from fused_fake import demo_network

    from dcdr_deploy.models import save_safetensors

    path = tmp_path_factory.mktemp("checkpoint") / "net.safetensors"
    save_safetensors(demo_network(), path, ModelMetadata(name="net"))
    return path


def test_fp16_on_a_processor_is_refused(checkpoint: Path):
    with pytest.raises(EngineError, match=r"net\.safetensors in fp16: it takes an NVIDIA GPU; use `precision` fp32"):
        load_engine(checkpoint, "torch", options("fp16"))


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_a_processor_computes_in_fp32(checkpoint: Path, precision: str):
    with load_engine(checkpoint, "torch", options(precision)) as engine:
        assert engine.info.precision == "fp32"


class TestChoiceOnAGpu:
    """The choice itself needs none."""

    @pytest.fixture(autouse=True)
    def fused(self, monkeypatch: pytest.MonkeyPatch):
        pytest.importorskip("torch")
        from dcdr_deploy.engines.torch import fused

        monkeypatch.setattr(fused, "prepare", lambda device: None)
        return fused

    def choose(self, precision: str, **config: object) -> str:
        from dcdr_deploy.engines.torch.engine import choose_precision
        from dcdr_deploy.models import DCDRUNet, DCDRUNetConfig

        network = DCDRUNet(DCDRUNetConfig(blocks=(1, 0, 0), **config))
        return choose_precision(network, Path("net.pth"), "cuda", options(precision, "cuda"))

    def test_fp16_is_taken_unless_fp32_is_asked_for(self):
        assert [self.choose(wanted) for wanted in ("auto", "fp16", "fp32")] == ["fp16", "fp16", "fp32"]

    def test_a_network_that_the_kernel_does_not_fit_runs_in_fp32_and_says_so(self, caplog):
        with caplog.at_level(logging.WARNING):
            assert self.choose("auto", width=32) == "fp32"
        assert "running in fp32: the fused kernel is made for 64 channels" in caplog.text
        with pytest.raises(EngineError, match=r"net\.pth in fp16: the fused kernel is made for 64 channels"):
            self.choose("fp16", width=32)

    def test_a_kernel_that_cannot_be_compiled_leaves_fp32(self, fused, monkeypatch: pytest.MonkeyPatch, caplog):
        def fail(device: int) -> None:
            raise EngineError("no kernel for SM70")

        monkeypatch.setattr(fused, "prepare", fail)
        with caplog.at_level(logging.WARNING):
            assert self.choose("auto") == "fp32"
        assert "no kernel for SM70" in caplog.text
        with pytest.raises(EngineError, match="no kernel for SM70"):
            self.choose("fp16")
        assert self.choose("fp32") == "fp32"


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU, reason="no NVIDIA GPU")
def test_half_precision_on_the_gpu_is_the_reference_within_its_rounding(checkpoint: Path):
    with (
        load_engine(checkpoint, "torch", options("fp32", "cuda")) as reference,
        load_engine(checkpoint, "torch", options("fp16", "cuda")) as engine,
    ):
        expected = reference.infer(picture())
        for _ in range(3):  # as it is, recorded, replayed
            result = engine.infer(picture())
            error = np.mean((result - expected) ** 2)
            assert -10 * np.log10(error / np.abs(expected).max() ** 2) > 50


# Folder runs


def test_a_folder_is_converted_again_in_another_precision():
    keys = {
        settings_key(EngineInfo("torch", "GPU", precision, None, ModelMetadata()), tile=512)
        for precision in ("fp32", "fp16")
    }
    assert len(keys) == 2
