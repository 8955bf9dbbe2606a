"""Street furniture: poles, wires, lamps and their light, signs, cars and glints."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dcdr_deploy.scenes.paint.scene import Scene

CAR_BODY = [(-0.5, 0), (-0.5, -0.45), (-0.3, -0.5), (-0.18, -0.95), (0.2, -0.95), (0.34, -0.5), (0.5, -0.4), (0.5, 0)]
CAR_GLASS = [(-0.26, -0.52), (-0.16, -0.88), (0.17, -0.88), (0.28, -0.52)]
CAR_ASPECT = 0.35  # height over width
HEADLIGHT = np.array([1, 0.95, 0.8])
TAIL_LIGHT = np.array([1, 0.1, 0.05])
LETTERS = "ABEHKMNORSTXZ"


def paint_poles(scene: Scene) -> None:
    """Up to three poles, most with cross arms."""
    canvas, unit = scene.canvas, scene.unit
    for _ in range(scene.count(0, 3)):
        x, top = scene.pixels(scene.uniform(0, 1), scene.uniform(0.05, 0.35))
        foot = scene.horizon_row + 0.1 * scene.size
        thickness = int(scene.uniform(2, 8) * unit)
        canvas.paint(canvas.strokes([np.array([(x, top), (x, foot)])], thickness), scene.silhouette)
        if scene.chance(0.6):
            half, step = 0.05 * scene.size, 0.02 * scene.size
            heights = [top + i * step for i in range(scene.count(1, 3))]
            arms = [np.array([(x - half, y), (x + half, y)]) for y in heights]
            canvas.paint(canvas.strokes(arms, 2 * unit), scene.silhouette)


def paint_wires(scene: Scene) -> None:
    """Sagging wires across the sky, from under a pixel to about three pixels thick."""
    along = np.linspace(0, 1, 40)
    for _ in range(scene.count(0, 13)):
        start, end = (scene.uniform(-0.3, 0), scene.uniform(0, 0.5)), (scene.uniform(1, 1.3), scene.uniform(0, 0.5))
        sag = 4 * scene.uniform(0, 0.12) * along * (1 - along)
        wire = np.stack([start[0] + (end[0] - start[0]) * along, start[1] + (end[1] - start[1]) * along + sag], axis=1)
        patch = scene.canvas.strokes([wire * scene.size], scene.count(1, 3 * scene.unit))
        scene.canvas.paint(patch, scene.silhouette, opacity=scene.uniform(0.5, 1))


@dataclass(frozen=True)
class Lamp:
    """A light source on the canvas."""

    centre: npt.NDArray[np.float64]  # pixels
    radius: float  # pixels
    radiance: npt.NDArray[np.float64]


def paint_lamps(scene: Scene) -> None:
    """Street lamps on posts; at night they also light their surroundings."""
    lamps = [_draw_lamp(scene) for _ in range(scene.count(4, 15) if scene.night else scene.count(0, 7))]
    if scene.night:
        _light_surroundings(scene, lamps)
    canvas = scene.canvas
    for lamp in lamps:
        post = np.array([lamp.centre, (lamp.centre[0], scene.horizon_row)])
        canvas.paint(canvas.strokes([post], scene.unit + 1), scene.silhouette)
        canvas.paint(canvas.ellipse(lamp.centre, (lamp.radius, max(2.0, lamp.radius / 2))), lamp.radiance)


def _draw_lamp(scene: Scene) -> Lamp:
    colour = np.array([1, scene.uniform(0.6, 0.95), scene.uniform(0.3, 0.9)])
    radiance = colour * scene.uniform(5, 400) * (0.6 if scene.night else 1)
    centre = scene.pixels(scene.uniform(0, 1), scene.uniform(0.2, scene.horizon))
    return Lamp(centre, scene.uniform(2, 9) * scene.unit, radiance)


def _light_surroundings(scene: Scene, lamps: list[Lamp]) -> None:
    """Multiply the picture by each lamp's illumination, which falls off with distance; computed at low resolution."""
    coarse = 48
    position = (np.arange(coarse) + 0.5) / coarse * scene.size
    gain = np.ones((coarse, coarse, 3), np.float32)
    for lamp in lamps:
        squared = (position[None, :] - lamp.centre[0]) ** 2 + (position[:, None] - lamp.centre[1]) ** 2
        reach = scene.uniform(0.05, 0.12) * scene.size
        light = scene.uniform(0.01, 0.1) * lamp.radiance / (1 + squared[..., None] / reach**2) ** 1.5
        gain += light.astype(np.float32)
    scene.canvas.image *= cv2.resize(gain, (scene.size, scene.size), interpolation=cv2.INTER_LINEAR)


def paint_signs(scene: Scene) -> None:
    """Coloured lights: neon letters, lit panels and signal lamps."""
    if not scene.chance(0.7 if scene.night else 0.2):
        return
    for _ in range(scene.count(1, 4)):
        paint = (_paint_neon, _paint_panel, _paint_signal)[scene.count(0, 2)]
        paint(scene, scene.pixels(scene.uniform(0, 0.9), scene.uniform(0.25, max(0.3, scene.horizon))))


def _saturated_colour(scene: Scene) -> npt.NDArray[np.float64]:
    """A strong colour with one channel near 1 and at least one near 0."""
    colour = np.array([1, scene.uniform(0, 1), scene.uniform(0.01, 0.15)])
    return scene.rng.permutation(colour)


