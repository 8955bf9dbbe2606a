"""Feeding the steps: which samples make up a batch, prepared by worker processes ahead of the step that takes them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dcdr_deploy.training.distributed import SINGLE, ProcessGroup
from dcdr_deploy.training.recipe import Recipe

MOST_WORKERS = 8
BATCHES_AHEAD = 2
"""Batches that each worker keeps ready."""


@dataclass(frozen=True)
class BatchIndices:
    """The sample numbers of one process's share of every batch left in a run.

    Step s takes the samples s x batch and following, whatever the number of processes, so that a run can go on with
    another number of them. Each process takes a span of its own.

    Attributes:
        batch: samples a step, over all processes.
        first_step: where the run goes on.
        steps: steps of the whole run.
        group: this process and the others.
    """

    batch: int
    first_step: int
    steps: int
    group: ProcessGroup = SINGLE

    def __len__(self) -> int:
        return max(0, self.steps - self.first_step)

    def __iter__(self) -> Iterator[list[int]]:
        share = self.group.share_of(self.batch)
        for step in range(self.first_step, self.steps):
            first = step * self.batch + self.group.rank * share
            yield list(range(first, first + share))


def load_batches(
    data: Dataset[tuple[Tensor, Tensor]],
    recipe: Recipe,
    first_step: int,
    workers: int,
    device: torch.device,
    group: ProcessGroup = SINGLE,
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's share of each batch from step ``first_step`` on, channels-last on the device.

    Args:
        data: pairs by sample number.
        recipe: says batch and steps.
        first_step: steps done already.
        workers: processes that prepare batches; 0 prepares each between two steps.
        device: where the network is.
        group: this process and the others.

    Yields:
        SDR and truth, each (batch / processes, 3, patch, patch).
    """
    # Forked workers share the data source's memory; other ways would send each a copy of the scene pool.
    context = "fork" if workers and sys.platform == "linux" else None
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        data,
        batch_sampler=BatchIndices(recipe.batch, first_step, recipe.steps, group),
        num_workers=workers,
        prefetch_factor=BATCHES_AHEAD if workers else None,
        pin_memory=device.type == "cuda",
        worker_init_fn=_begin_worker,
        multiprocessing_context=context,
    )
    for x, truth in loader:
        yield (
            x.to(device, memory_format=torch.channels_last, non_blocking=True),
            truth.to(device, memory_format=torch.channels_last, non_blocking=True),
        )


def automatic_workers(device: torch.device, group: ProcessGroup = SINGLE) -> int:
    """Workers for a process: enough to keep a GPU busy, none on a CPU, whose cores compute the steps."""
    if device.type == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // group.local_size - 1))


def _begin_worker(number: int) -> None:
    import cv2

    # Terminals and torch's launcher signal all processes; the run itself ends after its step and then ends its workers.
    for stopping in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stopping, signal.SIG_IGN)
    cv2.setNumThreads(1)
