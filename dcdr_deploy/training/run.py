"""Putting a run together: data source, network, loss, validation, and going on where an earlier slice stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.errors import InputError
from dcdr_deploy.models import HdrNetwork, load_checkpoint
from dcdr_deploy.training.camera import CameraModel
from dcdr_deploy.training.distributed import SINGLE, ProcessGroup
from dcdr_deploy.training.heldout import HeldOutPair, Predict, held_out_pairs, judge
from dcdr_deploy.training.liveness import liveness
from dcdr_deploy.training.loop import CHECKPOINT_NAME, LoopOptions, Progress, create_state, train
from dcdr_deploy.training.losses import WeightedLoss
from dcdr_deploy.training.panorama import PanoramaSet
from dcdr_deploy.training.photographs import PhotographSet
from dcdr_deploy.training.procedural import TRAIN_SEEDS, VALIDATION_SEEDS
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.splits import PANORAMA_SUFFIXES, PHOTOGRAPH_SUFFIXES, Entry, files_of, read_split
from dcdr_deploy.training.state import TrainingState
from dcdr_deploy.training.synthetic import PHOTOGRAPHS, SyntheticPairs, scene_pool

VALIDATION_VIEWS = 16
VALIDATION_SCENES = 16
VALIDATION_SIZE = 128
VALIDATION_SEED = 77


def default_cache() -> Path:
    """Folder for rendered scene pools: $XDG_CACHE_HOME/dcdr-deploy, or ~/.cache/dcdr-deploy."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcdr-deploy"


@dataclass(frozen=True)
class SyntheticSource:
    """The synthetic source's places and size.

    Attributes:
        panoramas: folders of panoramas, of which the lists say what belongs to which split.
        photographs: folders of photographs, likewise; none for recipes without a share of them.
        lists: tables of the split, see :mod:`dcdr_deploy.training.splits`.
        scenes: procedural scenes in the pool.
        cache: where the rendered pool is kept.
        peak: full scale of targets in units of SDR white.
    """

    panoramas: Sequence[Path]
    photographs: Sequence[Path] = ()
    lists: Sequence[Path] = ()
    scenes: int = 3000
    cache: Path = field(default_factory=lambda: default_cache())
    peak: float = 8.0

    def training_set(self, recipe: Recipe) -> SyntheticPairs:
        """Pairs of a whole run.

        Raises:
            InputError: no panoramas or photographs for training in the folders, or the recipe's camera is wrong.
        """
        photographs = None
        if self.photographs and recipe.source_shares.get(PHOTOGRAPHS):
            photographs = PhotographSet(files_of(self.photographs, PHOTOGRAPH_SUFFIXES, self._entries(), "train"))
        panoramas = PanoramaSet(self._panoramas("train"))
        seeds = range(TRAIN_SEEDS.start, TRAIN_SEEDS.start + self.scenes)
        return SyntheticPairs(panoramas, scene_pool(seeds, self.cache), self._camera(recipe), recipe, photographs)

    def validation_pairs(self) -> list[HeldOutPair]:
        """A small held-out set for the metrics file, always of the same camera."""
        panoramas = PanoramaSet(self._panoramas("validation"))
        seeds = range(VALIDATION_SEEDS.start, VALIDATION_SEEDS.start + VALIDATION_SCENES)
        camera = CameraModel(peak=self.peak)
        return held_out_pairs(panoramas, VALIDATION_VIEWS, seeds, camera, VALIDATION_SIZE, VALIDATION_SEED)

    def _camera(self, recipe: Recipe) -> CameraModel:
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in recipe.camera.items()}
        try:
            return CameraModel(peak=self.peak, **fields)
        except TypeError as error:
            raise InputError(f"the recipe's camera has fields that there are not: {sorted(fields)}") from error

    def _entries(self) -> dict[str, Entry]:
        return {name: entry for path in self.lists for name, entry in read_split(path).items()}

    def _panoramas(self, split: str) -> list[Path]:
        return files_of(self.panoramas, PANORAMA_SUFFIXES, self._entries(), split)


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
    recipe: Recipe, folder: Path, peak: float, device: str, resume: bool, start_weights: Path | None = None
) -> TrainingState:
    """A new run, or the one in ``folder``.

    A resumed run takes the recipe given here, so that its length or learning rate can be changed. A new run starts at
    the weights of ``start_weights``, any file that :func:`~dcdr_deploy.models.load_checkpoint` takes, if there is one.

    Raises:
        InputError: the folder has a run already and ``resume`` is not set, or the weights are of another network.
        CheckpointError: nothing to resume, or it does not fit, or the weights cannot be read.
    """
    checkpoint = folder / CHECKPOINT_NAME
    if checkpoint.exists() and not resume:
        raise InputError(f"{folder} holds a run already: go on with --resume, or choose another folder by --output")
    state = create_state(recipe, peak, torch.device(device))
    if resume:
        state.restore(checkpoint, torch.device(device))
    elif start_weights is not None:
        start = load_checkpoint(start_weights)
        if start.network.config != state.network.config:
            raise InputError(
                f"{start_weights} holds another network than preset {recipe.preset}; --preset names its own, if it has "
                "one"
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
    listen: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    group: ProcessGroup = SINGLE,
) -> bool:
    """Train until the recipe ends, time is up or ``stop``; see :func:`dcdr_deploy.training.loop.train`.

    ``files`` are the weights of perceptual losses, see :class:`~dcdr_deploy.training.losses.WeightedLoss`.
    """
    loss = WeightedLoss(state.recipe.losses, files, state.peak).to(options.device)
    return train(state, data, loss, folder, options, validate, listen, stop, group)