def _paint_neon(scene: Scene, corner: npt.NDArray[np.float64]) -> None:
    text = "".join(scene.rng.choice(list(LETTERS), scene.count(2, 6)))
    scale, thickness = scene.uniform(0.4, 1.4) * scene.size / 384, scene.count(1, 2) * scene.unit
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    patch = scene.canvas.box(corner[0], corner[1], corner[0] + width + 8, corner[1] + height + 8)
    if patch is None:
        return
    mask = np.zeros(patch.shape, np.uint8)
    cv2.putText(mask, text, (4, height + 4), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
    radiance = _saturated_colour(scene) * scene.uniform(1, 40)
    region = scene.canvas.image[patch.rows, patch.columns]
    region += (mask[..., None].astype(np.float32) / 255) * (radiance.astype(np.float32) - region)


def _paint_panel(scene: Scene, corner: npt.NDArray[np.float64]) -> None:
    width, height = scene.pixels(scene.uniform(0.03, 0.15), scene.uniform(0.02, 0.08))
    patch = scene.canvas.box(corner[0], corner[1], corner[0] + width, corner[1] + height)
    if patch is not None:
        light = _saturated_colour(scene) * 0.7 + 0.3
        scene.canvas.paint(patch, light * scene.uniform(0.5, 12) * scene.surface(*patch.shape, contrast=0.5))


def _paint_signal(scene: Scene, corner: npt.NDArray[np.float64]) -> None:
    radius = scene.uniform(1.5, 5) * scene.unit
    canvas = scene.canvas
    canvas.paint(canvas.box(*(corner - 1.6 * radius), *np.add(corner, (1.6 * radius, 6 * radius))), scene.silhouette)
    colour = np.array([(1, 0.08, 0.03), (0.1, 1, 0.45), (1, 0.55, 0.05)][scene.count(0, 2)])
    canvas.paint(canvas.ellipse(corner, (radius, radius)), colour * scene.uniform(3, 60))


def paint_cars(scene: Scene) -> None:
    """Up to four cars with glints on their paint and, at night, their lights on."""
    for _ in range(scene.count(0, 4)):
        width = scene.uniform(0.08, 0.3) * scene.size
        across, below_horizon = scene.pixels(scene.uniform(0, 1), scene.uniform(0.05, 0.22))
        centre = np.array([across, scene.horizon_row + below_horizon])
        _paint_car_body(scene, centre, width)
        _paint_car_glints(scene, centre, width)
        if scene.night:
            _paint_car_lights(scene, centre, width)


def _paint_car_body(scene: Scene, centre: npt.NDArray[np.float64], width: float) -> None:
    canvas, ambient = scene.canvas, scene.ambient
    extent = np.array([width, width * CAR_ASPECT])
    body = canvas.polygon(centre + np.array(CAR_BODY) * extent)
    if body is not None:
        rows = np.arange(body.rows.start, body.rows.stop)
        upper_light = np.clip(1.6 - 1.2 * (rows - (centre[1] - extent[1])) / extent[1], 0, None)[:, None, None]
        canvas.paint(body, np.clip(scene.rng.random(3), 0.03, 0.9) * ambient * 0.6 * upper_light)
    canvas.paint(canvas.polygon(centre + np.array(CAR_GLASS) * extent), np.array([0.03, 0.04, 0.05]) * ambient)
    for side in (-0.3, 0.3):
        radius = width * 0.085
        canvas.paint(canvas.ellipse(np.add(centre, (side * width, 0)), (radius, radius)), np.full(3, 0.01 * ambient))


def _paint_car_glints(scene: Scene, centre: npt.NDArray[np.float64], width: float) -> None:
    for _ in range(scene.count(1, 5)):
        offset = (scene.uniform(-0.45, 0.45) * width, -scene.uniform(0.3, 0.9) * width * CAR_ASPECT)
        place = np.add(centre, offset)
        axes = (scene.uniform(0.7, 0.06 * width + 2), scene.uniform(0.7, 2.5) * scene.unit)
        _paint_glint(scene, place, axes)


def _paint_car_lights(scene: Scene, centre: npt.NDArray[np.float64], width: float) -> None:
    radius = 1.5 * scene.unit + width * 0.02
    for side, colour in ((-0.48, HEADLIGHT), (0.48, TAIL_LIGHT)):
        place = np.add(centre, (side * width, -0.35 * width * CAR_ASPECT))
        scene.canvas.paint(scene.canvas.ellipse(place, (radius, radius)), colour * scene.uniform(5, 200))


def paint_glitter(scene: Scene) -> None:
    """A cluster of specular blobs on the ground, as of the sun on water, metal or glass."""
    if scene.night or not scene.chance(0.25):
        return
    middle = scene.pixels(scene.uniform(0.1, 0.9), scene.uniform(min(scene.horizon + 0.08, 0.9), 0.97))
    spread = scene.pixels(scene.uniform(0.02, 0.2), scene.uniform(0.01, 0.06))
    for _ in range(scene.count(5, 60)):
        place = middle + scene.rng.normal(0, 1, 2) * spread
        if place[1] > scene.horizon_row:
            _paint_glint(scene, place, (scene.uniform(0.6, 4) * scene.unit, scene.uniform(0.5, 1.5) * scene.unit))


def _paint_glint(scene: Scene, place: npt.NDArray[np.float64], axes: tuple[float, float]) -> None:
    """A highlight that mirrors the sun or a lamp."""
    radiance = scene.uniform(3, 120) * scene.sky_luminance * np.array([1, 1, 0.95])
    scene.canvas.paint(scene.canvas.ellipse(place, axes, scene.uniform(-20, 20)), radiance)
