"""The synthetic data source: crops of HDR panoramas and procedural scenes, photographed by a camera model.

Every sample is a function of (seed, index): an interrupted run that goes on at the same index sees the same samples,
and worker processes need no state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

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
from dcdr_deploy.scenes.tabletop import tabletop
from dcdr_deploy.scenes.twilight import twilight
from dcdr_deploy.system.files import atomic_path

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

Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]


def to_tensors(ldr: npt.NDArray[np.uint8], target: npt.NDArray[np.uint16]) -> tuple[Tensor, Tensor]:
    """Network input and target, each (3, H, W) float32 in [0, 1], of a pair (H, W, 3) uint8 and uint16."""
    x = torch.from_numpy(ldr.astype(np.float32).transpose(2, 0, 1) / np.float32(LDR_MAX))
    y = torch.from_numpy(target.astype(np.float32).transpose(2, 0, 1) / np.float32(TARGET_MAX))
    return x.contiguous(), y.contiguous()


class SyntheticPairs(Dataset[tuple[Tensor, Tensor]]):
    """Pairs drawn half from panoramas, half from procedural scenes, and shares of them by other generators.

    Args:
        panoramas: views are rendered when they are drawn.
        scenes: (N, S, S, 3) float16 linear scenes, see :func:`scene_pool`.
        camera: the camera model.
        patch: size of a pair in pixels.
        seed: of everything random here.
        length: number of samples; a run's steps x batch.
        flat_share: share of samples whose contrast is lowered, as by an overcast sky: light that would be far above
            white is then just above it, and what is below tells so.
        source_shares: shares of samples that are drawn by :data:`SOURCES`; they are neither tinted nor lowered in
            contrast.

    Raises:
        InputError: an unknown generator, or shares that are negative or more than 1 together.
    """

    def __init__(
        self,
        panoramas: PanoramaSet,
        scenes: npt.NDArray[np.float16],
        camera: CameraModel,
        patch: int,
        seed: int,
        length: int,
        flat_share: float = 0.0,
        source_shares: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        if not source_shares.keys() <= SOURCES.keys():
            unknown = sorted(source_shares.keys() - SOURCES.keys())
            raise InputError(f"unknown sources of samples {unknown}; known: {', '.join(SOURCES)}")
        if min(source_shares.values(), default=0) < 0 or sum(source_shares.values()) > 1:
            raise InputError(f"source_shares is {dict(source_shares)}: shares lie in 0..1, and so does their sum")
        self.flat_share, self.source_shares = flat_share, source_shares
        self.panoramas, self.scenes, self.camera = panoramas, scenes, camera
        self.patch, self.seed, self.length = patch, seed, length

    def __len__(self) -> int:
        return self.length

    def radiance(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Draw a linear HDR crop (patch, patch, 3)."""
        # Nothing is drawn where there are no shares, so that runs without them keep their samples.
        if self.source_shares:
            place = rng.random()
            for name, share in self.source_shares.items():
                if place < share:
                    return SOURCES[name](rng, self.patch)
                place -= share
        from_panorama = rng.random() < PANORAMA_SHARE
        crop = self.panoramas.random_view(rng, self.patch) if from_panorama else self._scene_crop(rng)
        if rng.random() < TINT_SHARE:
            crop = crop * np.exp(rng.normal(0, TINT_SIGMA, 3)).astype(np.float32)
        if self.flat_share and rng.random() < self.flat_share:
            crop = np.maximum(crop, 0) ** np.float32(log_uniform(rng, FLATTEST, LEAST_FLAT))
        return crop[:, ::-1] if rng.random() < 0.5 else crop

    def _scene_crop(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        scene = self.scenes[int(rng.integers(len(self.scenes)))]
        limit = scene.shape[0]
        side = min(limit, int(self.patch / rng.uniform(SMALLEST_ZOOM, 1)))
        top, left = rng.integers(0, limit - side + 1, size=2)
        crop = scene[top : top + side, left : left + side].astype(np.float32)
        method = cv2.INTER_AREA if side >= self.patch else cv2.INTER_LINEAR
        return crop if side == self.patch else cv2.resize(crop, (self.patch, self.patch), interpolation=method)

    def pair(self, index: int) -> Pair:
        """The pair number ``index``: SDR uint8 and target uint16, each (patch, patch, 3)."""
        rng = np.random.default_rng((self.seed, index))
        return simulate(np.ascontiguousarray(self.radiance(rng)), self.camera, rng)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return to_tensors(*self.pair(index))


def scene_pool(
    seeds: Sequence[int], cache: Path, size: int = SCENE_SIZE, workers: int | None = None
) -> npt.NDArray[np.float16]:
    """Render procedural scenes once and keep them on disk.

    Args:
        seeds: one scene each.
        cache: folder for the rendered pool; the file's name covers seeds, size and the renderer's source.
        size: pixels a side.
        workers: processes; all cores by default.

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
