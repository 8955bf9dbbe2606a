"""HDRUNet trains by the same loop: same start, same checkpoints, same figures of health."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.errors import CheckpointError
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.models import HDRUNet, HDRUNetConfig, find_preset, hdrunet, initialise, load_checkpoint
from dcdr_deploy.system.progress import Event
from dcdr_deploy.training.assembly import open_run
from dcdr_deploy.training.heldout import HeldOutPair
from dcdr_deploy.training.liveness import liveness
from dcdr_deploy.training.loop import LoopOptions, create_state, train
from dcdr_deploy.training.losses import WeightedLoss
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.start import start_from_inverse_srgb

TINY = HDRUNetConfig(width=12, condition_hidden=4, condition_width=4, sft_hidden=2, blocks=(1, 1, 1))
CPU = torch.device("cpu")


class Squares(Dataset[tuple[Tensor, Tensor]]):
    """Targets that a network can learn."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(index))
        return x, x**2 / 8


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setitem(hdrunet.PRESETS, "tiny-hdrunet", TINY)
    losses = {"tanh_l1": 1.0}
    return Recipe(
        preset="tiny-hdrunet",
        steps=8,
        batch=2,
        patch=16,
        losses=losses,
        average=0.9,
        offsets_from=0.5,
        tone_from=0.5,
        tone_start="inverse_srgb",
        learning_rate=2e-3,
    )


def run(recipe: Recipe, folder: Path, stop_at: int = 10**9, resume: bool = False) -> list[Tensor]:
    state = open_run(recipe, folder, 8.0, "cpu", resume=resume)
    train(
        state,
        Squares(),
        WeightedLoss(recipe.losses),
        folder,
        LoopOptions(checkpoint_every=2),
        stop=lambda: state.step >= stop_at,
    )
    return list(state.network.state_dict().values())


def test_a_resumed_run_equals_an_uninterrupted_one_bit_by_bit(recipe: Recipe, tmp_path: Path) -> None:
    whole = run(recipe, tmp_path / "whole")
    run(recipe, tmp_path / "cut", stop_at=3)
    resumed = run(recipe, tmp_path / "cut", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
    assert not torch.equal(whole[0], next(iter(create_state(recipe, 8.0, CPU).network.state_dict().values())))


def test_its_checkpoint_is_a_model_with_linear_output_and_the_runs_peak(recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path)
    loaded = load_checkpoint(tmp_path / "last.pth")
    assert loaded.network.config == TINY  # gamma 1, other than a checkpoint without metadata
    assert loaded.metadata.peak == 8.0
    assert loaded.metadata.name == "HDRUNet tiny-hdrunet"


def test_a_run_does_not_go_on_with_the_weights_of_another_architecture(recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path)
    with pytest.raises(CheckpointError, match="another network configuration"):
        open_run(Recipe(preset="lite"), tmp_path, 8.0, "cpu", resume=True)


def test_the_weighting_network_is_held_first_and_learnt_later(recipe: Recipe, tmp_path: Path) -> None:
    state = create_state(recipe, 8.0, CPU)
    weight = state.network.mask_est[0].weight
    before = weight.detach().clone()
    moved: dict[int, bool] = {}

    def watch(event: Event) -> None:
        moved[event.done] = not torch.equal(weight, before)

    train(state, Squares(), WeightedLoss(recipe.losses), tmp_path, LoopOptions(), listener=watch)
    assert not moved[4]  # half of eight steps
    assert moved[5]


def test_all_its_parameters_learn_at_one_rate(recipe: Recipe) -> None:
    groups = create_state(recipe, 8.0, CPU).optimiser.param_groups
    assert [group["rate"] for group in groups] == [1.0]


@pytest.mark.parametrize("peak", [1.0, 8.0])
def test_every_code_value_can_start_at_its_linear_light(peak: float) -> None:
    network = HDRUNet(find_preset("hdrunet"))  # type: ignore[arg-type]
    initialise(network)
    reported = start_from_inverse_srgb(network, peak)
    codes = torch.linspace(0, 1, 256).view(1, 1, 1, 256).expand(1, 3, 8, 256).contiguous()
    with torch.no_grad():
        result = network.weighted_input(codes)[0, :, 4, 4:-4].numpy() * peak
        restored = network(codes) - network.weighted_input(codes)
    assert np.abs(result - srgb_to_linear(np.linspace(0, 1, 256))[4:-4]).max() <= 2e-4
    assert reported <= 2e-4
    assert 0 < restored.square().mean().sqrt() < 0.1


def test_liveness_judges_the_base_network_against_the_weighted_input() -> None:
    network = HDRUNet(TINY)
    initialise(network, 3)
    start_from_inverse_srgb(network, 8.0)
    with torch.no_grad():
        network.HR_conv2.weight.zero_()
        network.HR_conv2.bias.fill_(-1)
        network.conv_last.bias.zero_()
    pairs = [HeldOutPair("lamp", np.full((40, 40, 3), 255, np.uint8), np.full((40, 40, 3), 30000, np.uint16))]
    assert liveness(network.eval(), pairs) == {"dead_channels": 1.0, "gain_over_tone": 0.0}
