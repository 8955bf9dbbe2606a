"""Recorded steps: when they are recorded, what a recording is checked by, and that nothing is lost where it fails.

CUDA graphs stand in as objects that remember what was computed on their memory and compute it again; that the real ones
give the same steps is checked on a GPU by benchmarks/gpu_recorded_step.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from dcdr_deploy.models import DCDRUNetConfig
from dcdr_deploy.training import recording
from dcdr_deploy.training.distributed import SINGLE, ProcessGroup
from dcdr_deploy.training.loop import create_state
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.recording import STEPS_BEFORE, StepRecorder, can_record
from dcdr_deploy.training.state import TrainingState

TINY = DCDRUNetConfig(width=8, condition_width=4, sft_hidden=2, tone_width=12, blocks=(1, 1, 1))
CPU = torch.device("cpu")


class Stream:
    def wait_stream(self, other: Any) -> None:
        pass


class Graph:
    """Replays by computing again, on the memory that was there when it was recorded."""

    again: Any = None

    def replay(self) -> None:
        self.again()


class Run:
    """A run whose step adds the batch's mean to every weight; it counts what was computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, recipe: Recipe, fault: str = "") -> None:
        self.state: TrainingState = create_state(recipe, 8.0, CPU, TINY)
        self.fault, self.computed, self.replayed, self.recording = fault, 0, 0, False

        @contextlib.contextmanager
        def graph(made: Graph, **_options: Any) -> Iterator[None]:
            self.recording = True
            try:
                yield
            finally:
                self.recording = False
            if fault == "refuses":
                raise RuntimeError("operation not permitted when stream is capturing")
            made.again = self.last

        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "current_stream", Stream)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "graph", graph)
        self.recorder = StepRecorder(
            self.state, lambda: None, self.compute, self.finish, lambda x, truth: float(x.mean())
        )

    def compute(self, x: Tensor, truth: Tensor) -> Tensor:
        figures = torch.zeros(2)

        def work(replay: bool = True) -> None:
            self.replayed += replay
            self.computed += not replay
            with torch.no_grad():
                for weight in self.state.network.parameters():
                    weight += x.mean()
            figures.copy_(torch.stack([x.mean() + (self.fault == "wrong" and replay), truth.mean()]))

        if self.recording:
            self.last = work
        else:
            work(replay=False)
        return figures

    def finish(self) -> None:
        self.state.step += 1

    def weight(self) -> float:
        return float(next(self.state.network.parameters()).detach().flatten()[0])


def batch(value: float, size: int = 16) -> tuple[Tensor, Tensor]:
    return torch.full((1, 3, size, size), value), torch.full((1, 3, size, size), value / 2)


def test_after_a_few_steps_every_batch_is_replayed_with_its_own_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, Recipe(steps=100, patch=16))
    start = run.weight()
    figures = [run.recorder.step(*batch(value / 10)) for value in range(1, 9)]
    assert [round(float(each[0]), 5) for each in figures] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert run.computed == STEPS_BEFORE
    assert run.replayed == 8 - STEPS_BEFORE + 1, "one to check the recording, which changes no weight"
    assert run.weight() - start == pytest.approx(3.6, abs=1e-4)
    assert run.state.step == 8


def test_each_patch_size_and_each_phase_of_the_recipe_is_recorded_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, Recipe(steps=30, patch=16, tone_from=0.5))
    for step in range(30):
        run.recorder.step(*batch(0.1, 16 if step < 10 else 32))
    assert len(run.recorder.recorded) == 3
    assert run.computed == 3 * STEPS_BEFORE


@pytest.mark.parametrize("fault", ["refuses", "wrong"])
def test_where_recording_fails_steps_go_on_as_before_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    run = Run(monkeypatch, Recipe(steps=100, patch=16), fault)
    start = run.weight()
    for _ in range(8):
        run.recorder.step(*batch(0.1))
    assert run.computed == 8
    assert run.weight() - start == pytest.approx(0.8, abs=1e-4)
    assert caplog.records[0].message.startswith("steps are not recorded")
    assert len(caplog.records) == 1


def test_only_runs_of_one_gpu_without_a_loss_scaler_are_recorded() -> None:
    state = create_state(Recipe(steps=1, patch=16), 8.0, CPU, TINY)
    gpu = torch.device("cuda")
    assert can_record(state, gpu, SINGLE)
    assert not can_record(state, CPU, SINGLE)
    assert not can_record(state, gpu, ProcessGroup(0, 2))
    state.scaler = torch.amp.GradScaler("cpu")
    assert not can_record(state, gpu, SINGLE)
    assert recording.TOLERANCE < 0.1
