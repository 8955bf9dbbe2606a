"""A recorded step gives what the step gives, and a recording that does not is given up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from dcdr_deploy.training.recording import CHECKED_STEPS, WARM_STEPS, Compute, StepRecorder

SIZE = (2, 3, 4, 4)


class Model(nn.Module):
    """A parameter that learns, and one that gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([2.0, 3.0, 5.0]))
        self.idle = nn.Parameter(torch.ones(1))
        self.steps = 0

    def compute(self, x: Tensor, truth: Tensor) -> Tensor:
        self.steps += 1
        loss = (x * self.gain[:, None, None] - truth).square().mean()
        loss.backward()
        return torch.stack([loss.detach(), loss.detach() / 2])


class Tape:
    """Records as a CUDA graph does: what is computed again reads and writes where it did when it was recorded."""

    def __init__(self, model: Model, spoil: float = 1.0) -> None:
        self.model, self.spoil, self.recorded, self.replayed = model, spoil, 0, 0

    def record(self, compute: Compute, x: Tensor, truth: Tensor) -> tuple[Callable[[], None], Tensor]:
        self.recorded += 1
        parameters = list(self.model.parameters())
        assert all(p.grad is None for p in parameters), "gradients would be added to, not written"
        figures = compute(x, truth)
        gradients = [p.grad for p in parameters]
        for tensor in (figures, gradients[0]):
            assert tensor is not None
            tensor.fill_(torch.nan)  # nothing has run yet

        def replay() -> None:
            self.replayed += 1
            held = [p.grad for p in parameters]
            for p in parameters:
                p.grad = None
            figures.copy_(compute(x, truth))
            for p, kept in zip(parameters, gradients, strict=True):
                if kept is not None and p.grad is not None:
                    kept.copy_(p.grad * self.spoil)
            for p, gradient in zip(parameters, held, strict=True):
                p.grad = gradient

        return replay, figures


def batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(7)
    for _ in range(count):
        yield torch.rand(SIZE, generator=generator), torch.rand(SIZE, generator=generator)


def run(model: Model, recorder: StepRecorder, count: int, kind: object = "kind") -> None:
    """Steps whose figures and gradients must be those of the step itself, while the weights change."""
    for x, truth in batches(count):
        figures = recorder.compute(kind, model.compute, x, truth)
        found = model.gain.grad
        assert found is not None
        assert model.idle.grad is None
        found = found.clone()
        model.gain.grad = None
        torch.testing.assert_close(figures, model.compute(x, truth))
        torch.testing.assert_close(found, model.gain.grad)
        with torch.no_grad():
            model.gain -= 0.1 * found


def test_recorded_steps_are_the_steps_themselves() -> None:
    model = Model()
    tape = Tape(model)
    run(model, StepRecorder(model.parameters(), tape.record), 8)
    assert tape.recorded == 1
    assert tape.replayed == 8 - WARM_STEPS


def test_after_the_checks_nothing_but_the_recording_runs() -> None:
    model = Model()
    tape = Tape(model)
    recorder = StepRecorder(model.parameters(), tape.record)
    for x, truth in batches(WARM_STEPS + CHECKED_STEPS):
        recorder.compute("kind", model.compute, x, truth)
    before = model.steps
    for x, truth in batches(3):
        recorder.compute("kind", model.compute, x, truth)
    assert model.steps - before == 3  # the tape's own


def test_each_kind_of_step_has_its_recording() -> None:
    model = Model()
    tape = Tape(model)
    recorder = StepRecorder(model.parameters(), tape.record)
    for kind in ("small", "large", "exact", "small"):
        run(model, recorder, 5, kind)
    assert tape.recorded == 4, "two are kept; the first had to make room"


def test_figures_of_a_step_outlive_the_next_one() -> None:
    model = Model()
    recorder = StepRecorder(model.parameters(), Tape(model).record)
    kept = [(recorder.compute("kind", model.compute, x, truth), x, truth) for x, truth in batches(8)]
    for figures, x, truth in kept:
        torch.testing.assert_close(figures, model.compute(x, truth))


def test_a_recording_with_other_gradients_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    model = Model()
    tape = Tape(model, spoil=1.1)
    with caplog.at_level(logging.WARNING):
        run(model, StepRecorder(model.parameters(), tape.record), 8)
    assert (tape.recorded, tape.replayed) == (1, 1)
    assert len(caplog.records) == 1
    assert "differ by 0.1" in caplog.text


def test_a_recording_that_cannot_be_made_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    model = Model()
    attempts = []

    def refuse(compute: Compute, x: Tensor, truth: Tensor) -> tuple[Callable[[], None], Tensor]:
        attempts.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    with caplog.at_level(logging.WARNING):
        run(model, StepRecorder(model.parameters(), refuse), 8)
    assert len(attempts) == 1
    assert "out of memory" in caplog.text
