"""An architecture is one entry of the registry: loading, export, inspection, training and `run` take it from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from torch import Tensor, nn

from dcdr_deploy.cli import main
from dcdr_deploy.errors import CheckpointError, InputError
from dcdr_deploy.export.checkpoint import ExportOptions, export_checkpoint
from dcdr_deploy.modelfile.onnx_file import read_model
from dcdr_deploy.models import (
    ARCHITECTURES,
    Architecture,
    HdrNetwork,
    NetworkConfig,
    architecture_of,
    find_preset,
    load_checkpoint,
    preset_names,
)
from dcdr_deploy.models.encodings import Encoding, Normalisation
from dcdr_deploy.models.shapes import Shapes


@dataclass(frozen=True)
class GainConfig(NetworkConfig):
    """Configuration of :class:`Gain`."""

    width: int = 4


class Gain(HdrNetwork):
    """A network of two convolutions that has none of the optional parts."""

    def __init__(self, config: GainConfig) -> None:
        super().__init__()
        self.config = config
        self.widen = nn.Conv2d(3, config.width, 3, 1, 1)
        self.narrow = nn.Conv2d(config.width, 3, 1)

    def layers(self, image: Tensor) -> Tensor:
        return self.narrow(torch.relu(self.widen(image)))

    def receptive_field(self) -> int:
        return 1


GAIN = Architecture(
    name="gain",
    title="GainNet",
    config=GainConfig,
    network=Gain,
    deduce=lambda shapes: GainConfig(shapes.width("widen.weight")),
    presets={"gain": GainConfig(), "gain-wide": GainConfig(9)},
    size_multiple=2,
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, GAIN.name, GAIN)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(Gain(GainConfig(5)).state_dict(), tmp_path / "gain.pth")
    return tmp_path / "gain.pth"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_its_presets_are_known_by_name() -> None:
    assert preset_names()[-2:] == ["gain", "gain-wide"]
    assert find_preset("gain-wide") == GainConfig(9)
    with pytest.raises(InputError, match=r"unknown preset 'huge'; known: paper, lite, hdrunet.*, gain, gain-wide"):
        find_preset("huge")


def test_preset_names_are_unique_and_fit_their_architecture() -> None:
    assert len(set(preset_names())) == len(preset_names())
    for entry in ARCHITECTURES.values():
        for config in entry.presets.values():
            assert architecture_of(config) is entry


def test_its_checkpoints_are_recognised(checkpoint: Path) -> None:
    network = load_checkpoint(checkpoint).network
    assert isinstance(network, Gain)
    assert network.config == GainConfig(5)


def test_a_checkpoint_of_no_architecture_names_all_of_them(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"of no known network \(DCDR-UNet, .*GainNet\): .* with fc\.weight"):
        load_checkpoint(tmp_path / "m.pth")


def test_it_exports_runs_and_is_described_by_the_commands(checkpoint: Path, tmp_path: Path) -> None:
    done = call("export", checkpoint, "--json")
    assert done.exit_code == 0, done.output
    metadata = read_model(checkpoint.with_suffix(".onnx")).metadata
    assert (metadata.size_multiple, metadata.overlap, metadata.extra["network"]) == (2, 2, "gain")
    assert GainConfig.from_json(metadata.extra["architecture"]) == GainConfig(5)
    described = json.loads(call("inspect", checkpoint, "--json").stdout)
    assert (described["network"], described["architecture"]) == ("GainNet", {"width": 5})
    cv2.imwrite(str(tmp_path / "in.png"), np.full((10, 14, 3), 90, np.uint8))
    for model in (checkpoint, checkpoint.with_suffix(".onnx")):
        done = call("run", tmp_path / "in.png", tmp_path / f"{model.suffix[1:]}.exr", "--model", model)
        assert done.exit_code == 0, done.output


class BGRGain(Gain):
    """Takes blue first, in [-1, 1]."""

    normalisation = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), bgr=True)


@dataclass(frozen=True)
class CodedConfig(GainConfig):
    """A configuration of its own, so that the registry tells the two apart."""


def coded_architecture(output: str) -> Architecture:
    return Architecture(
        name="coded",
        title="CodedNet",
        config=CodedConfig,
        network=BGRGain,
        deduce=lambda shapes: CodedConfig(shapes.width("widen.weight")),
        presets={"coded": CodedConfig()},
        size_multiple=2,
        unseen={"output": output},
    )


def pq_bt2020_by_hand(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The EOTF of SMPTE ST 2084 with its own constants, and the inverse of the matrix of ITU-R BT.2087-0, clause 2."""
    power = np.clip(y, 0, 1) ** (1 / 78.84375)
    candelas = 10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    result: NDArray[np.float64] = np.einsum("ij,njhw->nihw", np.linalg.inv(to_2020), candelas / 203)
    return result


BY_HAND: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "log:0.01": lambda y: np.exp(y) - 0.01,
    "gamma:1.8": lambda y: np.maximum(y, 0) ** 1.8,
    "pq-bt2020": pq_bt2020_by_hand,
}
"""Light that the output stands for, in units of SDR white."""


