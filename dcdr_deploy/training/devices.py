"""Which device a process of a training run works on."""

from __future__ import annotations

import torch

from dcdr_deploy.errors import InputError
from dcdr_deploy.system.words import number_of
from dcdr_deploy.training.distributed import SINGLE, ProcessGroup


def choose_device(name: str, group: ProcessGroup = SINGLE) -> str:
    """torch's name of a device; ``auto`` is the first GPU, or the CPU.

    Each of several processes takes the GPU of its number on its machine.

    Raises:
        InputError: no such device here.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if available else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:1") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"`device` {name}: training runs on cpu and cuda alone")
    if device.type == "cuda" and (not available or (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"no GPU for {name!r} here; see `dcdr-deploy doctor`, or train with `device` cpu")
    return name if group.size == 1 or device.type != "cuda" else _own_gpu(device, group)


def _own_gpu(device: torch.device, group: ProcessGroup) -> str:
    if device.index is not None:
        raise InputError(f"`device` {device}: each of {group.size} processes takes a GPU of its own; use `device` cuda")
    gpus = torch.cuda.device_count()
    if group.local_size > gpus:
        raise InputError(
            f"{group.local_size} processes for {number_of(gpus, 'GPU')} here: start torchrun --nproc-per-node {gpus}"
        )
    torch.cuda.set_device(group.local_rank)
    return f"cuda:{group.local_rank}"
