"""The synthetic data source: crops of HDR panoramas, procedural scenes and photographs, seen by a camera model.

Every sample is a function of (seed, index): an interrupted run that goes on at the same index sees the same samples,
and worker processes need no state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.errors import InputError
from dcdr_deploy.scenes import procedural
from dcdr_deploy.scenes.camera import LDR_MAX, TARGET_MAX, CameraModel, simulate
from dcdr_deploy.scenes.draws import log_uniform
from dcdr_deploy.scenes.panorama import PanoramaSet
from dcdr_deploy.scenes.photographs import PhotographSet
from dcdr_deploy.scenes.tabletop import tabletop
from dcdr_deploy.scenes.twilight import twilight
from dcdr_deploy.system.files import atomic_path
from dcdr_deploy.training.recipe import Recipe

SCENE_SIZE = 384
SMALLEST_ZOOM = 0.35
"""A crop of a scene spans patch / zoom pixels of it with zoom in [0.35, 1]: detail from sharp to soft-edged."""
PANORAMA_SHARE = 0.5
TINT_SHARE, TINT_SIGMA = 0.4, 0.35
"""Share of samples whose light is tinted, and the spread of the logarithm of its channels: dusk, tungsten, stage."""

FLATTEST, LEAST_FLAT = 0.35, 0.8
"""Exponents of light, log-uniform, where contrast is lowered."""

SOURCES: dict[str, Callable[[np.random.Generator, int], npt.NDArray[np.float32]]] = {
    "twilight": twilight,
    "tabletop": tabletop,
}
"""Generators of linear crops (size, size, 3), by the names in a recipe's ``source_shares``."""

PHOTOGRAPHS, PANORAMAS = "photographs", "panoramas"
"""Sources of ``source_shares`` beside the generators: crops of photographs, and views of panoramas.

What no share names is half views of panoramas and half crops of procedural scenes."""


@dataclass(frozen=True)
class Scene:
    """A linear crop before the camera.

    Attributes:
        light: RGB, float32 (S, S, 3), any scale.
        known: bool (S, S), False where nobody knows the light; ``None``: known everywhere.
        exposure: factor after which 1.0 saturates; ``None`` leaves it to the camera.
    """

    light: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_] | None = None
    exposure: float | None = None


class Sample(NamedTuple):
    """SDR uint8 (S, S, 3), target uint16 (S, S, 3), and where the target is known, bool (S, S), or ``None``."""

    ldr: npt.NDArray[np.uint8]
    target: npt.NDArray[np.uint16]
    known: npt.NDArray[np.bool_] | None


def to_tensors(
    ldr: npt.NDArray[np.uint8], target: npt.NDArray[np.uint16], known: npt.NDArray[np.bool_] | None = None
) -> tuple[Tensor, Tensor]:
    """Network input and target, each (3, H, W) float32 in [0, 1], of a pair (H, W, 3) uint8 and uint16.

    The target is NaN where it is not ``known`` (H, W).
    """
    x = torch.from_numpy(ldr.astype(np.float32).transpose(2, 0, 1) / np.float32(LDR_MAX))
    y = torch.from_numpy(target.astype(np.float32).transpose(2, 0, 1) / np.float32(TARGET_MAX)).contiguous()
    if known is not None:
        y[:, torch.from_numpy(~known)] = torch.nan
    return x.contiguous(), y


