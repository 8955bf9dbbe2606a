"""Recording a step's work on a GPU once, and letting it run again from then on: CUDA graphs of forward and backward.

A step of this network is two thousand short kernels. Queueing them one by one takes a CPU longer than a data-centre GPU
takes to run them; a recorded graph is queued in one call. It works on fixed memory: inputs are copied into it, and
gradients appear where they were when it was recorded. What is done with the gradients is not recorded.

A recording that cannot be made, or does not give what the step itself gives, is given up with one line in the log.
"""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dcdr_deploy.system.faults import one_line

Compute = Callable[[Tensor, Tensor], Tensor]
"""Of SDR and truth: leaves gradients at the parameters, which have none before, and returns figures."""

WARM_STEPS = 2
"""Steps of a kind that run as they are before one is recorded: compilers and libraries choose what to run."""

CHECKED_STEPS = 2
"""Steps of a recording that are compared with the step itself; the second one has inputs that were not recorded."""

LARGEST_DIFFERENCE = 0.02
"""Norm of the difference of all gradients, and of the figures, relative to their norm. Sums by atomic additions differ
with every run, in BF16 by less than a thousandth."""

MOST_RECORDINGS = 2

_log = logging.getLogger(__name__)


@dataclass
class Recording:
    """What a recorded step reads and writes.

    Attributes:
        replay: queues the recorded work.
        x: SDR that it reads.
        truth: HDR that it reads.
        figures: what it returns.
        gradients: where it leaves the parameters' gradients; ``None`` for those that get none.
        unchecked: steps still to be compared.
    """

    replay: Callable[[], None]
    x: Tensor
    truth: Tensor
    figures: Tensor
    gradients: list[Tensor | None]
    unchecked: int = CHECKED_STEPS


Record = Callable[[Compute, Tensor, Tensor], tuple[Callable[[], None], Tensor]]
"""Of a computation and its fixed inputs: what repeats it, and the figures that it leaves each time."""


def record_cuda_graph(compute: Compute, x: Tensor, truth: Tensor) -> tuple[Callable[[], None], Tensor]:
    """Record a computation as a CUDA graph; nothing runs yet."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    gc.collect()  # what is left of steps before must not take part: autograd's nodes keep the stream they were made on
    try:
        # Other threads go on, such as the one that pins batches.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            figures = compute(x, truth)
    finally:
        torch.cuda.set_stream(stream)  # a recording that fails leaves its own stream behind
    return graph.replay, figures


class StepRecorder:
    """Computes steps, by recordings where that can be done.

    Args:
        parameters: whose gradients a step computes.
        record: makes a recording.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], record: Record = record_cuda_graph) -> None:
        self._parameters = list(parameters)
        self._record = record
        self._recordings: dict[Hashable, Recording] = {}
        self._seen: Counter[Hashable] = Counter()
        self._given_up = False

    def compute(self, kind: Hashable, compute: Compute, x: Tensor, truth: Tensor) -> Tensor:
        """Compute a step's gradients and return its figures.

        Args:
            kind: steps of one kind differ in their inputs' values and in the weights only.
            compute: what a step of this kind does.
            x: SDR.
            truth: HDR.
        """
        recording = self._recordings.get(kind)
        if recording is not None and not recording.unchecked:
            return self._repeat(recording, x, truth)
        self._set([None] * len(self._parameters))
        figures = compute(x, truth)
        self._seen[kind] += 1
        if self._seen[kind] > WARM_STEPS and not self._given_up:
            self._try(kind, compute, x, truth, figures)
        return figures

    def _try(self, kind: Hashable, compute: Compute, x: Tensor, truth: Tensor, figures: Tensor) -> None:
        """Make or check a recording by a step that was computed already, whose gradients are left as they are."""
        expected = [parameter.grad for parameter in self._parameters]
        try:
            recording = self._recordings.get(kind) or self._make(kind, compute, x, truth)
            found = self._repeat(recording, x, truth)
            difference = max(_difference(recording.gradients, expected), _difference([found], [figures]))
            if not difference < LARGEST_DIFFERENCE:
                raise RuntimeError(f"its gradients differ by {difference:.2g}")
            recording.unchecked -= 1
        except RuntimeError as error:
            _log.warning("steps are queued kernel by kernel, their recording fails: %s", one_line(error))
            self._given_up = True
            self._recordings.clear()
        finally:
            self._set(expected)

    def _make(self, kind: Hashable, compute: Compute, x: Tensor, truth: Tensor) -> Recording:
        while len(self._recordings) >= MOST_RECORDINGS:  # each holds the memory of a step
            del self._recordings[next(iter(self._recordings))]
        self._set([None] * len(self._parameters))
        x, truth = x.clone(), truth.clone()
        replay, figures = self._record(compute, x, truth)
        gradients = [parameter.grad for parameter in self._parameters]
        self._recordings[kind] = Recording(replay, x, truth, figures, gradients)
        return self._recordings[kind]

    def _repeat(self, recording: Recording, x: Tensor, truth: Tensor) -> Tensor:
        recording.x.copy_(x, non_blocking=True)
        recording.truth.copy_(truth, non_blocking=True)
        recording.replay()
        self._set(recording.gradients)
        return recording.figures.clone()

    def _set(self, gradients: list[Tensor | None]) -> None:
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient


def _difference(found: list[Tensor | None], expected: list[Tensor | None]) -> float:
    """Norm of the difference of two lists of tensors relative to that of the second; infinite if they do not match."""
    if [each is None for each in found] != [each is None for each in expected]:
        return float("inf")
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if a is not None and b is not None]
    apart = torch.stack([(a - b).float().square().sum() for a, b in pairs]).sum().sqrt()
    return float(apart / torch.stack([b.float().square().sum() for _, b in pairs]).sum().sqrt().clamp(min=1e-20))
