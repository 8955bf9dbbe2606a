"""How far the offsets of given weights reach on pictures, which sets the overlap that tiles need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dcdr_deploy.errors import InputError
from dcdr_deploy.export.places import calibration_files
from dcdr_deploy.modelfile.names import SIZE_MULTIPLE
from dcdr_deploy.models import HdrNetwork, architecture_of, measure_offsets
from dcdr_deploy.models.config import overlap_for_offsets

SCENE_SEEDS = range(900_000_000, 900_000_005)
"""Procedural scenes for measuring offsets; outside the ranges of training, validation and test."""

SCENE_SIZE = 192
LARGEST_SIDE = 1024
"""Pictures of a user's folder are cropped to this around their centre: offsets are local, memory is not."""


def calibration_pictures(folder: Path | None = None, multiple: int = SIZE_MULTIPLE) -> list[Tensor]:
    """Pictures to measure offsets on, each (1, 3, H, W) float32 in [0, 1], H and W multiples of ``multiple``.

    Args:
        folder: a user's SDR pictures; by default procedural scenes through the training camera.
        multiple: the architecture's size multiple.

    Raises:
        InputError: the folder has no pictures, or one cannot be read.
    """
    crops = [_crop(*picture, multiple) for picture in (_scenes() if folder is None else _from_folder(folder))]
    return [torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)[None])) for crop in crops]


def measure_overlap(network: HdrNetwork, pictures: list[Tensor]) -> tuple[int, dict[str, dict[str, float]]]:
    """Overlap in pixels that makes tiles exact on these pictures, and each block's offset statistics.

    What a network without deformable blocks reaches does not depend on the pictures, and there are no statistics.
    """
    spread: dict[str, dict[str, float]] = {}
    if network.deforms():
        spread = measure_offsets(network.set_deform_mode("gather"), pictures)
        network.set_deform_mode("torchvision")
    maxima = {name: values["max"] for name, values in spread.items()}
    multiple = architecture_of(network.config).size_multiple
    return overlap_for_offsets(maxima, network.block_scales(), network.receptive_field(), multiple), spread


def offsets_json(spread: dict[str, dict[str, float]]) -> str:
    """Offset statistics as one short line, for metadata."""
    rounded: dict[str, Any] = {
        name: {key: round(value, 3) for key, value in values.items()} for name, values in spread.items()
    }
    return json.dumps(rounded)


def _scenes() -> Iterator[tuple[str, np.ndarray]]:
    from dcdr_deploy.scenes.camera import LDR_MAX, CameraModel, simulate
    from dcdr_deploy.scenes.procedural import street_scene

    for seed in SCENE_SEEDS:
        ldr, _ = simulate(street_scene(seed, SCENE_SIZE), CameraModel(), np.random.default_rng(seed))
        yield f"scene {seed}", ldr.astype(np.float32) / np.float32(LDR_MAX)


def _from_folder(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    from dcdr_deploy.imaging.read import read_image

    for path in calibration_files(folder):
        yield str(path), read_image(path).normalised()


def _crop(name: str, picture: np.ndarray, multiple: int) -> np.ndarray:
    """The middle of a picture, of sides that a network takes and that memory allows; a copy."""
    height, width = (min(side, LARGEST_SIDE) // multiple * multiple for side in picture.shape[:2])
    if min(height, width) == 0:
        raise InputError(f"{name} is too small to measure offsets on")
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width].copy()
