"""HDRTVNet++, LSN, ExpandNet and LHDR train by the losses of their publications."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dcdr_deploy.models import ARCHITECTURES, NetworkConfig
from dcdr_deploy.models.expandnet import ExpandNetConfig
from dcdr_deploy.models.hdrtvnetplus import HDRTVNetPlusConfig
from dcdr_deploy.models.lhdr import LHDRConfig
from dcdr_deploy.models.lsn import LSNConfig
from dcdr_deploy.training.asked import TrainingRequest
from dcdr_deploy.training.log_losses import cosine
from dcdr_deploy.training.loop import create_state
from dcdr_deploy.training.losses import WeightedLoss
from dcdr_deploy.training.request import build_recipe
from dcdr_deploy.training.step import train_step

TINY: dict[str, NetworkConfig] = {
    "hdrtvnet++": HDRTVNetPlusConfig(8, 4, 3, 8, 8, (1, 1, 1, 1, 1), output="pq-bt2020:8"),
    "lsn": LSNConfig(8, output="pq-bt2020:8"),
    "expandnet": ExpandNetConfig(8),
    "lhdr": LHDRConfig(8),
}


@pytest.mark.parametrize("preset", TINY)
def test_the_loss_of_a_batch_that_is_seen_again_and_again_falls(preset: str, monkeypatch: pytest.MonkeyPatch):
    architecture = ARCHITECTURES[preset]
    monkeypatch.setitem(ARCHITECTURES, preset, replace(architecture, presets={preset: TINY[preset]}))
    overrides = {"preset": preset, "patch": 32, "batch": 2, "learning_rate": 2e-3}
    recipe = build_recipe(TrainingRequest(Path("unused"), overrides=overrides))
    assert recipe.losses == architecture.losses
    state = create_state(recipe, 8.0, torch.device("cpu"))
    loss = WeightedLoss(recipe.losses, peak=8.0, encoding=state.network.encoding)
    light = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) ** 3 * 4
    light = nn.functional.interpolate(light, scale_factor=4, mode="bilinear")
    x, truth = light.clamp(max=1).sqrt(), light / 8
    truth[0, :, :4, :4] = torch.nan  # what nobody knows
    losses = [train_step(state, loss, x, truth)[0].item() for _ in range(30)]
    assert all(map(math.isfinite, losses))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert all(torch.isfinite(value).all() for value in state.network.state_dict().values())


def colours(*values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).T.reshape(1, 3, 1, len(values))


def test_the_cosine_loss_sees_colour_and_not_brightness():
    truth = colours((0.2, 0.4, 0.1), (1.0, 0.0, 0.0))
    assert cosine(truth * 5, truth).item() == pytest.approx(0, abs=1e-6)
    assert cosine(colours((0.0, 1.0, 0.0), (0.0, 0.0, 2.0)), colours((1.0, 0.0, 0.0), (1.0, 0.0, 0.0))).item() == 1
    right_angle = cosine(colours((1.0, 1.0, 0.0)), colours((1.0, 0.0, 0.0)))
    assert right_angle.item() == pytest.approx(1 - math.sqrt(0.5), abs=1e-6)


@pytest.mark.parametrize("light", [0.0, 1e-30, 1e-5])
def test_the_cosine_loss_of_black_has_a_gradient_whose_norm_is_a_number(light: float):
    black = torch.full((1, 3, 2, 2), light, requires_grad=True)
    truth = torch.full((1, 3, 2, 2), 0.3)
    truth[:, 0] = 0.1
    cosine(black, truth).backward()
    assert 0 < torch.linalg.vector_norm(black.grad) < 1e6
    both = torch.zeros(1, 3, 2, 2, requires_grad=True)
    cosine(both, torch.zeros(1, 3, 2, 2)).backward()
    assert (both.grad == 0).all()
