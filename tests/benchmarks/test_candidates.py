"""Blends are what pack_demo.py makes of the same files, and engines of them compute like engines of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from candidates import Candidate, blended, candidates

from dcdr_deploy.engines import load_engine
from dcdr_deploy.engines.base import EngineOptions
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.models import DCDRUNet, DCDRUNetConfig, initialise, save_safetensors

CPU = EngineOptions(device="cpu")
TINY = DCDRUNetConfig(width=8, condition_width=4, sft_hidden=2, tone_width=12, blocks=(1, 1, 1))


def checkpoint(path: Path, seed: int) -> Path:
    """A small network with weights of its own."""
    network = DCDRUNet(TINY)
    initialise(network, seed)
    save_safetensors(network, path, ModelMetadata(peak=8.0, name=path.stem))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """New weights and weights before them."""
    folder = tmp_path_factory.mktemp("weights")
    return checkpoint(folder / "new.safetensors", 1), checkpoint(folder / "old.safetensors", 2)


def test_every_file_is_named_once_and_every_blend_with_its_part(files: tuple[Path, Path]) -> None:
    new, old = files
    found = candidates([old, old], [new], old, [0.5, 1.0])
    folder = new.parent.name
    assert [each.name for each in found] == [f"{folder}/old", f"{folder}/new x 0.5", f"{folder}/new x 1"]


def test_a_blend_lies_between_its_files(files: tuple[Path, Path]) -> None:
    new, old = files
    states = [blended(new, old, part).network.state_dict() for part in (0.0, 0.5, 1.0)]
    assert any(not np.array_equal(states[0][name], states[2][name]) for name in states[0])
    for name, half in states[1].items():
        middle = (states[0][name] + states[2][name]) / 2
        np.testing.assert_allclose(half, middle, atol=2e-3 * float(middle.abs().max()) + 1e-6)
        np.testing.assert_array_equal(half, half.half().float())


def test_checkpoints_run_by_torch_like_blends_whatever_else_is_there(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("candidates.load_engine", lambda file, backend, options: asked.append((file.suffix, backend)))
    for file, backend in ((files[0], "auto"), (files[0], "cuda"), (Path("model.onnx"), "auto")):
        Candidate("x", file).engine(CPU, backend)
    assert asked == [(".safetensors", "torch"), (".safetensors", "cuda"), (".onnx", "auto")]


def test_all_of_the_new_weights_compute_what_their_file_computes(files: tuple[Path, Path]) -> None:
    new, old = files
    loaded = blended(new, old, 1.0)
    packed = new.with_name("packed.safetensors")
    save_safetensors(loaded.network, packed, loaded.metadata)
    codes = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    with Candidate("x", new, old, 1.0).engine(CPU) as blend, load_engine(packed, "torch", CPU) as file:
        assert blend.info.metadata.peak == file.info.metadata.peak
        np.testing.assert_allclose(blend.infer_codes(codes), file.infer_codes(codes), rtol=1e-5, atol=1e-6)
