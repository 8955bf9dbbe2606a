"""Steps are recorded where a recording computes what the step does; nothing in a step keeps it from being recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dcdr_deploy.models import PRESETS, DCDRUNetConfig
from dcdr_deploy.training.loop import create_state
from dcdr_deploy.training.losses import WeightedLoss
from dcdr_deploy.training.recipe import RECIPES
from dcdr_deploy.training.recording import STEPS_BEFORE, Compute, Computed, StepRecorder, largest_difference
from dcdr_deploy.training.state import TrainingState
from dcdr_deploy.training.step import train_step

TINY = DCDRUNetConfig(width=8, condition_width=4, sft_hidden=2, tone_width=12, blocks=(1, 1, 1))
CPU = torch.device("cpu")


def doubled(x: Tensor, truth: Tensor) -> Computed:
    return Computed(torch.stack([(x * truth).sum(), x.sum()]), [2 * x, None])


class Copied:
    """What a graph does, on a processor: one result, overwritten by every replay."""

    def __init__(self, compute: Compute, x: Tensor, truth: Tensor) -> None:
        self.compute, self.result, self.replays = compute, compute(x, truth), 0

    def __call__(self, x: Tensor, truth: Tensor) -> Computed:
        self.replays += 1
        fresh = self.compute(x, truth)
        self.result.figures.copy_(fresh.figures)
        for kept, new in zip(self.result.gradients, fresh.gradients, strict=True):
            if kept is not None and new is not None:
                kept.copy_(new)
        return self.result


def batch(size: int = 4) -> tuple[Tensor, Tensor]:
    return torch.rand(1, 3, size, size), torch.rand(1, 3, size, size)


def test_a_phase_is_recorded_after_some_steps_and_replayed_from_then_on() -> None:
    recorder = StepRecorder(Copied)
    for _ in range(STEPS_BEFORE + 2):
        x, truth = batch()
        computed = recorder("phase", doubled, x, truth)
        assert torch.equal(computed.gradients[0], 2 * x)  # type: ignore[arg-type]
        assert computed.gradients[1] is None
    (recording,) = recorder.recordings.values()
    assert isinstance(recording, Copied)
    assert recording.replays == 1 + 2  # the comparison, and the two steps after it


def test_every_phase_and_every_size_has_a_recording_of_its_own() -> None:
    recorder = StepRecorder(Copied)
    for phase, size in (("a", 4), ("b", 4), ("a", 8)):
        for _ in range(STEPS_BEFORE):
            recorder(phase, doubled, *batch(size))
    assert len(recorder.recordings) == 3


def test_a_recording_that_computes_something_else_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    class Stale(Copied):
        def __call__(self, x: Tensor, truth: Tensor) -> Computed:
            return Computed(self.result.figures, [torch.zeros_like(x), None])

    recorder = StepRecorder(Stale)
    for _ in range(STEPS_BEFORE + 1):
        x, truth = batch()
        computed = recorder("phase", doubled, x, truth)
    assert torch.equal(computed.gradients[0], 2 * x)  # type: ignore[arg-type]
    assert not recorder.recordings
    assert "differ" in caplog.text


@pytest.mark.parametrize("one", [torch.nan, torch.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("side", ["found", "expected", "both"])
def test_what_is_not_finite_differs_from_everything(one: float, where: str, side: str) -> None:
    right = Computed(torch.tensor([1.0, 2.0]), [torch.ones(3), None])
    wrong = Computed(right.figures.clone(), [torch.ones(3), None])
    assert largest_difference(wrong, right) == 0
    spoilt = wrong.figures if where == "loss" else wrong.gradients[0]
    assert spoilt is not None
    spoilt[0] = one
    found, expected = {"found": (wrong, right), "expected": (right, wrong), "both": (wrong, wrong)}[side]
    assert largest_difference(found, expected) == float("inf")


def test_steps_go_on_one_by_one_where_recording_fails(caplog: pytest.LogCaptureFixture) -> None:
    tries = []

    def fail(_compute: Compute, x: Tensor, _truth: Tensor) -> Copied:
        tries.append(x)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    recorder = StepRecorder(fail)
    for _ in range(STEPS_BEFORE + 3):
        recorder("phase", doubled, *batch())
    assert len(tries) == 1
    assert caplog.text.count("not recorded") == 1


class Watch(TorchDispatchMode):
    """Names the operators that would make a GPU's queue wait for the processor, which no recording can hold."""

    ASKING = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique", "lift_fresh", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if any(name.startswith(asking) for asking in self.ASKING):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> TrainingState:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    losses = {name: weight for name, weight in RECIPES["demo"].losses.items() if name != "perceptual_squeezenet"}
    return create_state(replace(RECIPES["demo"], preset="tiny", losses=losses, precision="fp32", held=[]), 8.0, CPU)


def overexposed() -> tuple[Tensor, Tensor]:
    truth = 0.5 * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) ** 2
    truth[0, :, :2] = torch.nan
    return (8 * truth.nan_to_num()).clamp(0, 1) ** (1 / 2.2), truth


def test_nothing_before_the_optimiser_asks_the_processor(state: TrainingState) -> None:
    found: list[str] = []

    def watched(_phase: object, compute: Compute, x: Tensor, truth: Tensor) -> Computed:
        with Watch() as watch:
            computed = compute(x, truth)
        found.extend(watch.found)
        return computed

    train_step(state, WeightedLoss(state.recipe.losses, peak=8.0), *overexposed(), run=watched)
    assert found == []
    with Watch() as watch:
        assert overexposed()[0].sum().item() > 0
    assert watch.found  # the watch does see such operators


def test_gradients_are_laid_out_like_their_parameters(state: TrainingState) -> None:
    seen: list[Computed] = []

    def keep(_phase: object, compute: Compute, x: Tensor, truth: Tensor) -> Computed:
        seen.append(compute(x, truth))
        return seen[0]

    parameters = [each for each in state.network.parameters() if each.requires_grad]
    train_step(state, WeightedLoss(state.recipe.losses, peak=8.0), *overexposed(), run=keep)
    pairs = list(zip(seen[0].gradients, [p for p in parameters if p.requires_grad], strict=True))
    assert all(gradient is None or gradient.stride() == parameter.stride() for gradient, parameter in pairs)
    assert sum(gradient is not None for gradient, _ in pairs) > 20
