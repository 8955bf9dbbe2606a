"""A small run that one process takes alone, or several together: ``torchrun ... share_run.py FOLDER LAST_STEP``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.models import DCDRUNetConfig
from dcdr_deploy.training.asked import CHECKPOINT_NAME
from dcdr_deploy.training.distributed import join_processes
from dcdr_deploy.training.loop import LoopOptions, create_state, train
from dcdr_deploy.training.losses import WeightedLoss
from dcdr_deploy.training.recipe import Recipe

NETWORK = DCDRUNetConfig(width=8, condition_width=4, sft_hidden=2, tone_width=12, blocks=(1, 1, 1))
RECIPE = Recipe(
    steps=10,
    batch=4,
    patch=16,
    losses={"tanh_l1": 1.0, "mu_mse": 0.5, "mu_log_mse": 0.01, "clipped_l1": 0.5, "clipped_uv": 0.5},
    offsets_from=0.3,
    average=0.9,
    gradient_clip=1.0,
)


class Squares(Dataset[tuple[Tensor, Tensor]]):
    """Targets that a network can learn; of two processes one has nearly all of a batch's clipped pixels."""

    def __len__(self) -> int:
        return RECIPE.steps * RECIPE.batch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        light = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(index))
        light *= 1.5 if index % RECIPE.batch < RECIPE.batch // 2 else 0.999
        return light.clamp(max=1), light**2 / 8


def take_steps(folder: Path, last_step: int = RECIPE.steps) -> None:
    """Begin or go on with the run in ``folder``; the process of the highest rank asks to stop after ``last_step``."""
    with join_processes() as group:
        device = torch.device("cpu")
        state = create_state(RECIPE, 8.0, device, NETWORK)
        if (folder / CHECKPOINT_NAME).exists():
            state.restore(folder / CHECKPOINT_NAME, device)
        train(
            state,
            Squares(),
            WeightedLoss(RECIPE.losses),
            folder,
            LoopOptions(log_every=1),
            stop=lambda: group.rank == group.size - 1 and state.step >= last_step,
            group=group,
        )


if __name__ == "__main__":
    take_steps(Path(sys.argv[1]), int(sys.argv[2]))
