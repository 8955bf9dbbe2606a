"""Gradients of training steps recorded as CUDA graphs: queued by one call instead of some two thousand.

Queueing the small kernels of a step takes a processor longer than a large GPU takes to compute them. A graph queues
them all at once, and reads the batch from memory of its own. The optimiser is not recorded: it is a handful of fused
kernels, and its rates change from step to step.

Gradients are asked for by :func:`torch.autograd.grad`. A backward pass that adds to ``parameter.grad`` goes through
nodes that remember the stream they were made on, and a recording that meets another stream fails.
"""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dcdr_deploy.system.faults import one_line

STEPS_BEFORE = 3
"""Steps of a phase that are taken before it is recorded: they compile kernels and choose algorithms."""

TOLERANCE = 0.05
"""Relative difference of recorded gradients from those of the same batch without recording. Sums by atomic additions in
BF16 differ by far less, a graph that reads the wrong memory by far more."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Computed:
    """What a step computes before the optimiser.

    Attributes:
        figures: loss and mean squared error after the mu-law, (2,).
        gradients: one for each parameter asked for, laid out like it; ``None`` where the loss does not depend on it.
    """

    figures: Tensor
    gradients: Sequence[Tensor | None]


Compute = Callable[[Tensor, Tensor], Computed]
"""Queues a step for a batch, SDR and truth."""


class Recording(Protocol):
    """A recorded computation, replayed with other batches of the same shape."""

    def __call__(self, x: Tensor, truth: Tensor) -> Computed:
        """Queue it; what it gives is overwritten by the next call."""


class GraphRecording:
    """A CUDA graph of ``compute``, made on the current stream, which must not be the default one.

    Raises:
        RuntimeError: (from torch) something in it cannot be recorded.
    """

    def __init__(self, compute: Compute, x: Tensor, truth: Tensor) -> None:
        self.x, self.truth = x.clone(), truth.clone()
        self.graph = torch.cuda.CUDAGraph()
        # Other threads, as the one that pins the next batches, may go on using the GPU meanwhile.
        with torch.cuda.graph(self.graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
            self.result = compute(self.x, self.truth)

    def __call__(self, x: Tensor, truth: Tensor) -> Computed:
        """Queue it for a batch; the result is overwritten by the next call."""
        self.x.copy_(x)
        self.truth.copy_(truth)
        self.graph.replay()
        return self.result


class StepRecorder:
    """Computes steps, recorded where that works and one by one where it does not.

    Args:
        record: makes a recording of a computation for a batch.
    """

    def __init__(self, record: Callable[[Compute, Tensor, Tensor], Recording] = GraphRecording) -> None:
        self.record = record
        self.recordings: dict[Hashable, Recording] = {}
        self.taken: dict[Hashable, int] = {}
        self.works = True

    def __call__(self, phase: Hashable, compute: Compute, x: Tensor, truth: Tensor) -> Computed:
        """Compute a step.

        Args:
            phase: what a recording holds for, beside the batch's shape: whatever ``compute`` does differently.
            compute: the same function of the batch for the same phase.
            x: SDR (N, 3, H, W).
            truth: linear HDR (N, 3, H, W).

        Returns:
            What the next call may overwrite.
        """
        phase = (phase, tuple(x.shape))
        if phase in self.recordings:
            return self.recordings[phase](x, truth)
        computed = compute(x, truth)
        self.taken[phase] = self.taken.get(phase, 0) + 1
        if self.works and self.taken[phase] >= STEPS_BEFORE:
            self._record(phase, compute, x, truth, computed)
        return computed

    def _record(self, phase: Hashable, compute: Compute, x: Tensor, truth: Tensor, expected: Computed) -> None:
        """Keep a recording if it computes what is expected of a batch."""
        gc.collect()  # what is left of earlier passes would keep its memory
        try:
            recording = self.record(compute, x, truth)
            difference = largest_difference(recording(x, truth), expected)
        except RuntimeError as error:
            self.works = False
            _log.warning("steps are not recorded, which is slower: %s", one_line(error))
            return
        if difference <= TOLERANCE:
            self.recordings[phase] = recording
        else:
            self.works = False
            _log.warning("steps are not recorded: a replay's gradients differ by %.2g", difference)


def largest_difference(found: Computed, expected: Computed) -> float:
    """Relative difference of loss and of all gradients together.

    Infinite where one lacks what the other has, and where a value is not finite.
    """
    if [each is None for each in found.gradients] != [each is None for each in expected.gradients]:
        return float("inf")
    pairs = [
        (a, b) for a, b in zip(found.gradients, expected.gradients, strict=True) if a is not None and b is not None
    ]
    apart = sum(float((a - b).double().square().sum()) for a, b in pairs)
    size = sum(float(b.double().square().sum()) for _, b in pairs)
    loss, right = float(found.figures[0]), float(expected.figures[0])
    differences = ((apart / max(size, 1e-30)) ** 0.5, abs(loss - right) / max(abs(right), 1e-3))
    # A maximum alone would pass over NaN, which is not larger than anything.
    return float("inf") if any(map(math.isnan, differences)) else max(differences)


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Work on a stream of its own on a GPU: the default one cannot be recorded, and autograd remembers streams."""
    if device.type != "cuda":
        yield
        return
    default, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    stream.wait_stream(default)
    with torch.cuda.stream(stream):
        yield
    default.wait_stream(stream)
