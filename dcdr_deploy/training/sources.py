"""Where training pairs come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dcdr_deploy.errors import InputError
from dcdr_deploy.scenes.camera import CameraModel
from dcdr_deploy.scenes.panorama import PanoramaSet
from dcdr_deploy.scenes.procedural import TRAIN_SEEDS, VALIDATION_SEEDS
from dcdr_deploy.system.files import cache_folder
from dcdr_deploy.training.heldout import HeldOutPair, held_out_pairs
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.synthetic import SyntheticPairs, scene_pool

VALIDATION_VIEWS = 16
VALIDATION_SCENES = 16
VALIDATION_SIZE = 128
VALIDATION_SEED = 77


@dataclass(frozen=True)
class SyntheticSource:
    """The synthetic source's places and size.

    Attributes:
        panoramas: folder with ``train`` and ``validation`` below it.
        scenes: procedural scenes in the pool.
        cache: where the rendered pool is kept.
        camera: camera model for training and validation.
    """

    panoramas: Path
    scenes: int = 3000
    cache: Path = field(default_factory=lambda: cache_folder())
    camera: CameraModel = field(default_factory=CameraModel)

    def training_set(self, recipe: Recipe) -> SyntheticPairs:
        """Pairs of a whole run.

        Raises:
            InputError: no panoramas in the folder.
        """
        panoramas = PanoramaSet(self._split("train"))
        seeds = range(TRAIN_SEEDS.start, TRAIN_SEEDS.start + self.scenes)
        pool = scene_pool(seeds, self.cache)
        length = recipe.steps * recipe.batch
        shares = recipe.flat_share, recipe.source_shares
        return SyntheticPairs(panoramas, pool, self.camera, recipe.patch, recipe.seed, length, *shares)

    def validation_pairs(self) -> list[HeldOutPair]:
        """A small held-out set for the metrics file."""
        panoramas = PanoramaSet(self._split("validation"))
        seeds = range(VALIDATION_SEEDS.start, VALIDATION_SEEDS.start + VALIDATION_SCENES)
        return held_out_pairs(panoramas, VALIDATION_VIEWS, seeds, self.camera, VALIDATION_SIZE, VALIDATION_SEED)

    def _split(self, name: str) -> Path:
        folder = self.panoramas / name
        if not folder.is_dir():
            raise InputError(
                f"{self.panoramas} holds no folder '{name}' with panoramas; see data/hdri in the repository"
            )
        return folder
