"""The networks of Table 1 train by the losses of their publications, in their own encodings."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from table1_networks import TINY
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.errors import InputError
from dcdr_deploy.models import ARCHITECTURES, architecture_of, find_preset, load_checkpoint
from dcdr_deploy.models.encodings import Encoding
from dcdr_deploy.training.asked import TrainingRequest
from dcdr_deploy.training.assembly import open_run, run_training
from dcdr_deploy.training.distributed import SINGLE
from dcdr_deploy.training.log_losses import illumination_reflectance, mu5000_l1, mu_variation
from dcdr_deploy.training.loop import LoopOptions, check_batches, create_state
from dcdr_deploy.training.losses import WeightedLoss
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.request import build_recipe


class Squares(Dataset[tuple[Tensor, Tensor]]):
    """Pictures with clipped pixels, and targets that a network can learn."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        light = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(index)) * 1.5
        return light.clamp(max=1).sqrt(), light / 8


@pytest.fixture(params=TINY)
def recipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    preset = find_preset(request.param)
    architecture = architecture_of(preset)
    unseen = {field: getattr(preset, field) for field in architecture.unseen}
    tiny = replace(TINY[request.param], **unseen)
    monkeypatch.setitem(ARCHITECTURES, architecture.name, replace(architecture, presets={"tiny": tiny}))
    overrides = {"preset": "tiny", "steps": 4, "batch": 2, "patch": 64, "average": 0.9}
    return build_recipe(TrainingRequest(Path("unused"), overrides=overrides))


def test_a_batch_that_leaves_one_value_to_normalise_is_refused_and_no_other(recipe: Recipe) -> None:
    network = create_state(recipe, 8.0, torch.device("cpu")).network.train()
    smallest = max(architecture_of(network.config).size_multiple, 4)
    for batch, patch in ((1, smallest), (2, smallest), (1, 2 * smallest)):
        wanted = replace(recipe, batch=batch, patch=patch)
        try:
            network.coded(torch.rand(batch, 3, patch, patch))
        except ValueError:
            with pytest.raises(InputError, match=f"`batch` 1 of `patch` {smallest}"):
                check_batches(network, wanted, SINGLE)
        else:
            check_batches(network, wanted, SINGLE)


def test_it_trains_by_the_publications_loss_and_the_checkpoint_is_a_model(recipe: Recipe, tmp_path: Path) -> None:
    state = open_run(recipe, tmp_path, 8.0, "cpu", resume=False)
    architecture = architecture_of(state.network.config)
    assert recipe.losses == architecture.losses
    before = {name: value.clone() for name, value in state.network.state_dict().items()}
    assert run_training(state, Squares(), tmp_path, LoopOptions(log_every=1))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == recipe.steps
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    assert any(not torch.equal(value, before[name]) for name, value in state.network.named_parameters())
    loaded = load_checkpoint(tmp_path / "last.pth")
    assert loaded.network.config == state.network.config
    assert loaded.metadata.peak == 8.0
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.isfinite(loaded.network(x)).all()


@pytest.mark.parametrize("preset", TINY)
def test_every_preset_trains_at_the_peak_of_our_targets(preset: str) -> None:
    config = find_preset(preset)
    assert Encoding.parse(config.output).peak in (None, 8.0)
    recipe = build_recipe(TrainingRequest(Path("unused"), overrides={"preset": preset}))
    WeightedLoss(recipe.losses, peak=8.0, encoding=Encoding.parse(config.output))


def test_losses_of_the_encoding_compare_what_layers_give_and_ignore_what_nobody_knows() -> None:
    encoding = Encoding.parse("gamma:2")
    loss = WeightedLoss({"coded_l1": 1.0}, encoding=encoding)
    truth, sdr = torch.full((1, 3, 4, 4), 0.25), torch.rand(1, 3, 4, 4)
    coded = torch.full_like(truth, 0.75).requires_grad_()
    assert loss(encoding.decode(coded), truth, sdr, coded=coded).item() == pytest.approx(0.25)
    assert loss(torch.full_like(truth, 0.5625), truth, sdr).item() == pytest.approx(0.25)
    truth[:, :, 0] = torch.nan
    value = loss(encoding.decode(coded), truth, sdr, coded=coded)
    assert value.item() == pytest.approx(0.25 * 3 / 4)
    (gradient,) = torch.autograd.grad(value, coded)
    assert (gradient[:, :, 0] == 0).all()
    assert (gradient[:, :, 1:] != 0).all()


