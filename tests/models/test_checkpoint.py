"""Checkpoints are read in every usual form, described when they do not fit, and never executed."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dcdr_deploy.errors import CheckpointError
from dcdr_deploy.modelfile.metadata import ModelMetadata, encode
from dcdr_deploy.modelfile.names import DOMAIN
from dcdr_deploy.models import (
    DCDRUNet,
    DCDRUNetConfig,
    HDRUNet,
    HDRUNetConfig,
    initialise,
    load_checkpoint,
    save_safetensors,
)

SMALL = DCDRUNetConfig(width=8, condition_width=4, sft_hidden=3, tone_width=5, blocks=(1, 2, 1))


@pytest.fixture
def network() -> DCDRUNet:
    network = DCDRUNet(SMALL)
    initialise(network, 3)
    return network.eval()


def same_weights(a: DCDRUNet, b: DCDRUNet) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("wrapper", [None, "params_ema", "params", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
def test_wrappers_and_prefixes(network: DCDRUNet, tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "m.pth")
    loaded = load_checkpoint(tmp_path / "m.pth")
    assert same_weights(loaded.network, network)
    assert not loaded.has_metadata


def test_averaged_weights_are_preferred(network: DCDRUNet, tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in network.state_dict().items()}
    torch.save({"params": other, "params_ema": network.state_dict()}, tmp_path / "m.pth")
    assert same_weights(load_checkpoint(tmp_path / "m.pth").network, network)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"deformable": False},
        {"tone_net": False},
        {"condition_net": False},
        {"blocks": (2, 1, 3)},
        {"width": 12, "condition_width": 6, "sft_hidden": 1, "tone_width": 9},
        {"deformable": False, "tone_net": False, "condition_net": False},
    ],
)
def test_the_configuration_is_deduced_from_shapes(tmp_path: Path, changes: dict[str, object]) -> None:
    config = replace(SMALL, **changes)
    torch.save(DCDRUNet(config).state_dict(), tmp_path / "m.pth")
    deduced = load_checkpoint(tmp_path / "m.pth").network.config
    # Widths of parts that the network does not have are in no tensor.
    unseen = {} if config.tone_net else {"tone_width": deduced.tone_width}
    if not config.condition_net:
        unseen |= {"condition_width": deduced.condition_width, "sft_hidden": deduced.sft_hidden}
    assert deduced == replace(config, **unseen)


def test_safetensors_keep_weights_and_metadata(network: DCDRUNet, tmp_path: Path) -> None:
    metadata = ModelMetadata(peak=8.0, overlap=96, name="mine", extra={"training": "{}"})
    save_safetensors(network, tmp_path / "m.safetensors", metadata, torch.float32)
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert same_weights(loaded.network, network)
    assert loaded.metadata == metadata
    assert loaded.has_metadata


def test_half_precision_weights_load_as_float32(network: DCDRUNet, tmp_path: Path) -> None:
    torch.save({name: tensor.half() for name, tensor in network.state_dict().items()}, tmp_path / "m.pth")
    loaded = load_checkpoint(tmp_path / "m.pth").network
    assert loaded.restoration.first.weight.dtype == torch.float32
    assert torch.allclose(loaded.restoration.first.weight, network.restoration.first.weight, atol=1e-3)


class Attack:
    """Unpickling this would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_a_pickle_that_carries_code_is_refused_and_not_run(network: DCDRUNet, tmp_path: Path) -> None:
    torch.save({"params": network.state_dict(), "extra": Attack(tmp_path / "pwned")}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="refused"):
        load_checkpoint(tmp_path / "m.pth")
    assert not (tmp_path / "pwned").exists()


def test_a_whole_pickled_module_is_refused_with_advice(network: DCDRUNet, tmp_path: Path) -> None:
    torch.save(network, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"state_dict\(\)"):
        load_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize("name", ["m.pth", "m.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all" * 9])
def test_junk_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(tmp_path / name)


def test_a_truncated_file_is_refused(network: DCDRUNet, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "m.pth")
    data = (tmp_path / "m.pth").read_bytes()
    (tmp_path / "m.pth").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"m\.pth"):
        load_checkpoint(tmp_path / "m.pth")


def test_a_bare_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match=r"m\.pt"):
        load_checkpoint(tmp_path / "m.pt")


@pytest.mark.parametrize("path", ["missing.pth", "."])
def test_missing_files_and_folders_are_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(CheckpointError, match=r"no such checkpoint|is a folder"):
        load_checkpoint(tmp_path / path)


def test_another_architecture_is_described_by_its_keys(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(2)}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"is of no known network \(DCDR-UNet.*conv1\.weight"):
        load_checkpoint(tmp_path / "m.pth")


def test_missing_and_unknown_keys_are_listed(network: DCDRUNet, tmp_path: Path) -> None:
    state = network.state_dict()
    del state["restoration.hr1.bias"]
    state["restoration.surplus"] = torch.zeros(1)
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"lacks restoration\.hr1\.bias and has unknown restoration\.surplus"):
        load_checkpoint(tmp_path / "m.pth")


def test_a_wrong_shape_is_described(network: DCDRUNet, tmp_path: Path) -> None:
    state = network.state_dict()
    state["restoration.hr1.weight"] = torch.zeros(8, 8, 5, 5)
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"restoration\.hr1\.weight \(8, 8, 5, 5\) instead of \(8, 8, 3, 3\)"):
        load_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(network: DCDRUNet, tmp_path: Path, value: float) -> None:
    state = network.state_dict()
    state["restoration.up1.bias"][3] = value
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"restoration\.up1\.bias holds NaN"):
        load_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to("meta"),
        lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
        lambda tensor: tensor.flatten()[:1].clone().expand(tensor.numel()).view(tensor.shape),
    ],
    ids=["sparse", "without values", "quantised", "stretched"],
)
def test_tensors_that_are_no_plain_weights_are_refused_by_name(network: DCDRUNet, tmp_path: Path, spoil) -> None:
    state = network.state_dict()
    torch.save(state | {"restoration.hr1.weight": spoil(state["restoration.hr1.weight"])}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"m\.pth: restoration\.hr1\.weight is no plain tensor"):
        load_checkpoint(tmp_path / "m.pth")


def test_doubles_that_are_too_large_for_the_network_are_refused(network: DCDRUNet, tmp_path: Path) -> None:
    state = {name: tensor.double() for name, tensor in network.state_dict().items()}
    state["restoration.hr1.bias"][0] = 1e300
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"restoration\.hr1\.bias holds NaN or infinity"):
        load_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize("stored", ['{"output": 5}', '{"output": "plaid"}', "[" * 100_000])
def test_a_stored_configuration_that_makes_no_sense_is_one_line(tmp_path: Path, stored: str) -> None:
    network = HDRUNet(HDRUNetConfig(width=4, condition_hidden=4, condition_width=4, sft_hidden=4, blocks=(1, 1, 1)))
    content = {"params": network.state_dict(), "config": stored, DOMAIN: encode(ModelMetadata())}
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"m\.pth stores a configuration that cannot be read"):
        load_checkpoint(tmp_path / "m.pth")
