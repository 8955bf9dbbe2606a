"""What a lens does to a scene: glow around lights, veiling glare, roll, sampling and a little blur."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dcdr_deploy.scenes.paint.canvas import FloatArray
from dcdr_deploy.scenes.paint.scene import Scene

GLOW = ((4, 0.05), (16, 0.02), (48, 0.008))
"""(standard deviation in finished pixels, share of the light) of each halo."""
GLOW_THRESHOLD = 3.0  # times the sky's luminance; only what is brighter has a visible halo
GLOW_REDUCTION = 4  # halos are smooth, so they are blurred at a quarter of the resolution
LARGEST_ROLL = 3.0  # degrees


def photograph(scene: Scene, size: int) -> FloatArray:
    """The finished picture, float32 (size, size, 3), finite and not negative."""
    if scene.chance(0.15):
        _cast(scene)
    _add_glow(scene)
    _add_veil(scene)
    image: npt.NDArray[Any] = _rolled(scene) if scene.chance(0.5) else scene.canvas.image
    if scene.unit > 1:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (0, 0), scene.uniform(0.3, 0.6))
    return np.maximum(image, 0)


def _cast(scene: Scene) -> None:
    """Coloured light on everything."""
    scene.canvas.image *= np.exp(scene.rng.normal(0, 0.25, 3)).astype(np.float32)


def _add_glow(scene: Scene) -> None:
    excess = np.maximum(scene.canvas.image - np.float32(GLOW_THRESHOLD * scene.sky_luminance), 0)
    edge = max(1, scene.size // GLOW_REDUCTION)
    small = cv2.resize(excess, (edge, edge), interpolation=cv2.INTER_AREA)
    pixels = scene.unit * edge / scene.size
    strength = scene.uniform(0.1, 1)
    halo = strength * sum(share * cv2.GaussianBlur(small, (0, 0), sigma * pixels) for sigma, share in GLOW)
    scene.canvas.image += cv2.resize(halo, (scene.size, scene.size), interpolation=cv2.INTER_LINEAR)


def _add_veil(scene: Scene) -> None:
    """A uniform share of the mean light, which lifts the blacks of pictures with a sun or a window."""
    scene.canvas.image += scene.uniform(0, 0.004) * np.minimum(scene.canvas.image, 50).mean(axis=(0, 1))


def _rolled(scene: Scene) -> FloatArray:
    """Turn the picture by a few degrees, zoomed so that no corner is empty."""
    angle, middle = scene.uniform(-LARGEST_ROLL, LARGEST_ROLL), (scene.size - 1) / 2
    radians = abs(np.radians(angle))
    zoom = float(np.cos(radians) + np.sin(radians))
    turn = cv2.getRotationMatrix2D((middle, middle), angle, zoom)
    return np.asarray(
        cv2.warpAffine(scene.canvas.image, turn, (scene.size, scene.size), borderMode=cv2.BORDER_REPLICATE), np.float32
    )
