"""HDRUNet has the published structure: parameters, key names, arithmetic, receptive field; its outputs are linear."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from receptive import positive, reach
from torch import Tensor
from torch.nn import functional as F

from dcdr_deploy.errors import CheckpointError
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.models import (
    HDRUNet,
    HDRUNetConfig,
    count_parameters,
    find_preset,
    initialise,
    load_checkpoint,
    save_safetensors,
)

TINY = HDRUNetConfig(width=6, condition_hidden=5, condition_width=4, sft_hidden=3, blocks=(1, 2, 1))
SFT = {"SFT_scale_conv0": (32, 32, 1), "SFT_scale_conv1": (64, 32, 1)}
SFT |= {name.replace("scale", "shift"): shape for name, shape in SFT.items()}
BLOCK = {"conv1": (64, 64, 3), "conv2": (64, 64, 3)}
BLOCK |= {f"{layer}.{name}": shape for layer in ("sft1", "sft2") for name, shape in SFT.items()}
PUBLIC: dict[str, tuple[int, int, int]] = {
    "conv_first": (64, 3, 3),
    **{f"SFT_layer1.{name}": shape for name, shape in SFT.items()},
    "HR_conv1": (64, 64, 3),
    "down_conv1": (64, 64, 3),
    "down_conv2": (64, 64, 3),
    **{
        f"recon_trunk{trunk}.{block}.{name}": shape
        for trunk, count in ((1, 2), (2, 8), (3, 2))
        for block in range(count)
        for name, shape in BLOCK.items()
    },
    "up_conv1.0": (256, 64, 3),
    "up_conv2.0": (256, 64, 3),
    **{f"SFT_layer2.{name}": shape for name, shape in SFT.items()},
    "HR_conv2": (64, 64, 3),
    "conv_last": (3, 64, 3),
    **{"cond_first.0": (64, 3, 3), "cond_first.2": (64, 64, 1), "cond_first.4": (64, 64, 1)},
    **{"CondNet1.0": (64, 64, 1), "CondNet1.2": (32, 64, 1)},
    **{"CondNet2.0": (64, 64, 3), "CondNet2.2": (32, 64, 1)},
    **{"CondNet3.0": (64, 64, 3), "CondNet3.2": (32, 64, 3)},
    **{"mask_est.0": (64, 3, 3), "mask_est.2": (64, 64, 3), "mask_est.4": (64, 64, 1), "mask_est.6": (3, 64, 1)},
}
"""Convolutions of the public checkpoints: name, and channels out, channels in, side of the filter."""


def public_state(seed: int = 0) -> dict[str, Tensor]:
    """A state dict with the public checkpoints' names and shapes."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, (channels_out, channels_in, side) in PUBLIC.items():
        spread = 0.3 / (channels_in * side * side) ** 0.5
        state[f"{name}.weight"] = spread * torch.randn(channels_out, channels_in, side, side, generator=generator)
        state[f"{name}.bias"] = 0.05 * torch.randn(channels_out, generator=generator)
    return state


