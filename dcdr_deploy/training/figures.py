"""The figures of steps, brought from the device without making it wait."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

STEPS_BEHIND = 2
"""Steps that a GPU may still be busy with when the next one is queued: enough to keep it fed, and few enough that time
limits, interrupts and progress are about now."""


class StepFigures:
    """Loss and mean squared error of the steps since the last :meth:`clear`.

    A GPU computes behind the program that feeds it. Reading a number of the step just queued would wait for it, and the
    GPU would then wait for the next step to be queued; so numbers are read :data:`STEPS_BEHIND` steps later.
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[Tensor, torch.cuda.Event]] = deque()
        self._known: list[tuple[float, float]] = []
        self._last = (math.nan, math.nan)

    def add(self, figures: Tensor) -> None:
        """Take in a step's loss and mean squared error, (2,) on its device."""
        if figures.device.type != "cuda":
            self._known.append((float(figures[0]), float(figures[1])))
            return
        copy = figures.to("cpu", non_blocking=True)
        done = torch.cuda.Event()
        done.record()
        self._pending.append((copy, done))
        # The first one is waited for, so that there is something to tell from the start.
        behind = 0 if math.isnan(self._last[0]) and not self._known else STEPS_BEHIND
        self._read(behind)

    def wait(self) -> None:
        """Wait for all steps taken in."""
        self._read(0)

    def means(self) -> tuple[float, float]:
        """Mean loss and mean squared error over the steps known since :meth:`clear`; before one is, what they were."""
        if self._known:
            count = len(self._known)
            losses, errors = zip(*self._known, strict=True)
            self._last = (sum(losses) / count, torch.tensor(errors).mean().item())
        return self._last

    def known(self) -> list[tuple[float, float]]:
        """Loss and mean squared error of each step known since :meth:`clear`: what a checkpoint keeps of them."""
        return list(self._known)

    def take_over(self, known: Sequence[tuple[float, float]]) -> None:
        """Go on with the steps of an interrupted run, so that means do not depend on where it was interrupted."""
        self._known = list(known)

    def clear(self) -> None:
        """Begin a new span; steps not yet known are left to it."""
        self._known = []

    def _read(self, behind: int) -> None:
        while len(self._pending) > behind:
            copy, done = self._pending.popleft()
            done.synchronize()
            self._known.append((float(copy[0]), float(copy[1])))
