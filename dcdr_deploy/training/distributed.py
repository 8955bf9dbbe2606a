"""Several processes that train one network, each on a share of every batch, as started by torch's launcher.

``torchrun`` starts the processes and tells each its rank by environment variables. All of them hold the same weights
and take the same steps: gradients are averaged over the processes before the optimiser sees them. They are averaged
here, by one reduction of one flat buffer, and not by DistributedDataParallel, because recipes freeze and thaw parts of
the network between steps, and the buffer is small beside the work of a step. What concerns the run as a whole (files,
progress, validation, the clock) is the affair of the first process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from dcdr_deploy.errors import DcdrError, InputError

PATIENCE = timedelta(hours=2)
"""How long a process waits for another. A death is noticed at once; waiting is for the first process, which alone
renders the scene pool and validates."""

LAST_WORDS = 5.0
"""Seconds that a process without anything to say waits before it ends: the launcher ends all processes when it sees
one gone, and the one that failed first must get to say why."""

EXIT_SILENT = 2
EXIT_INTERRUPTED = 130


class ProcessLost(DcdrError):
    """Another process of the run ended before its time."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a run as one of them sees it; the default is a run of one process, which talks to nobody.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        local_rank: number of this process on its machine, which is also the number of its GPU.
        local_size: number of processes on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share_of(self, batch: int) -> int:
        """Number of a batch's patches that this process takes.

        Raises:
            InputError: the batch cannot be split evenly, which would weigh some patches more than others.
        """
        if batch % self.size:
            raise InputError(f"`batch` {batch} cannot be split over {self.size} processes: give a multiple of them")
        return batch // self.size

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, float32 on one device, by their means over all processes, which are equal to the last bit.

        Raises:
            ProcessLost: another process is gone.
        """
        if self.size == 1:
            return
        flat = _flatten(tensors)
        with _communication():
            dist.all_reduce(flat)
        _unflatten(flat / self.size, tensors)

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, float32 on one device, by those of the first process.

        Raises:
            ProcessLost: another process is gone.
        """
        if self.size == 1:
            return
        flat = _flatten(tensors)
        with _communication():
            dist.broadcast(flat, src=0)
        _unflatten(flat, tensors)

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process; all wait here for each other.

        Raises:
            ProcessLost: another process is gone.
        """
        if self.size == 1:
            return flag
        votes = torch.tensor(int(flag))  # on the CPU, so that waiting for a validation keeps no GPU busy
        with _communication():
            dist.all_reduce(votes)
        return bool(votes)

    @contextmanager
    def first_on_machine_leads(self) -> Iterator[None]:
        """Let one process on each machine pass first, to fill a cache that the others then find."""
        if self.local_rank:
            self.any(False)
        yield
        if not self.local_rank:
            self.any(False)


SINGLE = ProcessGroup()


def process_from_environment() -> ProcessGroup:
    """Which process of which group this one is, by the variables that torchrun sets; :data:`SINGLE` without them."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        return SINGLE
    rank = int(os.environ["RANK"])
    return ProcessGroup(
        rank, size, int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", size))
    )


@contextmanager
def join_processes() -> Iterator[ProcessGroup]:
    """Meet the other processes of this run, if it has any, and end with them.

    When several processes fail, or one does and the others miss it, the first to fail keeps its exception and the
    others end silently (``SystemExit``), so that a mistake is reported once.

    Raises:
        ProcessLost: another process ended and left no word, as when it was killed.
    """
    group = process_from_environment()
    if group.size == 1:
        yield group
        return
    store = _meet()
    try:
        yield group
        group.any(False)  # until the last checkpoint is written, which may still fail
    except (Exception, KeyboardInterrupt) as error:
        if not _claim(store):
            time.sleep(LAST_WORDS)
            raise SystemExit(EXIT_INTERRUPTED if isinstance(error, KeyboardInterrupt) else EXIT_SILENT) from error
        raise
    dist.destroy_process_group()


def _meet() -> dist.Store:
    # torch's optimisers import this module sooner or later, and its functions' defaults hold the group that exists at
    # that time. A group that is held outlives its end, and its threads then race with the end of the interpreter.
    import torch.distributed.nn

    gpu_backend = "nccl" if dist.is_nccl_available() else "gloo"
    backend = f"cpu:gloo,cuda:{gpu_backend}" if torch.cuda.is_available() else "gloo"
    # The store is made here because a failing process leaves its mark in it when no collective works any more.
    store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))
    dist.init_process_group(
        backend, store=dist.PrefixStore("group", store), rank=rank, world_size=size, timeout=PATIENCE
    )
    return store


def _claim(store: dist.Store) -> bool:
    """Whether this process is the first to fail."""
    try:
        return store.add("failures", 1) == 1
    except RuntimeError:
        return True  # the store went with the process that kept it: rather say it twice than never


@contextmanager
def _communication() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(
            "another process of this run ended without a word (killed, or out of memory); go on with `resume`"
        ) from error


def _flatten(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _unflatten(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for part, tensor in zip(flat.split([tensor.numel() for tensor in tensors]), tensors, strict=True):
            tensor.copy_(part.view(tensor.shape))
