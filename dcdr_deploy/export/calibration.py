"""How far the offsets of given weights reach on pictures, which sets the overlap that tiles need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.formats import SUFFIXES
from dcdr_deploy.models import DCDRUNet, measure_offsets
from dcdr_deploy.models.config import SIZE_MULTIPLE, overlap_for_offsets

SCENE_SEEDS = range(900_000_000, 900_000_005)
"""Procedural scenes for measuring offsets; outside the ranges of training, validation and test."""

SCENE_SIZE = 192
LARGEST_SIDE = 1024
"""Pictures of a user's folder are cropped to this around their centre: offsets are local, memory is not."""


def calibration_pictures(folder: Path | None = None) -> list[Tensor]:
    """Pictures to measure offsets on, each (1, 3, H, W) float32 in [0, 1], H and W multiples of 4.

    Args:
        folder: a user's SDR pictures; by default procedural scenes through the training camera.

    Raises:
        InputError: the folder has no pictures, or one cannot be read.
    """
    pictures = _scenes() if folder is None else _from_folder(folder)
    return [torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None])) for picture in pictures]


def measure_overlap(network: DCDRUNet, pictures: list[Tensor]) -> tuple[int, dict[str, dict[str, float]]]:
    """Overlap in pixels that makes tiles exact on these pictures, and each block's offset statistics."""
    if not network.config.deformable:
        return overlap_for_offsets({}, {}), {}
    spread = measure_offsets(network.set_deform_mode("gather"), pictures)
    network.set_deform_mode("torchvision")
    maxima = {name: values["max"] for name, values in spread.items()}
    return overlap_for_offsets(maxima, network.block_scales()), spread


def offsets_json(spread: dict[str, dict[str, float]]) -> str:
    """Offset statistics as one short line, for metadata."""
    rounded: dict[str, Any] = {
        name: {key: round(value, 3) for key, value in values.items()} for name, values in spread.items()
    }
    return json.dumps(rounded)


def _scenes() -> list[np.ndarray]:
    from dcdr_deploy.training.camera import LDR_MAX, CameraModel, simulate
    from dcdr_deploy.training.procedural import street_scene

    pictures = []
    for seed in SCENE_SEEDS:
        ldr, _ = simulate(street_scene(seed, SCENE_SIZE), CameraModel(), np.random.default_rng(seed))
        pictures.append(ldr.astype(np.float32) / np.float32(LDR_MAX))
    return pictures


def _from_folder(folder: Path) -> list[np.ndarray]:
    from dcdr_deploy.imaging.read import read_image

    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not paths:
        raise InputError(f"{folder} holds no pictures to measure offsets on")
    pictures = []
    for path in paths:
        picture = read_image(path).normalised()
        height, width = (min(side, LARGEST_SIDE) // SIZE_MULTIPLE * SIZE_MULTIPLE for side in picture.shape[:2])
        if min(height, width) == 0:
            raise InputError(f"{path} is too small to measure offsets on")
        top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
        pictures.append(picture[top : top + height, left : left + width])
    return pictures