class SyntheticPairs(Dataset[tuple[Tensor, Tensor]]):
    """Pairs drawn half from panoramas, half from procedural scenes, and shares of them from other sources.

    Args:
        panoramas: views are rendered when they are drawn.
        scenes: (N, S, S, 3) float16 linear scenes, see :func:`scene_pool`.
        camera: the camera model.
        recipe: says patch sizes, seed, number of samples and what they are drawn from.
        photographs: for recipes that have a share of them.

    Raises:
        InputError: an unknown source, shares that are negative or more than 1 together, or no photographs for a share.
    """

    def __init__(
        self,
        panoramas: PanoramaSet,
        scenes: npt.NDArray[np.float16],
        camera: CameraModel,
        recipe: Recipe,
        photographs: PhotographSet | None = None,
    ) -> None:
        shares = recipe.source_shares
        known = SOURCES.keys() | {PHOTOGRAPHS, PANORAMAS}
        if not shares.keys() <= known:
            raise InputError(
                f"unknown sources of samples {sorted(shares.keys() - known)}; known: {', '.join(sorted(known))}"
            )
        if min(shares.values(), default=0) < 0 or sum(shares.values()) > 1 + 1e-9:
            raise InputError(f"source_shares is {dict(shares)}: shares lie in 0..1, and so does their sum")
        if shares.get(PHOTOGRAPHS) and photographs is None:
            raise InputError(
                f"{shares[PHOTOGRAPHS]:.0%} of this recipe's samples come from photographs: name folders of them by "
                "`photos` (data/splits/README.md says which were used and how to get them)"
            )
        self.recipe, self.photographs = recipe, photographs
        self.panoramas, self.scenes, self.camera = panoramas, scenes, camera

    def __len__(self) -> int:
        return self.recipe.steps * self.recipe.largest_batch

    def scene(self, rng: np.random.Generator, patch: int) -> Scene:
        """Draw a linear HDR crop (patch, patch, 3)."""
        recipe, from_panorama = self.recipe, None
        # Nothing is drawn where there are no shares, so that runs without them keep their samples.
        if recipe.source_shares:
            place = rng.random()
            for name, share in recipe.source_shares.items():
                if place < share:
                    if name == PANORAMAS:
                        from_panorama = True
                        break
                    if name != PHOTOGRAPHS:
                        return Scene(SOURCES[name](rng, patch))
                    assert self.photographs is not None
                    crop = self.photographs.random_crop(rng, patch)
                    return Scene(crop.light, crop.known, exposure=1.0)
                place -= share
        if from_panorama is None:
            from_panorama = rng.random() < PANORAMA_SHARE
        fov = (recipe.fov[0], recipe.fov[1])
        light = self.panoramas.random_view(rng, patch, fov) if from_panorama else self._scene_crop(rng, patch)
        if rng.random() < TINT_SHARE:
            light = light * np.exp(rng.normal(0, TINT_SIGMA, 3)).astype(np.float32)
        if recipe.flat_share and rng.random() < recipe.flat_share:
            light = np.maximum(light, 0) ** np.float32(log_uniform(rng, FLATTEST, LEAST_FLAT))
        return Scene(light[:, ::-1] if rng.random() < 0.5 else light)

    def _scene_crop(self, rng: np.random.Generator, patch: int) -> npt.NDArray[np.float32]:
        scene = self.scenes[int(rng.integers(len(self.scenes)))]
        limit = scene.shape[0]
        side = min(limit, int(patch / rng.uniform(SMALLEST_ZOOM, 1)))
        top, left = rng.integers(0, limit - side + 1, size=2)
        crop = scene[top : top + side, left : left + side].astype(np.float32)
        method = cv2.INTER_AREA if side >= patch else cv2.INTER_LINEAR
        return crop if side == patch else cv2.resize(crop, (patch, patch), interpolation=method)

    def sample(self, index: int) -> Sample:
        """Sample number ``index``, of the patch size of the step that takes it."""
        recipe = self.recipe
        rng = np.random.default_rng((recipe.seed, index))
        scene = self.scene(rng, recipe.patch_at(index // recipe.largest_batch))
        ldr, target = simulate(np.ascontiguousarray(scene.light), self.camera, rng, scene.exposure)
        return Sample(ldr, target, scene.known)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return to_tensors(*self.sample(index))


def scene_pool(
    seeds: Sequence[int], cache: Path, size: int = SCENE_SIZE, workers: int | None = None
) -> npt.NDArray[np.float16]:
    """Render procedural scenes once and keep them on disk.

    Args:
        seeds: one scene each.
        cache: folder for the rendered pool; the file's name covers seeds, size and the renderer's source.
        size: pixels a side.
        workers: processes; by default one for each core that this process may use.

    Returns:
        (len(seeds), size, size, 3) float16, memory-mapped.
    """
    folder = Path(procedural.__file__).parent
    sources = [folder / "procedural.py", *sorted((folder / "paint").glob("*.py"))]
    source = b"".join(path.read_bytes() for path in sources)
    key = hashlib.sha256(repr((tuple(seeds), size)).encode() + source).hexdigest()[:16]
    target = cache / f"scenes-{len(seeds)}x{size}-{key}.npy"
    if not target.is_file():
        scenes = procedural.render_pool(seeds, size, workers)
        with atomic_path(target) as temporary, temporary.open("wb") as file:
            np.save(file, scenes)
    return np.load(target, mmap_mode="r")