def by_hand(state: dict[str, Tensor], image: Tensor) -> Tensor:
    """The published arithmetic on the published names, before any gamma."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state[f"{name}.bias"], stride, weight.shape[2] // 2)

    def leaky(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.1 * x)

    def sft(name: str, x: Tensor, y: Tensor) -> Tensor:
        scale, shift = (
            conv(f"{name}.SFT_{kind}_conv1", leaky(conv(f"{name}.SFT_{kind}_conv0", y))) for kind in ("scale", "shift")
        )
        return x * (scale + 1) + shift

    def trunk(name: str, count: int, x: Tensor, y: Tensor) -> Tensor:
        for at in (f"{name}.{number}" for number in range(count)):
            inner = conv(f"{at}.conv1", sft(f"{at}.sft1", x, y)).relu()
            x = x + conv(f"{at}.conv2", sft(f"{at}.sft2", inner, y))
        return x

    gain = image
    for number in (0, 2, 4):
        gain = conv(f"mask_est.{number}", gain).relu()
    shared = image
    for number in (0, 2, 4):
        shared = leaky(conv(f"cond_first.{number}", shared))
    maps = {
        1: conv("CondNet1.2", leaky(conv("CondNet1.0", shared))),
        2: conv("CondNet2.2", leaky(conv("CondNet2.0", shared, 2))),
        4: conv("CondNet3.2", leaky(conv("CondNet3.0", shared, 2)), 2),
    }
    whole = conv("HR_conv1", sft("SFT_layer1", conv("conv_first", image).relu(), maps[1])).relu()
    half = trunk("recon_trunk1", 2, conv("down_conv1", whole, 2).relu(), maps[2])
    quarter = conv("down_conv2", half, 2).relu()
    x = trunk("recon_trunk2", 8, quarter, maps[4]) + quarter
    x = F.pixel_shuffle(conv("up_conv1.0", x), 2).relu() + half
    x = F.pixel_shuffle(conv("up_conv2.0", trunk("recon_trunk3", 2, x, maps[2])), 2).relu() + whole
    x = conv("conv_last", conv("HR_conv2", sft("SFT_layer2", x, maps[1])).relu())
    return conv("mask_est.6", gain) * image + x


def test_the_preset_has_the_published_number_of_parameters() -> None:
    config = find_preset("hdrunet")
    assert isinstance(config, HDRUNetConfig)
    assert count_parameters(HDRUNet(config)) == 1_651_494


def test_its_names_and_shapes_are_those_of_the_public_checkpoints() -> None:
    ours = {name: tensor.shape for name, tensor in HDRUNet().state_dict().items()}
    assert ours == {name: tensor.shape for name, tensor in public_state().items()}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_public_checkpoint_computes_the_published_function_raised_to_linear_light(
    tmp_path: Path, prefix: str
) -> None:
    state = public_state()
    torch.save({prefix + name: tensor for name, tensor in state.items()}, tmp_path / "hdrunet.pth")
    loaded = load_checkpoint(tmp_path / "hdrunet.pth")
    assert isinstance(loaded.network, HDRUNet)
    assert not loaded.has_metadata
    assert loaded.metadata.peak == 1.0
    assert loaded.network.config.output == "gamma:2.24"
    x = torch.rand(2, 3, 24, 36, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = by_hand(state, x)
        assert expected.min() < 0 < expected.max()
        assert torch.allclose(loaded.network(x), expected.clamp(min=0) ** 2.24, atol=1e-5)
        loaded.network.config = replace(loaded.network.config, output="linear")
        assert torch.allclose(loaded.network(x), expected, atol=1e-5)


@pytest.mark.parametrize("output", ["linear", "gamma:2.24", "pq-bt2020:8"])
def test_files_of_this_tool_keep_the_encoding(tmp_path: Path, output: str) -> None:
    network = HDRUNet(replace(TINY, output=output))
    save_safetensors(network, tmp_path / "m.safetensors", ModelMetadata(), torch.float32)
    assert load_checkpoint(tmp_path / "m.safetensors").network.config == network.config


def test_the_configuration_is_deduced_from_shapes(tmp_path: Path) -> None:
    torch.save(HDRUNet(TINY).state_dict(), tmp_path / "m.pth")
    assert load_checkpoint(tmp_path / "m.pth").network.config == replace(TINY, output="gamma:2.24")


@pytest.mark.parametrize("size", [(4, 4), (8, 20), (36, 12)])
def test_output_has_the_size_of_the_input(size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert HDRUNet(TINY)(torch.rand(2, 3, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("blocks", [(2, 8, 2), (0, 0, 0), (1, 2, 3)])
def test_the_receptive_field_is_the_one_it_says(blocks: tuple[int, int, int]) -> None:
    network = HDRUNet(HDRUNetConfig(2, 2, 2, 1, blocks))
    assert reach(positive(network), 256) == network.receptive_field()
    assert HDRUNet().receptive_field() == 96


def test_it_has_no_deformable_blocks() -> None:
    network = HDRUNet(TINY)
    assert network.deformable_blocks() == network.block_scales() == {}
    assert not network.deforms()
    assert network.set_deform_mode("gather") is network


def test_its_tone_part_and_the_rest_make_the_output() -> None:
    network = HDRUNet(TINY)
    initialise(network, 2)
    restoration = network.restoration_part()
    for parameter in restoration.last.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.rand(1, 3, 8, 12)
    with torch.no_grad():
        assert torch.equal(network(x), network.tone_part().output(x))


def test_missing_unknown_and_wrong_keys_are_described(tmp_path: Path) -> None:
    state = public_state()
    del state["HR_conv1.bias"]
    state["HR_conv1.surplus"] = torch.zeros(1)
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"no HDRUNet: it lacks HR_conv1\.bias and has unknown HR_conv1\.surplus"):
        load_checkpoint(tmp_path / "m.pth")
    state = public_state() | {"HR_conv1.weight": torch.zeros(64, 64, 5, 5)}
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"as HDRUNet: HR_conv1\.weight \(64, 64, 5, 5\) instead of \(64, 64, 3"):
        load_checkpoint(tmp_path / "m.pth")


def test_a_checkpoint_without_its_first_convolution_is_no_hdrunet(tmp_path: Path) -> None:
    state = public_state()
    del state["conv_first.weight"]
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"is no HDRUNet: it lacks 'conv_first\.weight'"):
        load_checkpoint(tmp_path / "m.pth")


def test_configuration_survives_json() -> None:
    config = replace(TINY, output="gamma:2.24")
    assert HDRUNetConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("changes", [{"width": 0}, {"blocks": (1, 2)}, {"blocks": (1, -1, 1)}])
def test_values_out_of_range_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        replace(TINY, **changes)
