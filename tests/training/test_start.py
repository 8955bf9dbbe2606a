"""Training starts at the trivial conversion: the tone net computes inverse sRGB / peak, the rest is all but silent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.models import PRESETS, DCDRUNet, DCDRUNetConfig, initialise, load_checkpoint, save_safetensors
from dcdr_deploy.training.assembly import open_run
from dcdr_deploy.training.loop import create_state
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.start import start_from_inverse_srgb


@pytest.mark.parametrize(("preset", "tolerance"), [("paper", 2e-4), ("lite", 1e-3)])
@pytest.mark.parametrize("peak", [1.0, 8.0])
def test_every_code_value_starts_at_its_linear_light(preset: str, tolerance: float, peak: float) -> None:
    network = DCDRUNet(PRESETS[preset])
    initialise(network)
    reported = start_from_inverse_srgb(network, peak)
    codes = torch.linspace(0, 1, 256).view(1, 1, 1, 256).expand(1, 3, 16, 256).contiguous()
    with torch.no_grad():
        result = network.tone(codes)[0, :, 8, 4:-4].numpy() * peak
    expected = srgb_to_linear(np.linspace(0, 1, 256))[4:-4]
    assert np.abs(result - expected).max() <= tolerance
    assert reported <= tolerance


def test_a_tone_net_held_throughout_keeps_its_exact_start_whatever_weights_the_run_starts_at(tmp_path: Path) -> None:
    recipe = Recipe(preset="lite", steps=2, batch=1, patch=16, losses={"mu_mse": 1.0}, tone_start="inverse_srgb")
    other = create_state(replace(recipe, seed=5, tone_start="kaiming"), 8.0, torch.device("cpu")).network
    save_safetensors(other, tmp_path / "m.safetensors", ModelMetadata(peak=8.0), torch.float32)
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    for tone_from, exact in ((1.0, True), (0.5, False)):
        state = create_state(replace(recipe, tone_from=tone_from, average=0.9), 8.0, torch.device("cpu"))
        start = {name: value.clone() for name, value in state.network.state_dict().items()}
        state.start_at(loaded)
        for weights in (state.network.state_dict(), state.average):
            assert weights is not None
            for name, value in weights.items():
                source = start if exact and name.startswith("tone.") else other.state_dict()
                assert torch.equal(value, source[name]), name


def test_only_a_tone_net_that_keeps_its_own_start_may_be_of_another_width(tmp_path: Path) -> None:
    wide = create_state(Recipe(steps=2, batch=1, patch=16, losses={"mu_mse": 1.0}), 8.0, torch.device("cpu")).network
    save_safetensors(wide, tmp_path / "wide.safetensors", ModelMetadata(peak=8.0), torch.float32)
    start = load_checkpoint(tmp_path / "wide.safetensors")
    held = Recipe(
        preset="lite", steps=2, batch=1, patch=16, losses={"mu_mse": 1.0}, tone_start="inverse_srgb", tone_from=1.0
    )
    state = open_run(held, tmp_path / "held", 8.0, "cpu", False, start)
    found, given = state.network.state_dict(), wide.state_dict()
    assert found["tone.layers.0.weight"].shape[0] == 32
    assert all(torch.equal(found[name], given[name]) for name in found if not name.startswith("tone."))
    with pytest.raises(InputError, match="another network than preset lite"):
        open_run(replace(held, tone_from=0.0), tmp_path / "free", 8.0, "cpu", False, start)


def test_neighbours_do_not_matter_at_the_start() -> None:
    network = DCDRUNet(PRESETS["lite"])
    initialise(network)
    start_from_inverse_srgb(network, 8.0)
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        result = network.tone(x).numpy() * 8
    assert np.abs(result - srgb_to_linear(x.numpy())).max() < 2e-3


def test_the_restoration_net_starts_quiet_but_alive() -> None:
    network = DCDRUNet(PRESETS["lite"])
    initialise(network)
    start_from_inverse_srgb(network, 8.0)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        restored = network(x) - network.tone(x)
    assert 0 < restored.square().mean().sqrt() < 0.05


def test_a_tone_net_that_is_too_narrow_is_refused() -> None:
    network = DCDRUNet(DCDRUNetConfig(width=8, condition_width=4, tone_width=9))
    with pytest.raises(InputError, match="too narrow"):
        start_from_inverse_srgb(network, 8.0)
