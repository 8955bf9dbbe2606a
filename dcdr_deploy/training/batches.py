"""Feeding the steps: which samples make up a batch, prepared by worker processes ahead of the step that takes them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from dcdr_deploy.errors import DcdrError
from dcdr_deploy.system.children import killed_worker, safe_path
from dcdr_deploy.training.distributed import SINGLE, ProcessGroup
from dcdr_deploy.training.recipe import Recipe

MOST_WORKERS = 16
BATCHES_AHEAD = 2
"""Batches that each worker keeps ready."""

_LOADER_LOST = "DataLoader worker (pid"
"""How torch's words on a worker begin that has ended by itself."""

_SIGNALS_AFTER = 1.0
"""Seconds within which the signal that a worker has ended comes after its connections have closed."""

_FEWER = "go on with `resume` and fewer `workers`"

PR_SET_PDEATHSIG = 1
"""Option of Linux's prctl: the signal that a process gets when its parent ends (linux/prctl.h)."""

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class BatchIndices:
    """The sample numbers of one process's share of every batch left in a run.

    Step s takes the samples from s x the recipe's largest batch on, whatever the number of processes, so that a run can
    go on with another number of them. Each process takes a span of its own.

    Attributes:
        recipe: says the steps of the whole run and the batch of each.
        first_step: where the run goes on.
        group: this process and the others.
    """

    recipe: Recipe
    first_step: int
    group: ProcessGroup = SINGLE

    def __len__(self) -> int:
        return max(0, self.recipe.steps - self.first_step)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, self.recipe.steps):
            share = self.group.share_of(self.recipe.batch_at(step))
            first = step * self.recipe.largest_batch + self.group.rank * share
            yield list(range(first, first + share))


def load_batches(
    data: Dataset[Pair],
    recipe: Recipe,
    first_step: int,
    workers: int,
    device: torch.device,
    group: ProcessGroup = SINGLE,
) -> Iterator[Pair]:
    """This process's share of each batch from step ``first_step`` on, channels-last on the device.

    Workers end with the iterator, and with this process however that ends.

    Args:
        data: pairs by sample number.
        recipe: says batches and steps.
        first_step: steps done already.
        workers: processes that prepare batches; 0 prepares each between two steps.
        device: where the network is.
        group: this process and the others.

    Yields:
        SDR and truth, each (batch / processes, 3, patch, patch).

    Raises:
        DcdrError: what the data source raises, also where a worker met it.
        EngineError: a worker was killed; or RuntimeError, of which :func:`killed_loaders_told` makes one.
    """
    # Forked workers share the data source's memory; other ways would send each a copy of the scene pool.
    context = "fork" if workers and sys.platform == "linux" else None
    loader: DataLoader[Pair] = DataLoader(
        _Samples(data),
        batch_sampler=BatchIndices(recipe, first_step, group),
        num_workers=workers,
        collate_fn=_collate,
        prefetch_factor=BATCHES_AHEAD if workers else None,
        pin_memory=device.type == "cuda",
        worker_init_fn=partial(_begin_worker, os.getpid()),
        multiprocessing_context=context,
    )
    try:
        for batch in _start(loader):
            if isinstance(batch, DcdrError):
                raise batch
            x, truth = batch
            yield (
                x.to(device, memory_format=torch.channels_last, non_blocking=True),
                truth.to(device, memory_format=torch.channels_last, non_blocking=True),
            )
    except (EOFError, ConnectionError) as error:  # met in taking what a killed worker had handed over
        if not workers:
            raise
        time.sleep(_SIGNALS_AFTER)  # in which torch's handler tells of it, rather than wherever the run is by then
        raise killed_worker(_FEWER) from error


@contextmanager
def killed_loaders_told() -> Iterator[None]:
    """Say that a worker of :func:`load_batches` was killed, in the block that takes the batches.

    torch tells of it by a signal's handler, which runs wherever the block is: in the midst of a step, too.

    Raises:
        EngineError: one was.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(_LOADER_LOST):
            raise
        raise killed_worker(_FEWER) from error


class _Samples(Dataset[Pair]):
    """A data source that hands over a user's mistake as a value: raised in a worker, it would come as a traceback."""

    def __init__(self, data: Dataset[Pair]) -> None:
        self.data = data

    def __getitems__(self, indices: list[int]) -> list[Pair] | DcdrError:
        try:
            return [self.data[index] for index in indices]
        except DcdrError as error:
            return error


def _collate(samples: list[Pair] | DcdrError) -> list[Tensor] | DcdrError:
    return samples if isinstance(samples, DcdrError) else default_collate(samples)


def _start(loader: DataLoader[Pair]) -> Iterator[list[Tensor] | DcdrError]:
    """Start a loader's workers while OpenCV has no threads: a forked copy of its thread pool waits for ever.

    torch's own threads need no such care: its loader sets each worker to one thread before any work.
    """
    if not loader.num_workers:
        return iter(loader)
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with safe_path():
            return iter(loader)
    finally:
        cv2.setNumThreads(threads)


def _begin_worker(run: int, number: int) -> None:
    """Make a worker's life depend on its run, process number ``run``, alone.

    Signals of terminals and launchers reach whole process groups. The run answers them itself, after its step, and then
    ends its workers; a run that is killed takes its workers with it.
    """
    import cv2

    cv2.setNumThreads(1)  # says nothing new to a forked worker, but others start with as many as there are cores
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    else:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # torch's workers look for their parent between two batches only.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != run:  # it was killed before that call
            os._exit(1)


def automatic_workers(device: torch.device, group: ProcessGroup = SINGLE) -> int:
    """Workers for a process: enough to keep a GPU busy, none on a CPU, whose cores compute the steps."""
    if device.type == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // group.local_size - 1))
