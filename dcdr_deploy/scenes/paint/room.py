"""Rooms: textured walls in one-point perspective, a bright window, lamp shades, furniture and shiny things."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dcdr_deploy.scenes.paint.canvas import FloatArray, fractal_noise
from dcdr_deploy.scenes.paint.scene import Scene

Quad = npt.NDArray[np.float64]
"""Corners (4, 2) in pixels: top left, top right, bottom right, bottom left."""


def paint_room(scene: Scene) -> None:
    """Walls first, then what hangs on and stands before them."""
    walls = _wall_quads(scene)
    _paint_shell(scene, walls)
    daylit = not scene.night or scene.chance(0.3)
    for wall in _window_walls(scene, walls):
        _paint_window(scene, wall, daylit)
    _paint_pictures(scene, walls["back"])
    _paint_furniture(scene, walls["floor"])
    for _ in range(scene.count(1, 4) if not daylit else scene.count(0, 2)):
        _paint_shaded_lamp(scene)
    if scene.chance(0.4):
        _paint_ceiling_spots(scene, walls["ceiling"])
    for _ in range(scene.count(0, 4)):
        _paint_shiny_ball(scene)


def _wall_quads(scene: Scene) -> dict[str, Quad]:
    """Corners of the five visible faces of the room."""
    left, right = scene.uniform(-0.1, 0.3), scene.uniform(0.7, 1.1)
    top, bottom = scene.uniform(0.02, 0.25), scene.uniform(0.65, 0.92)
    near_left, near_right, near_top, near_bottom = -0.6, 1.6, -0.5, 1.5
    quads = {
        "back": [(left, top), (right, top), (right, bottom), (left, bottom)],
        "left": [(near_left, near_top), (left, top), (left, bottom), (near_left, near_bottom)],
        "right": [(right, top), (near_right, near_top), (near_right, near_bottom), (right, bottom)],
        "ceiling": [(near_left, near_top), (near_right, near_top), (right, top), (left, top)],
        "floor": [(left, bottom), (right, bottom), (near_right, near_bottom), (near_left, near_bottom)],
    }
    return {name: np.array(quad) * scene.size for name, quad in quads.items()}


def _paint_shell(scene: Scene, walls: dict[str, Quad]) -> None:
    """Paint, paper or brick on the walls, lit unevenly."""
    wall = np.clip(scene.uniform(0.2, 0.8) + scene.rng.normal(0, 0.07, 3), 0.05, 0.9)
    wood = np.array([1, 0.7, 0.45]) * scene.uniform(0.08, 0.4)
    albedo = {"back": wall, "left": wall, "right": wall, "ceiling": np.full(3, 0.7), "floor": wood}
    pattern = scene.count(0, 2)
    for name, quad in walls.items():
        patch = scene.canvas.polygon(quad)
        if patch is None:
            continue
        light = scene.ambient * scene.uniform(0.5, 1.2)
        texture = scene.surface(*patch.shape, contrast=scene.uniform(0.05, 0.3))
        scene.canvas.paint(patch, albedo[name] * light * texture)
        if name in ("back", "floor") and pattern:
            _paint_grid_lines(scene, quad, rows=scene.count(6, 24), columns=scene.count(2, 12) * (pattern - 1))


def _paint_grid_lines(scene: Scene, quad: Quad, rows: int, columns: int) -> None:
    """Darker joints of brick, tiles or boards."""
    lines = [_on(quad, [(0, v), (1, v)]) for v in np.linspace(0, 1, rows + 1)]
    lines += [_on(quad, [(u, 0), (u, 1)]) for u in np.linspace(0, 1, columns + 1)]
    scene.canvas.scale(scene.canvas.strokes(lines, scene.unit), scene.uniform(0.5, 0.85))


def _window_walls(scene: Scene, walls: dict[str, Quad]) -> list[Quad]:
    names = ["back", "left", "right"]
    chosen = scene.rng.permutation(3)[: scene.count(1, 2)]
    return [walls[names[i]] for i in chosen]


def _paint_window(scene: Scene, wall: Quad, daylit: bool) -> None:
    """The view outside, the frame before it, curtains or a blind, and the light that it throws on the wall."""
    u0, v0 = scene.uniform(0.1, 0.45), scene.uniform(0.1, 0.3)
    u1, v1 = u0 + scene.uniform(0.2, 0.5), v0 + scene.uniform(0.3, 0.55)
    opening = _on(wall, [(u0, v0), (u1, v0), (u1, v1), (u0, v1)])
    outside = scene.sky_luminance if daylit else scene.uniform(0.002, 0.05)
    _add_wash(scene, opening.mean(axis=0), 0.35 * scene.size, scene.uniform(0.3, 1.5) if daylit else 0)
    patch = scene.canvas.polygon(opening)
    if patch is None:
        return
    scene.canvas.paint(patch, _view_outside(scene, *patch.shape, outside))
    if scene.chance(0.3):
        _paint_blind(scene, opening)
    _paint_frame(scene, opening)
    if scene.chance(0.5):
        for side in (0, 1):
            _paint_curtain(scene, opening, side, outside)


def _view_outside(scene: Scene, height: int, width: int, luminance: float) -> FloatArray:
    """A bright sky above a darker, uneven land."""
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    land = np.clip((down - scene.uniform(0.3, 0.9)) * 12 + 6 * (fractal_noise(scene.rng, height, width) - 0.5), 0, 1)
    sky = np.array([0.8, 0.9, 1.0]) * (1 - scene.warmth * 0.5) + np.array([0.8, 0.35, 0.1]) * scene.warmth * 0.5
    ground = np.array([0.12, 0.2, 0.06]) * scene.uniform(0.5, 2)
    view = sky * (1 - land[..., None]) + ground * land[..., None]
    return (view * luminance * scene.surface(height, width, 0.3)).astype(np.float32)


def _paint_frame(scene: Scene, opening: Quad) -> None:
    colour = np.full(3, scene.uniform(0.05, 0.6) * scene.ambient)
    bars = scene.count(1, 4)
    outline = _on(opening, [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)])
    lines = [_on(opening, [(u, 0), (u, 1)]) for u in np.linspace(0, 1, bars + 1)[1:-1]]
    lines += [_on(opening, [(0, v), (1, v)]) for v in np.linspace(0, 1, scene.count(1, 3) + 1)[1:-1]]
    thickness = scene.count(1, 4) * scene.unit
    scene.canvas.paint(scene.canvas.strokes([*lines, outline], thickness), colour)


def _paint_blind(scene: Scene, opening: Quad) -> None:
    """Slats with daylight between them."""
    reach = scene.uniform(0.3, 1)
    lines = [_on(opening, [(0, v), (1, v)]) for v in np.linspace(0, reach, scene.count(8, 30))]
    scene.canvas.paint(scene.canvas.strokes(lines, scene.count(1, 3) * scene.unit), np.full(3, scene.ambient * 0.8))


def _paint_curtain(scene: Scene, opening: Quad, side: int, outside: float) -> None:
    """Cloth that lets some of the light through, in folds."""
    inner, outer = (0.2, -0.15) if side == 0 else (0.8, 1.15)
    patch = scene.canvas.polygon(_on(opening, [(outer, -0.06), (inner, -0.06), (inner, 1.15), (outer, 1.15)]))
    if patch is None:
        return
    across = np.arange(patch.shape[1]) / max(patch.shape[1], 1)
    folds = 0.65 + 0.35 * np.sin(2 * np.pi * scene.uniform(3, 9) * across + scene.uniform(0, 6))
    cloth = np.clip(0.6 + scene.rng.normal(0, 0.15, 3), 0.1, 0.95)
    light = outside * scene.uniform(0.03, 0.3) + 0.5 * scene.ambient
    scene.canvas.paint(patch, (cloth * light * folds[None, :, None]), opacity=scene.uniform(0.8, 1))


def _paint_pictures(scene: Scene, wall: Quad) -> None:
    """Framed pictures or, now and then, a lit screen."""
    for _ in range(scene.count(0, 3)):
        u, v = scene.uniform(0.05, 0.85), scene.uniform(0.1, 0.5)
        width, height = scene.uniform(0.06, 0.2), scene.uniform(0.08, 0.25)
        frame = _on(wall, [(u, v), (u + width, v), (u + width, v + height), (u, v + height)])
        inner = _on(frame, [(0.06, 0.06), (0.94, 0.06), (0.94, 0.94), (0.06, 0.94)])
        scene.canvas.paint(scene.canvas.polygon(frame), np.full(3, scene.uniform(0.02, 0.2) * scene.ambient))
        patch = scene.canvas.polygon(inner)
        if patch is not None:
            light = scene.uniform(0.5, 4) if scene.chance(0.25) else scene.ambient
            tint = scene.rng.uniform(0.1, 0.9, 3)
            scene.canvas.paint(patch, tint * light * scene.surface(*patch.shape, contrast=0.9))


def _paint_furniture(scene: Scene, floor: Quad) -> None:
    """Boxes on the floor, with a lighter top."""
    for _ in range(scene.count(0, 4)):
        foot = _on(floor, [(scene.uniform(0.1, 0.9), scene.uniform(0.02, 0.35))])[0]
        width, height = scene.pixels(scene.uniform(0.08, 0.4), scene.uniform(0.06, 0.3))
        depth = min(scene.uniform(0.1, 0.35) * height, 0.4 * width)
        x0, x1, y0 = foot[0] - width / 2, foot[0] + width / 2, foot[1] - height
        colour = np.clip(scene.uniform(0.03, 0.6) + scene.rng.normal(0, 0.06, 3), 0.02, 0.9) * scene.ambient
        top = [(x0 + depth, y0 - depth), (x1 - depth, y0 - depth), (x1, y0), (x0, y0)]
        scene.canvas.paint(scene.canvas.polygon(top), colour * scene.uniform(1.2, 3))
        front = scene.canvas.polygon([(x0, y0), (x1, y0), (x1, foot[1]), (x0, foot[1])])
        if front is not None:
            scene.canvas.paint(front, colour * 0.7 * scene.surface(*front.shape, contrast=0.3))


def _paint_shaded_lamp(scene: Scene) -> None:
    """A table, floor or hanging lamp: a glowing shade, often with the bulb in sight, and its light around it."""
    centre = scene.pixels(scene.uniform(0.05, 0.95), scene.uniform(0.15, 0.7))
    half, height = scene.pixels(scene.uniform(0.02, 0.08), scene.uniform(0.04, 0.12))
    colour = np.array([1, scene.uniform(0.6, 0.9), scene.uniform(0.25, 0.75)])
    brightness = scene.uniform(2, 25)
    _add_wash(scene, centre, scene.uniform(0.15, 0.4) * scene.size, scene.uniform(0.5, 4), colour)
    away = np.array([0, -scene.size]) if scene.chance(0.4) else np.array([0, scene.uniform(0.1, 0.4) * scene.size])
    cord = scene.canvas.strokes([np.array([centre, centre + away])], scene.count(1, 3) * scene.unit)
    scene.canvas.paint(cord, scene.silhouette * 4)
    taper = scene.uniform(0.4, 1)
    shade = [(-half * taper, -height / 2), (half * taper, -height / 2), (half, height / 2), (-half, height / 2)]
    patch = scene.canvas.polygon(centre + np.array(shade))
    if patch is not None:
        rows, columns = (np.linspace(-1, 1, n)[:, None] for n in patch.shape)
        bulb = 0.25 + np.exp(-2.5 * (rows**2 + columns.T**2))
        scene.canvas.paint(patch, colour * brightness * bulb[..., None])
    if scene.chance(0.5):
        radius = scene.uniform(0.15, 0.35) * half
        bulb_patch = scene.canvas.ellipse(np.add(centre, (0, height / 2)), (radius, radius))
        scene.canvas.paint(bulb_patch, colour * brightness * scene.uniform(5, 40))


def _paint_ceiling_spots(scene: Scene, ceiling: Quad) -> None:
    """A row of recessed lights."""
    u, brightness = scene.uniform(0.2, 0.8), scene.uniform(10, 200)
    for v in np.linspace(0.55, 0.95, scene.count(2, 6)):
        centre = _on(ceiling, [(u, v)])[0]
        radius = scene.uniform(1.5, 5) * scene.unit
        _add_wash(scene, centre, 0.12 * scene.size, 0.4)
        scene.canvas.paint(scene.canvas.ellipse(centre, (radius, radius * 0.6)), np.array([1, 0.9, 0.75]) * brightness)


def _paint_shiny_ball(scene: Scene) -> None:
    """A vase-like ball, shaded, with sharp specular blobs."""
    centre = scene.pixels(scene.uniform(0.05, 0.95), scene.uniform(0.5, 0.95))
    radius = scene.uniform(0.015, 0.07) * scene.size
    ball = scene.canvas.ellipse(centre, (radius, radius * scene.uniform(0.8, 1.3)))
    if ball is None:
        return
    rows, columns = (np.linspace(-1, 1, n)[:, None] for n in ball.shape)
    shading = np.clip(0.7 - 0.5 * rows - 0.3 * columns.T, 0.08, None)
    scene.canvas.paint(ball, scene.rng.uniform(0.02, 0.8, 3) * scene.ambient * shading[..., None])
    for _ in range(scene.count(1, 3)):
        place = centre + scene.rng.uniform(-0.55, 0.35, 2) * radius
        axes = scene.rng.uniform(0.04, 0.18, 2) * radius + 0.4
        glint = scene.canvas.ellipse(place, axes, scene.uniform(-60, 60))
        scene.canvas.paint(glint, np.array([1, 0.97, 0.92]) * scene.uniform(1, 20) * scene.sky_luminance)


def _add_wash(
    scene: Scene, centre: npt.NDArray[np.float64], reach: float, gain: float, colour: npt.ArrayLike = (1, 1, 1)
) -> None:
    """Brighten everything around a light, as its illumination of the walls does; computed at low resolution."""
    coarse = 48
    position = (np.arange(coarse) + 0.5) / coarse * scene.size
    squared = (position[None, :] - centre[0]) ** 2 + (position[:, None] - centre[1]) ** 2
    light = gain / (1 + squared / reach**2) ** 1.5
    factor = (1 + light[..., None] * np.asarray(colour)).astype(np.float32)
    scene.canvas.image *= cv2.resize(factor, (scene.size, scene.size), interpolation=cv2.INTER_LINEAR)


def _on(quad: Quad, places: list[tuple[float, float]]) -> npt.NDArray[np.float64]:
    """Pixels of places (u, v) on a flat face whose corners are seen in perspective."""
    unit = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    transform = cv2.getPerspectiveTransform(unit, quad.astype(np.float32))
    return cv2.perspectiveTransform(np.array([places], np.float64), transform)[0]
