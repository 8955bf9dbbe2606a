"""A run by the clock gets the steps that fit its time, keeps checkpoints, and ends in time."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import torch
import train_by_clock

from dcdr_deploy.models import load_checkpoint
from dcdr_deploy.training.events import TRAINING, StepDone
from dcdr_deploy.training.loop import create_state
from dcdr_deploy.training.recipe import Recipe

FIRST_STEP, PACE = 40.0, 0.5
"""Seconds before the first step, and of each."""


class Run:
    """A run of 400 s by a clock that only steps move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **recipe: Any) -> None:
        self.now = 0.0
        monkeypatch.setattr(train_by_clock.time, "monotonic", lambda: self.now)
        self.state = SimpleNamespace(recipe=Recipe(steps=train_by_clock.PROVISIONAL_STEPS, **recipe), step=0)
        self.kept: list[tuple[str, float]] = []
        self.clock = train_by_clock.Clock(self.state, 400, 0.0, lambda name: self.kept.append((name, self.now)))  # type: ignore[arg-type]

    def step(self, seconds: float) -> None:
        self.now += seconds
        self.state.step += 1
        steps = self.state.recipe.steps
        self.clock.listen(StepDone(TRAINING, self.state.step, steps, loss=1.0, psnr_mu=30.0, seconds=self.now))


def test_the_number_of_steps_is_what_fits_the_time_at_the_pace_of_the_later_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(monkeypatch)
    run.step(FIRST_STEP)
    while not run.clock.over():
        run.step(PACE)
    assert run.state.step == run.state.recipe.steps
    left = 400 - run.now
    assert train_by_clock.SAVING <= left < train_by_clock.SAVING + 0.04 * train_by_clock.PLAN_EVERY
    assert f"{run.state.step} steps in all" in capsys.readouterr().out


@pytest.mark.parametrize("changed", [150, 330])
@pytest.mark.parametrize("factor", [3, 1 / 3])
def test_a_run_whose_pace_changes_has_all_its_steps_at_the_end_of_its_time(
    monkeypatch: pytest.MonkeyPatch, factor: float, changed: float
) -> None:
    run = Run(monkeypatch)
    run.step(FIRST_STEP)
    while not run.clock.over():
        run.step(PACE if run.now < changed else factor * PACE)
    assert run.state.step == run.state.recipe.steps  # so that the learning rate has fallen
    assert train_by_clock.SAVING - 3 * PACE <= 400 - run.now < train_by_clock.SAVING + 0.04 * train_by_clock.PLAN_EVERY


@pytest.mark.parametrize("compilations", [(60, PACE, PACE), (47, 47, PACE), (60, 60, 60)])
def test_a_run_in_which_the_next_steps_compile_too_does_not_end_with_them(
    monkeypatch: pytest.MonkeyPatch, compilations: tuple[float, ...]
) -> None:
    run = Run(monkeypatch)
    run.step(FIRST_STEP)
    for seconds in compilations:
        run.step(seconds)
    while not run.clock.over():
        run.step(PACE)
    assert run.state.step == run.state.recipe.steps
    assert train_by_clock.SAVING <= 400 - run.now < train_by_clock.SAVING + 0.04 * train_by_clock.PLAN_EVERY


def test_a_run_that_slows_down_at_its_very_end_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch)
    run.step(FIRST_STEP)
    while not run.clock.over():
        run.step(PACE if run.now < 385 else 9 * PACE)
    assert run.state.step < run.state.recipe.steps
    assert run.now <= 400 - train_by_clock.SAVING + 9 * PACE


def test_a_checkpoint_is_kept_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch)
    run.step(FIRST_STEP)
    while not run.clock.over():
        run.step(PACE)
    assert len(run.kept) in (5, 6)
    assert {name for name, _ in run.kept} == {"weights.pth"}
    gaps = [b - a for (_, a), (_, b) in zip(run.kept, run.kept[1:], strict=False)]
    assert all(60 < gap <= 60 + PACE for gap in gaps)


def test_weights_are_kept_before_a_loss_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {"mu_mse": 1.0, "mu_regret": 0.1}
    run = Run(monkeypatch, losses=losses, losses_from={"mu_regret": 0.5})
    run.step(FIRST_STEP)
    while not run.clock.over():
        run.step(PACE)
    (joined,) = (when for name, when in run.kept if name == "before-mu_regret.pth")
    assert joined == pytest.approx(FIRST_STEP + (run.now - FIRST_STEP) / 2, abs=0.04 * 400)


def test_what_is_kept_is_taken_as_weights_and_has_the_metrics_that_there_are(tmp_path: Path) -> None:
    state = create_state(Recipe(preset="lite", losses={"mu_mse": 1.0}), 8.0, torch.device("cpu"))
    run, output = tmp_path / "run", tmp_path / "out"
    train_by_clock.save_slim(state, run, output)  # before the first line of metrics
    assert [path.name for path in output.iterdir()] == ["weights.pth"]
    assert "optimizer" not in torch.load(output / "weights.pth", weights_only=True)
    assert load_checkpoint(output / "weights.pth").metadata.peak == 8.0
    (run / "metrics.jsonl").write_text('{"step": 50}\n')
    train_by_clock.save_slim(state, run, output)
    assert (output / "metrics.jsonl").read_text() == '{"step": 50}\n'
