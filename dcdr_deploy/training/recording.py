"""Whole training steps as CUDA graphs: recorded once for each patch size, then replayed by one call.

A step of this network is some two thousand small kernels, and queueing them takes a processor longer than a large GPU
takes to compute them. A graph queues them all at once. What changes from step to step lies in memory that the graph
reads: the batch, and the learning rates of Adam (``capturable``). The first steps of each patch size, and of each phase
of the recipe, are taken without recording: they allocate Adam's moments and compile kernels, which cannot be recorded.
"""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from dcdr_deploy.system.faults import one_line
from dcdr_deploy.training.distributed import ProcessGroup
from dcdr_deploy.training.state import TrainingState

STEPS_BEFORE = 3
"""Steps of a phase that are taken before it is recorded."""

TOLERANCE = 0.05
"""Relative difference of the recorded step's loss from that of the same weights and batch without recording. bf16 and
atomic sums differ by far less, a graph that reads the wrong memory by far more."""

_log = logging.getLogger(__name__)

Compute = Callable[[Tensor, Tensor], Tensor]
"""Queues a step for a batch, SDR and truth, and gives its figures, (2,)."""


def can_record(state: TrainingState, device: torch.device, group: ProcessGroup) -> bool:
    """Whether a run's steps can be recorded: on one GPU, and without a loss scaler, which asks the processor."""
    return device.type == "cuda" and group.size == 1 and state.scaler is None


@dataclass
class _Recorded:
    """A graph and the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    x: Tensor
    truth: Tensor
    figures: Tensor

    def replay(self, x: Tensor, truth: Tensor) -> Tensor:
        self.x.copy_(x)
        self.truth.copy_(truth)
        self.graph.replay()
        return self.figures


class StepRecorder:
    """Takes a run's steps, recorded where that works and as they come where it does not.

    Args:
        state: the run.
        prepare: sets what depends on the step's number alone.
        compute: queues the step for a batch.
        finish: counts the step.
        loss: loss of a batch with the weights as they are, without a step.
    """

    def __init__(
        self,
        state: TrainingState,
        prepare: Callable[[], None],
        compute: Compute,
        finish: Callable[[], None],
        loss: Callable[[Tensor, Tensor], float],
    ) -> None:
        self.state, self.prepare, self.compute, self.finish, self.loss = state, prepare, compute, finish, loss
        self.recorded: dict[tuple[object, ...], _Recorded] = {}
        self.taken: dict[tuple[object, ...], int] = {}
        self.works = True
        # Everything before a recording runs on the stream that records: autograd remembers streams.
        self.stream = torch.cuda.Stream()

    def step(self, x: Tensor, truth: Tensor) -> Tensor:
        """One step; its figures, (2,), which the next step may overwrite."""
        self.prepare()
        phase = self._phase(x)
        with _on(self.stream):
            if phase not in self.recorded and self.works and self.taken.get(phase, 0) >= STEPS_BEFORE:
                self._record(phase, x, truth)
            if phase in self.recorded:
                figures = self.recorded[phase].replay(x, truth).clone()
            else:
                figures = self.compute(x, truth)
        self.taken[phase] = self.taken.get(phase, 0) + 1
        self.finish()
        return figures

    def _phase(self, x: Tensor) -> tuple[object, ...]:
        """What a recording holds for: the batch's shape, and what the recipe does at this step."""
        recipe, step = self.state.recipe, self.state.step
        flags = recipe.offsets_frozen(step), recipe.tone_frozen(step), recipe.full_precision(step)
        return (tuple(x.shape), *flags, frozenset(recipe.active_losses(step)))

    def _record(self, phase: tuple[object, ...], x: Tensor, truth: Tensor) -> None:
        """Record a step, and check its loss by replaying it once with the weights put back afterwards."""
        kept = [tensor.detach().clone() for tensor in self._changed()]
        expected = self.loss(x, truth)
        try:
            static_x, static_truth = x.clone(), truth.clone()
            self.state.optimiser.zero_grad(set_to_none=True)
            gc.collect()  # what is left of earlier passes would keep their stream in the recording
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            # Other threads, as the one that pins the next batches, may go on using the GPU meanwhile.
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                figures = self.compute(static_x, static_truth)
            recorded = _Recorded(graph, static_x, static_truth, figures)
            found = float(recorded.replay(x, truth)[0])
        except RuntimeError as error:
            self.works = False
            _log.warning("steps are not recorded, which is slower: %s", one_line(error))
        else:
            if math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE / 10):
                self.recorded[phase] = recorded
            else:
                self.works = False
                _log.warning("steps are not recorded: a replay's loss is %g where %g is right", found, expected)
        with torch.no_grad():
            for tensor, value in zip(self._changed(), kept, strict=True):
                tensor.copy_(value)

    def _changed(self) -> list[Tensor]:
        """What a step changes: weights, and Adam's moments and counts."""
        held = self.state.optimiser.state.values()
        moments = [value for each in held for value in each.values() if isinstance(value, Tensor)]
        return [*self.state.network.state_dict().values(), *moments]


@contextmanager
def _on(stream: torch.cuda.Stream) -> Iterator[None]:
    """Queue on a stream, between what the current one has before and what it gets afterwards."""
    outer = torch.cuda.current_stream()
    stream.wait_stream(outer)
    with torch.cuda.stream(stream):
        yield
    outer.wait_stream(stream)