def test_hdrcnns_loss_counts_clipped_pixels_and_no_change_of_exposure_in_reflectance() -> None:
    truth = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.5
    dark, clipped = torch.full_like(truth, 0.5), torch.ones_like(truth)
    assert illumination_reflectance(truth * 2, truth, dark, peak=8.0) == 0
    assert illumination_reflectance(truth, truth, clipped, peak=8.0) == 0
    # Twice the light is log 2 more of illumination everywhere and, but for the small offset, the same reflectance.
    doubled = illumination_reflectance(truth * 2, truth, clipped, peak=8.0)
    assert doubled.item() == pytest.approx(0.5 * math.log(2) ** 2, rel=0.01)
    negative = (truth - 1).requires_grad_()
    illumination_reflectance(negative, truth, clipped, peak=8.0).backward()
    assert torch.isfinite(negative.grad).all()


def test_hdrcnns_illumination_is_the_low_pass_of_its_public_code() -> None:
    """13 taps: roots of the normal distribution's mass in equal parts of -(2 + 5/26) to 2 + 5/26 deviations."""
    edges = np.linspace(-1, 1, 14) * (2 + 5 / 26) / math.sqrt(2)
    taps = np.sqrt(np.diff([math.erf(edge) for edge in edges]))
    taps /= taps.sum()
    truth = torch.full((1, 3, 32, 32), 1 / 8)
    prediction = truth.clone()
    prediction[..., 16] = 2 / 8
    stop = math.log((2 + 1 / 255) / (1 + 1 / 255))
    reflectance = -taps
    reflectance[6] += 1
    expected = 0.5 * stop**2 * ((taps**2).sum() + (reflectance**2).sum()) / 32
    found = illumination_reflectance(prediction, truth, torch.ones_like(truth), peak=8.0)
    assert found.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("code", "weight"), [(0.95, 0.0), (0.96, 0.2), (0.975, 0.5), (1.0, 1.0)])
def test_hdrcnns_loss_sets_in_at_code_0_95(code: float, weight: float) -> None:
    """HDRCNN, eq. 2: alpha = max(0, max_c D - tau) / (1 - tau), tau = 0.95."""
    truth = torch.full((1, 3, 16, 16), 0.1)
    sdr = torch.full_like(truth, 0.2)
    sdr[:, 1] = code
    whole = illumination_reflectance(truth * 2, truth, torch.ones_like(truth), peak=8.0)
    found = illumination_reflectance(truth * 2, truth, sdr, peak=8.0)
    assert found.item() == pytest.approx(weight * whole.item(), abs=1e-6)


def test_fhdrs_loss_weighs_the_dark_more_than_ours() -> None:
    truth = torch.full((1, 3, 4, 4), 0.001)
    assert mu5000_l1(truth * 2, truth).item() == pytest.approx(math.log(11 / 6) / math.log(5001), rel=1e-4)
    assert mu5000_l1(truth, truth) == 0


def test_singlehdrs_variation_is_nought_on_flat_pictures_and_needs_no_truth() -> None:
    flat, steps = torch.full((1, 3, 4, 4), 0.3), torch.tensor([0.0, 1.0]).repeat(2).expand(1, 3, 4, 4)
    assert mu_variation(flat, steps) == 0
    assert mu_variation(steps, flat).item() == pytest.approx(1.0)


def test_weights_of_batch_normalisation_are_averaged_and_its_counters_copied() -> None:
    architecture = ARCHITECTURES["hdrcnn"]
    state = create_state(
        Recipe(preset="hdrcnn", average=0.5, losses={"mu_l1": 1.0}), 8.0, torch.device("cpu"), config=TINY["hdrcnn"]
    )
    assert architecture_of(state.network.config) is architecture
    network = state.network.train()
    network(torch.rand(2, 3, 32, 32))
    state.update_average()
    counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    assert counters
    assert state.average is not None
    for name, value in counters.items():
        assert torch.equal(state.average[name], value)
        assert value == 1