@pytest.mark.parametrize("output", BY_HAND)
def test_another_encoding_is_data_alone(output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "coded", coded_architecture(output))
    monkeypatch.delitem(ARCHITECTURES, GAIN.name)
    torch.manual_seed(1)
    network = BGRGain(CodedConfig(5))
    with torch.no_grad():
        network.narrow.bias.fill_(0.4)
        torch.save(network.state_dict(), tmp_path / "coded.pth")
    precisions = {"coded.onnx": [], "coded.fp16.onnx": ["--fp16"]} if output.startswith("pq") else {"coded.onnx": []}
    for switches in precisions.values():
        done = call("export", tmp_path / "coded.pth", *switches)
        assert done.exit_code == 0, done.output
        assert f"taken as {output}" in done.stdout
    codes = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "in.png"), codes[..., ::-1])
    with torch.no_grad():
        bgr = torch.from_numpy(codes[..., ::-1].transpose(2, 0, 1)[None] / 127.5 - 1).float()
        coded = network.narrow(torch.relu(network.widen(bgr))).double().numpy()
    expected = np.maximum(BY_HAND[output](coded)[0].transpose(1, 2, 0), 0)
    assert expected.std() > 0.01
    for model in ("coded.pth", *precisions):
        tolerance = 2e-2 if "fp16" in model else 2e-3
        result = tmp_path / f"{model}.exr"
        done = call("run", tmp_path / "in.png", result, "--model", tmp_path / model, "--scale", "native", "--json")
        assert done.exit_code == 0, done.output
        report = json.loads(done.stdout)
        absolute = output.startswith("pq")
        assert report["light"] == ("absolute" if absolute else "relative")
        assert any("203 cd/m2" in note for note in report["notes"]) == absolute
        written = OpenEXR.File(str(result)).channels()["RGB"].pixels
        assert np.abs(written - expected).max() <= tolerance * max(1, expected.max())
    described = json.loads(call("inspect", tmp_path / "coded.pth", "--json").stdout)
    assert described["output"] == Encoding.parse(output).words


def test_absolute_light_takes_no_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "coded", coded_architecture("pq-bt2020"))
    monkeypatch.delitem(ARCHITECTURES, GAIN.name)
    torch.save(BGRGain(CodedConfig(5)).state_dict(), tmp_path / "coded.pth")
    done = call("export", tmp_path / "coded.pth", "--peak", "4")
    assert done.exit_code == 2
    assert "says its peak itself: leave --peak out" in done.stderr
    assert load_checkpoint(tmp_path / "coded.pth").metadata.peak == pytest.approx(10_000 / 203)


def test_it_trains_in_its_own_encoding_by_the_loss_of_its_publication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = CodedConfig(4, output="pq-bt2020:8")
    entry = replace(coded_architecture("pq-bt2020"), losses={"coded_mse": 1.0}, presets={"coded": preset})
    monkeypatch.setitem(ARCHITECTURES, "coded", entry)
    monkeypatch.delitem(ARCHITECTURES, GAIN.name)
    rng = np.random.default_rng(0)
    for folder, kind in (("sdr", np.uint8), ("hdr", np.uint16)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.png"), rng.integers(0, np.iinfo(kind).max, (32, 32, 3)).astype(kind))
    run = ["train", "--preset", "coded", "--ldr", tmp_path / "sdr", "--hdr", tmp_path / "hdr", "-o", tmp_path / "run"]
    run += ["--patch", "16", "--batch", "1", "--steps", "3", "--device", "cpu"]
    refused = call(*run, "--peak", "4")
    assert refused.exit_code == 2
    assert "preset coded gives light with a peak of 8" in refused.stderr
    done = call(*run)
    assert done.exit_code == 0, done.output
    loaded = load_checkpoint(tmp_path / "run" / "last.pth")
    assert loaded.network.config == preset
    assert loaded.metadata.peak == 8.0
    assert json.loads(loaded.metadata.extra["training"])["losses"] == {"coded_mse": 1.0}


def test_its_size_multiple_holds_for_static_exports(checkpoint: Path, tmp_path: Path) -> None:
    options = ExportOptions(static=(6, 10))
    assert export_checkpoint(checkpoint, tmp_path / "m.onnx", options).metadata.size_multiple == 2
    with pytest.raises(InputError, match="multiples of 2"):
        export_checkpoint(checkpoint, tmp_path / "n.onnx", ExportOptions(static=(6, 9)))


def test_an_option_for_other_architectures_is_refused(checkpoint: Path) -> None:
    with pytest.raises(InputError, match=r"\(GainNet\) gives linear light"):
        export_checkpoint(checkpoint, options=ExportOptions(output_encoding="gamma:2.2"))


def test_it_trains_and_goes_on_through_the_command(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder, kind in (("sdr", np.uint8), ("hdr", np.uint16)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.png"), rng.integers(0, np.iinfo(kind).max, (32, 32, 3)).astype(kind))
    run = ("train", "--preset", "gain", "--ldr", tmp_path / "sdr", "--hdr", tmp_path / "hdr", "-o", tmp_path / "run")
    run += (
        "--recipe",
        "demo",
        "--patch",
        "16",
        "--batch",
        "1",
        "--steps",
        "4",
        "--device",
        "cpu",
        "--perceptual",
        "none",
    )
    first = call(*run, "--minutes", "0.0001")
    assert first.exit_code == 0, first.output
    second = call(*run, "--resume")
    assert second.exit_code == 0, second.output
    loaded = load_checkpoint(tmp_path / "run" / "last.pth")
    assert isinstance(loaded.network, Gain)
    assert loaded.metadata.name == "GainNet gain"
    assert loaded.metadata.peak == 8.0


def test_shapes_count_by_the_largest_number() -> None:
    shapes = Shapes({"a.0.w": torch.zeros(3), "a.11.w": torch.zeros(1), "ab.20.w": torch.zeros(1)}, Path("m"), "Net")
    assert (shapes.count("a"), shapes.count("b"), shapes.width("a.0.w")) == (12, 0, 3)
