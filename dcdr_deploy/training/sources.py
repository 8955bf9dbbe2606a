"""Where training pairs come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dcdr_deploy.errors import InputError
from dcdr_deploy.scenes.camera import CameraModel
from dcdr_deploy.scenes.panorama import PanoramaSet
from dcdr_deploy.scenes.photographs import PhotographSet
from dcdr_deploy.scenes.procedural import TRAIN_SEEDS, VALIDATION_SEEDS
from dcdr_deploy.scenes.splits import PANORAMA_SUFFIXES, PHOTOGRAPH_SUFFIXES, files_for
from dcdr_deploy.system.files import cache_folder
from dcdr_deploy.training.heldout import HeldOutPair, held_out_pairs
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.synthetic import PHOTOGRAPHS, SyntheticPairs, scene_pool

VALIDATION_VIEWS = 16
VALIDATION_SCENES = 16
VALIDATION_SIZE = 128
VALIDATION_SEED = 77


@dataclass(frozen=True)
class SyntheticSource:
    """The synthetic source's places and size.

    Attributes:
        panoramas: folders of panoramas, of which the lists say what belongs to which split.
        photographs: folders of photographs, likewise; none for recipes without a share of them.
        lists: tables of the split, see :mod:`dcdr_deploy.scenes.splits`.
        scenes: procedural scenes in the pool.
        cache: where the rendered pool is kept.
        peak: full scale of targets in units of SDR white.
    """

    panoramas: Sequence[Path]
    photographs: Sequence[Path] = ()
    lists: Sequence[Path] = ()
    scenes: int = 3000
    cache: Path = field(default_factory=lambda: cache_folder())
    peak: float = 8.0

    def training_set(self, recipe: Recipe) -> SyntheticPairs:
        """Pairs of a whole run.

        Raises:
            InputError: no panoramas or photographs for training in the folders, or the recipe's camera is wrong.
        """
        photographs = None
        if self.photographs and recipe.source_shares.get(PHOTOGRAPHS):
            photographs = PhotographSet(files_for(self.photographs, PHOTOGRAPH_SUFFIXES, self.lists, "train"))
        panoramas = PanoramaSet(files_for(self.panoramas, PANORAMA_SUFFIXES, self.lists, "train"))
        seeds = range(TRAIN_SEEDS.start, TRAIN_SEEDS.start + self.scenes)
        return SyntheticPairs(panoramas, scene_pool(seeds, self.cache), self._camera(recipe), recipe, photographs)

    def validation_pairs(self) -> list[HeldOutPair]:
        """A small held-out set for the metrics file, always of the same camera.

        Raises:
            InputError: no panoramas for validation in the folders.
        """
        panoramas = PanoramaSet(files_for(self.panoramas, PANORAMA_SUFFIXES, self.lists, "validation"))
        seeds = range(VALIDATION_SEEDS.start, VALIDATION_SEEDS.start + VALIDATION_SCENES)
        camera = CameraModel(peak=self.peak)
        return held_out_pairs(panoramas, VALIDATION_VIEWS, seeds, camera, VALIDATION_SIZE, VALIDATION_SEED)

    def _camera(self, recipe: Recipe) -> CameraModel:
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in recipe.camera.items()
        }
        unknown = values.keys() - ({each.name for each in fields(CameraModel)} - {"peak"})
        if unknown:
            raise InputError(f"the recipe's camera has fields that there are not: {', '.join(sorted(unknown))}")
        return CameraModel(peak=self.peak, **values)
