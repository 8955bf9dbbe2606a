"""Procedural light that fades smoothly from colour to colour: what one channel clips and the others do not.

Around a low sun red saturates first, then green, and what is left of the channels is the wrong colour: orange turns
yellow, yellow greenish. Streets and rooms hardly ever show that over an area, so a network that has seen only them
lifts all channels alike. Here every picture does.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dcdr_deploy.scenes.draws import log_uniform
from dcdr_deploy.scenes.paint.canvas import fractal_noise

Light = npt.NDArray[np.floating]
Order = npt.NDArray[np.integer]

WARM_PROBABILITY = 0.75
"""The glow's channels then fall from red to blue, as light through much air; else in any order, as on stages."""


def twilight(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32]:
    """One random sky with a glow, often with haze, clouds, a skyline and water before it.

    Args:
        rng: source of every random choice.
        size: edge of the picture in pixels.

    Returns:
        Linear RGB of any scale, float32 (size, size, 3), positive.
    """
    order = np.array([0, 1, 2]) if rng.random() < WARM_PROBABILITY else rng.permutation(3)
    horizon = float(rng.uniform(0.4, 1.3))
    position = (np.arange(size, dtype=np.float32) + 0.5) / size
    across, down = position[None, :], position[:, None]
    height = np.clip((horizon - down) / horizon, 0, 1) ** rng.uniform(0.4, 1.6)
    near, far = _colour(rng, order, rng.uniform(0, 0.5)), _colour(rng, order[::-1], rng.uniform(0, 0.6))
    far = far - rng.uniform(-0.3, 1.5)
    sky = np.exp(near * (1 - height)[..., None] + far * height[..., None])
    light: Light = sky + _glow(rng, order, across, down, horizon)
    if rng.random() < 0.5:
        texture = fractal_noise(rng, size, size, 7, 0.55, rng.uniform(1, 4)) - 0.5
        light = light * np.exp(rng.uniform(0.1, 1.5) * texture)[..., None]
    light = np.broadcast_to(light, (size, size, 3)).astype(np.float32)
    if rng.random() < 0.7:
        light = _with_ground(rng, light, horizon)
    return np.asarray(cv2.GaussianBlur(light, (0, 0), rng.uniform(0.3, 0.7)), np.float32)


def _colour(rng: np.random.Generator, order: Order, spread: float) -> Light:
    """Logarithm of a colour whose channels fall in ``order``, mean 0."""
    values = np.sort(rng.normal(0, spread, 3))[::-1]
    colour = np.empty(3)
    colour[order] = values - values.mean()
    return colour


def _glow(rng: np.random.Generator, order: Order, across: Light, down: Light, horizon: float) -> Light:
    """Light around a sun: wide haze, narrow aureole and sometimes the disc; (size, size, 3).

    Each channel has its own reach, so that the colour changes on the way out.
    """
    x, y = rng.uniform(-0.2, 1.2), horizon - rng.uniform(-0.05, 0.5)
    flat = rng.uniform(0.35, 1.0)
    distance = np.sqrt((flat * (across - x)) ** 2 + (down - y) ** 2)[..., None]
    reach = np.empty(3)
    reach[order] = 1 + rng.uniform(0, 0.5) * np.arange(3)
    colour = np.exp(_colour(rng, order, rng.uniform(0, 0.8)))
    light = np.zeros_like(distance)
    for strongest, rates in ((6, (1.5, 8)), (30, (8, 40))):
        light = light + log_uniform(rng, 0.3, strongest) * np.exp(-distance * rng.uniform(*rates) * reach)
    if rng.random() < 0.3:
        radius, rim = rng.uniform(0.008, 0.05), 0.75 / across.size
        light = light + rng.uniform(5, 200) * np.clip((radius - distance) / rim + 0.5, 0, 1)
    return light * colour


def _with_ground(rng: np.random.Generator, light: Light, horizon: float) -> Light:
    """A dark skyline, and below the horizon dark ground or water that mirrors the sky."""
    size = light.shape[0]
    row = min(int(horizon * size), size)
    rows = np.arange(size, dtype=np.float32)[:, None]
    crest = (horizon - rng.uniform(0, 0.25) * fractal_noise(rng, 2, size, 7, 0.7)[:1]) * size
    dark = (np.median(light) * rng.uniform(0.002, 0.2) * np.exp(_colour(rng, np.arange(3), 0.2))).astype(np.float32)
    cover = np.clip(rows - crest + 0.5, 0, 1)[..., None]
    result = light + cover * (dark - light)
    if 0 < row < size and rng.random() < 0.5:
        depth = min(size - row, row)
        mirrored = cv2.blur(light[row - depth : row][::-1], (1, 2 * int(rng.integers(0, 6)) + 1))
        ripples = np.exp(fractal_noise(rng, depth, size, 7, 0.8) - 0.5)[..., None]
        result[row : row + depth] += np.float32(rng.uniform(0.02, 0.6)) * mirrored * ripples
    return result
