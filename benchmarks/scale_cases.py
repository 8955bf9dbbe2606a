"""Pictures for working_scale.py: the same views at any size, and photographs, through the training camera."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from held_out import Photograph
from numpy.typing import NDArray

from dcdr_deploy.imaging.frame import CLIPPED_CODE
from dcdr_deploy.scenes.camera import TARGET_MAX, CameraModel, brightest_channel, simulate
from dcdr_deploy.scenes.panorama import FOV_DEGREES, PITCH_DEGREES, YAW_DEGREES, PanoramaSet, perspective

SEED = 20261126
DEPTH_EDGE = 512
"""Distances inside clipped areas are measured on a picture of at most this edge."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """One picture and its truth.

    Attributes:
        sdr: (H, W, 3) uint8.
        truth: light (H, W, 3) uint16, full scale the peak.
        known: (H, W) bool, where the truth is known; ``None`` for everywhere.
        depth: of clipping, see :func:`depth_of`.
    """

    sdr: Pixels
    truth: NDArray[np.uint16]
    known: NDArray[np.bool_] | None
    depth: NDArray[np.float32]


def depth_of(sdr: Pixels) -> NDArray[np.float32]:
    """Distance to the nearest pixel that is not clipped, in parts of the longer edge."""
    height, width = sdr.shape[:2]
    factor = min(1.0, DEPTH_EDGE / max(height, width))
    clipped = (brightest_channel(sdr) >= CLIPPED_CODE).astype(np.float32)
    small = cv2.resize(clipped, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
    distance = cv2.distanceTransform((small > 0.5).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance / max(small.shape), np.float32)


@lru_cache(maxsize=64)
def opened(path: Path) -> NDArray[np.float32]:
    """A panorama, (H, W, 3), kept by each process."""
    return next(iter(PanoramaSet([path]))).radiance


def view_case(places: tuple[tuple[Path, ...], ...], size: int, number: int) -> Case:
    """View ``number`` at a size: the draws do not depend on it, save for the noise of single pixels."""
    rng = np.random.default_rng((SEED, number))
    turn, place = divmod(number, len(places))
    panorama = opened(places[place][turn % len(places[place])])
    yaw, pitch, fov = (float(rng.uniform(*bounds)) for bounds in (YAW_DEGREES, PITCH_DEGREES, FOV_DEGREES))
    camera = CameraModel(noise_probability=float(rng.random() < 0.5), jpeg_probability=float(rng.random() < 0.5))
    sdr, truth = simulate(perspective(panorama, yaw, pitch, fov, size), camera, rng)
    return Case(sdr, truth, None, depth_of(sdr))


def photo_case(photograph: Photograph) -> Case:
    """A photograph at its own size, exposed up until a share of it clips, cut to multiples of 4."""
    picture = photograph.render(None)
    assert picture is not None
    height, width = (edge // 4 * 4 for edge in picture.known.shape)
    sdr, truth, known = (each[:height, :width] for each in (picture.ldr, picture.truth, picture.known))
    return Case(sdr, np.rint(truth * TARGET_MAX).astype(np.uint16), known, depth_of(sdr))
