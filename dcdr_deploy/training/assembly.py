"""Putting a run together: data source, network, loss, validation, and going on where an earlier slice stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.errors import InputError
from dcdr_deploy.models import HdrNetwork, LoadedModel
from dcdr_deploy.system.progress import Listener, silent
from dcdr_deploy.training.asked import CHECKPOINT_NAME, refuse_second_run
from dcdr_deploy.training.distributed import SINGLE, ProcessGroup
from dcdr_deploy.training.heldout import HeldOutPair, Predict, judge
from dcdr_deploy.training.liveness import liveness
from dcdr_deploy.training.loop import LoopOptions, create_state, train
from dcdr_deploy.training.losses import WeightedLoss
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.state import TrainingState


def predictor(network: HdrNetwork) -> Predict:
    """Whole-picture inference by a network in evaluation mode, for :func:`judge`."""

    def predict(ldr: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        device = next(network.parameters()).device
        x = torch.from_numpy(np.ascontiguousarray(ldr.transpose(2, 0, 1)[None])).to(device)
        with torch.no_grad():
            return network(x)[0].cpu().numpy().transpose(1, 2, 0)

    return predict


def validator(pairs: list[HeldOutPair], peak: float) -> Callable[[HdrNetwork], dict[str, float]]:
    """A validation function for the loop: gains over the baseline, and whether the restoration net lives."""
    return lambda network: judge(pairs, predictor(network), peak).summary() | liveness(network, pairs)


def open_run(
    recipe: Recipe, folder: Path, peak: float, device: str, resume: bool, start: LoadedModel | None = None
) -> TrainingState:
    """A new run, or the one in ``folder``.

    A resumed run takes the recipe given here, so that its length or learning rate can be changed. A new run starts at
    the weights of ``start``, if there is one.

    Raises:
        InputError: the folder has a run already and ``resume`` is not set, or the weights are of another network
            or peak.
        CheckpointError: nothing to resume, or it does not fit.
    """
    checkpoint = folder / CHECKPOINT_NAME
    if not resume:
        refuse_second_run(folder)
    state = create_state(recipe, peak, torch.device(device))
    if resume:
        state.restore(checkpoint, torch.device(device))
    elif start is not None:
        if not state.can_start_at(start.network):
            raise InputError(
                f"{start.source} holds another network than preset {recipe.preset}; `preset` names its own, if it has "
                "one"
            )
        if start.has_metadata and start.metadata.peak != peak:
            raise InputError(
                f"{start.source} gives light with a peak of {start.metadata.peak:g}, not {peak:g}: leave `peak` out "
                "to go on with it"
            )
        state.start_at(start)
    return state


def run_training(
    state: TrainingState,
    data: Dataset[tuple[Tensor, Tensor]],
    folder: Path,
    options: LoopOptions,
    files: Mapping[str, Path] = MappingProxyType({}),
    validate: Callable[[HdrNetwork], dict[str, float]] | None = None,
    listener: Listener = silent,
    stop: Callable[[], bool] = lambda: False,
    group: ProcessGroup = SINGLE,
) -> bool:
    """Train until the recipe ends, time is up or ``stop``; see :func:`dcdr_deploy.training.loop.train`.

    ``files`` are the weights of perceptual losses, see :class:`~dcdr_deploy.training.losses.WeightedLoss`.
    """
    loss = WeightedLoss(state.recipe.losses, files, state.peak, state.network.encoding).to(options.device)
    return train(state, data, loss, folder, options, validate, listener, stop, group)
