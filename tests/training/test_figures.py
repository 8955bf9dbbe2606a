"""Figures of steps come from the device without holding it up, and none is lost or counted twice."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from dcdr_deploy.training import figures as figures_module
from dcdr_deploy.training.figures import STEPS_BEHIND, StepFigures


class BusyDevice:
    """A GPU as far as figures are concerned: what it copies is there once its event was waited for."""

    def __init__(self) -> None:
        self.waited: list[int] = []
        self.queued = 0

    def figures(self, loss: float) -> Tensor:
        device, copy, values = self, torch.full((2,), math.nan), torch.tensor([loss, loss / 10])
        number, self.queued = self.queued, self.queued + 1

        class Event:
            def record(self) -> None:
                pass

            def synchronize(self) -> None:
                device.waited.append(number)
                copy.copy_(values)

        self.event = Event
        return SimpleNamespace(device=torch.device("cuda"), to=lambda where, non_blocking: copy)  # type: ignore[return-value]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> BusyDevice:
    device = BusyDevice()
    cuda = SimpleNamespace(Event=lambda: device.event())
    monkeypatch.setattr(figures_module, "torch", SimpleNamespace(cuda=cuda, tensor=torch.tensor))
    return device


def test_a_cpu_knows_each_step_at_once() -> None:
    figures = StepFigures()
    for loss in (1.0, 3.0):
        figures.add(torch.tensor([loss, loss / 2]))
    assert figures.means() == (2.0, 1.0)


def test_a_gpu_is_waited_for_two_steps_later_and_at_the_first_step(gpu: BusyDevice) -> None:
    figures = StepFigures()
    for step in range(6):
        figures.add(gpu.figures(float(step)))
    assert gpu.waited == [0, *range(1, 6 - STEPS_BEHIND)]
    assert figures.means()[0] == pytest.approx(sum(gpu.waited) / len(gpu.waited))


def test_waiting_makes_all_steps_known(gpu: BusyDevice) -> None:
    figures = StepFigures()
    for step in range(5):
        figures.add(gpu.figures(float(step)))
    figures.wait()
    assert figures.means() == (2.0, pytest.approx(0.2))


def test_a_span_tells_of_the_one_before_until_a_step_of_its_own_is_known(gpu: BusyDevice) -> None:
    figures = StepFigures()
    figures.add(gpu.figures(4.0))
    figures.wait()
    assert figures.means()[0] == 4.0
    figures.clear()
    figures.add(gpu.figures(8.0))
    assert figures.means()[0] == 4.0
    figures.wait()
    assert figures.means()[0] == 8.0
