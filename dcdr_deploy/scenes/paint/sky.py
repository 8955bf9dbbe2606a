"""Sky, sun, clouds, hills and ground."""

from __future__ import annotations

import cv2
import numpy as np

from dcdr_deploy.scenes.paint.canvas import FloatArray, Patch, fractal_noise
from dcdr_deploy.scenes.paint.scene import Scene

SUN_RADIUS = 0.012
CLOUD_FADE = 0.08  # height above the horizon over which clouds thin out


def paint_sky(scene: Scene) -> None:
    """A vertical gradient from the horizon's colour to blue."""
    height = _height_above_horizon(scene)[..., None] ** 0.6
    zenith = np.array([0.10, 0.24, 0.62]) * scene.uniform(0.6, 1.6)
    gradient = (_horizon_colour(scene) * (1 - height) + zenith * height) * scene.sky_luminance
    scene.canvas.image[:] = gradient.astype(np.float32)


def paint_sun(scene: Scene) -> None:
    """The sun's disc (a day scene only), its aureole and the wide glow of the haze around it."""
    if scene.night:
        return
    distance = _distance_to_sun(scene)
    haze = scene.uniform(2, 10) * np.exp(-distance * scene.uniform(5, 12))
    aureole = scene.uniform(5, 30) * np.exp(-distance * 40)
    rim = 0.75 / scene.size
    disc = np.clip((SUN_RADIUS - distance) / rim + 0.5, 0, 1) * scene.uniform(200, 1500)
    colour = np.array([1, 0.93 - 0.4 * scene.warmth, 0.85 - 0.6 * scene.warmth], np.float32)
    light = (haze + aureole) * np.float32(scene.sky_luminance) + disc
    scene.canvas.image += light[..., None].astype(np.float32) * colour


def paint_clouds(scene: Scene) -> None:
    """Clouds of random cover and softness, brighter towards the sun."""
    size, image = scene.size, scene.canvas.image
    density = fractal_noise(scene.rng, size, size, 8, 0.6, scene.uniform(1, 4))
    threshold, softness = scene.uniform(0.42, 0.62), scene.uniform(0.04, 0.15)
    rows = ((np.arange(size, dtype=np.float32) + 0.5) / size)[:, None]
    cover = np.clip((density - threshold) / softness, 0, 1) * np.clip((scene.horizon - rows) / CLOUD_FADE, 0, 1)
    shade = fractal_noise(scene.rng, size, size, 7)
    sunlit = 0.5 + 1.2 * np.exp(-3 * _distance_to_sun(scene))
    thickness = np.clip(1 - (density - threshold) * 6 * shade, 0, 1)
    brightness = scene.sky_luminance * scene.uniform(0.7, 2.2) * (0.35 + 1.3 * thickness) * sunlit
    colour = np.array([1, 0.97, 0.94]) * (1 - 0.5 * scene.warmth) + 0.5 * scene.warmth * _horizon_colour(scene)
    cloud = brightness[..., None] * colour.astype(np.float32)
    image += cover[..., None] * (cloud - image)


def paint_hills(scene: Scene) -> None:
    """Up to two ranges of hazy hills on the horizon."""
    size = scene.size
    rows = np.arange(size, dtype=np.float32)[:, None]
    for _ in range(scene.count(0, 2)):
        profile = 0.3 + fractal_noise(scene.rng, 2, size, 6)[0]
        crest = (scene.horizon - 0.02 - scene.uniform(0, 0.08) * profile) * size
        cover = (np.clip(rows - crest[None], 0, 1) * (rows < scene.horizon_row))[..., None]
        colour = scene.ambient * scene.uniform(0.1, 0.5) * np.array([0.4, 0.5, 0.6], np.float32)
        image = scene.canvas.image
        image += cover * (image * 0.15 + colour - image)


def paint_ground(scene: Scene) -> None:
    """A textured plane that darkens towards the viewer, often with a road."""
    size, top = scene.size, scene.horizon_row
    depth = size - top
    sunlight = 1.0 if scene.night else scene.uniform(0.7, 3)
    tone = scene.uniform(0.05, 0.3) * sunlight * scene.ambient * np.array([1, 0.97, 0.92], np.float32)
    falloff = np.linspace(1, 0.6, depth, dtype=np.float32)[:, None, None]
    scene.canvas.image[top:] = tone * scene.surface(depth, size, 0.35) * falloff
    if scene.chance(0.6):
        _paint_road(scene)


def _paint_road(scene: Scene) -> None:
    """Asphalt that narrows to a vanishing point, with a dashed line."""
    vanishing, foot = scene.uniform(0.1, 0.9), scene.uniform(0.2, 0.8)
    half_width = scene.uniform(0.2, 0.6)
    top = scene.horizon + 0.005
    outline = [(vanishing - 0.01, top), (vanishing + 0.01, top), (foot + half_width, 1.02), (foot - half_width, 1.02)]
    patch = scene.canvas.polygon(scene.pixels(*np.ravel(outline)).reshape(-1, 2))
    if patch is None:
        return
    albedo = scene.uniform(0.04, 0.14)
    scene.canvas.paint(patch, albedo * scene.ambient * scene.surface(*patch.shape, contrast=0.3))
    for start in np.arange(0.06, 1, 0.16):  # dashes, equally long in shares of the picture's depth squared
        scene.canvas.paint(_road_dash(scene, vanishing, foot, start, start + 0.08), 0.5 * np.full(3, scene.ambient))


def _road_dash(scene: Scene, vanishing: float, foot: float, start: float, end: float) -> Patch | None:
    """Coverage of one dash of the middle line between two depths (0 the horizon, 1 the lower edge)."""
    corners = []
    for depth, side in ((start, -1), (start, 1), (end, 1), (end, -1)):
        nearness = depth**2
        x = vanishing + (foot - vanishing) * nearness + side * 0.012 * nearness
        corners.append((x, scene.horizon + (1 - scene.horizon) * nearness))
    return scene.canvas.polygon(np.array(corners) * scene.size)


def paint_wet_reflection(scene: Scene) -> None:
    """Mirror what stands above the horizon in the ground, smeared vertically as on wet asphalt or water."""
    if not scene.chance(0.4 if scene.night else 0.15):
        return
    image, top = scene.canvas.image, scene.horizon_row
    depth = min(scene.size - top, top)
    if depth < 4:
        return
    mirrored = image[top - depth : top][::-1]
    smeared = cv2.GaussianBlur(mirrored, (0, 0), sigmaX=0.6 * scene.unit, sigmaY=scene.uniform(2, 12) * scene.unit)
    image[top : top + depth] += scene.uniform(0.05, 0.4) * scene.surface(depth, scene.size, 0.5) * smeared


def _horizon_colour(scene: Scene) -> FloatArray:
    warmth = scene.warmth
    return ((1 - warmth) * np.array([0.75, 0.85, 1.0]) + warmth * np.array([1.6, 0.75, 0.3])).astype(np.float32)


def _height_above_horizon(scene: Scene) -> FloatArray:
    """0 at and below the horizon to 1 at the top, (size, 1)."""
    rows = ((np.arange(scene.size, dtype=np.float32) + 0.5) / scene.size)[:, None]
    return np.clip((scene.horizon - rows) / scene.horizon, 0, 1)


def _distance_to_sun(scene: Scene) -> FloatArray:
    """Distance of every pixel to the sun, in shares of the edge."""
    position = (np.arange(scene.size, dtype=np.float32) + 0.5) / scene.size
    across, down = position - np.float32(scene.sun[0]), position - np.float32(scene.sun[1])
    return np.sqrt(across[None, :] ** 2 + down[:, None] ** 2)
