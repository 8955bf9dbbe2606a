"""A row of houses with windows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dcdr_deploy.scenes.paint.canvas import FloatArray
from dcdr_deploy.scenes.paint.scene import Scene

INCANDESCENT = np.array([1, 0.72, 0.4], np.float32)
FLUORESCENT = np.array([0.85, 1, 0.95], np.float32)
SMALLEST_FACADE = 8  # pixels


def paint_buildings(scene: Scene) -> None:
    """Houses from left to right, with gaps."""
    left = -scene.uniform(0, 0.2)
    while left < 1 and scene.chance(0.93):
        width, height = scene.uniform(0.08, 0.3), scene.uniform(0.08, 0.75)
        foot = scene.horizon + scene.uniform(0, 0.06)
        if scene.chance(0.65):
            _paint_building(scene, left, foot - height, left + width, foot)
        left += width * scene.uniform(0.7, 1.2)


def _paint_building(scene: Scene, left: float, top: float, right: float, foot: float) -> None:
    patch = scene.canvas.box(*scene.pixels(left, top, right, foot))
    if patch is None or min(patch.shape) <= SMALLEST_FACADE:
        return
    facade = _facade(scene, *patch.shape)
    rows, columns = patch.rows, patch.columns
    if scene.chance(0.45):
        facade, coverage = _turn(scene, facade)
        region = scene.canvas.image[rows, columns]
        region += coverage * (facade - region)
    else:
        scene.canvas.image[rows, columns] = facade
        _paint_antennas(scene, columns.start, columns.stop, rows.start)


def _facade(scene: Scene, height: int, width: int) -> FloatArray:
    """Wall and windows seen from the front, (height, width, 3)."""
    tint = np.clip(scene.uniform(0.08, 0.75) + scene.rng.normal(0, 0.08, 3), 0.03, 0.9)
    wall = (tint * scene.ambient * (1.6 if scene.chance(0.4) else 0.6)).astype(np.float32)
    across = np.linspace(0.8, 1.1, width, dtype=np.float32)[None, :, None]
    facade = wall * scene.surface(height, width, 0.12) * across
    if scene.chance(0.5):  # courses of stone
        facade[:: max(2, int(scene.uniform(5, 16)) * scene.unit)] *= 0.75
    return _with_windows(scene, facade, wall)


@dataclass(frozen=True)
class _Grid:
    """Which window of a row each pixel along one axis belongs to, and whether it lies in the pane or on the bar."""

    index: npt.NDArray[np.intp]
    inside: npt.NDArray[np.bool_]
    phase: npt.NDArray[np.float64]  # 0..1 across the cell


def _grid(length: int, cells: int, margins: tuple[float, float]) -> _Grid:
    position = (np.arange(length) + 0.5) / length * cells
    phase = position % 1
    return _Grid(position.astype(np.intp), (phase > margins[0]) & (phase < margins[1]), phase)


def _with_windows(scene: Scene, facade: FloatArray, wall: FloatArray) -> FloatArray:
    height, width = facade.shape[:2]
    floors, bays = scene.count(2, 13), scene.count(2, 8)
    rows, columns = _grid(height, floors, (0.25, 0.8)), _grid(width, bays, (0.22, 0.78))
    panes = _window_radiance(scene, floors, bays, wall)
    pane = rows.inside[:, None] & columns.inside[None, :]
    glass = panes[rows.index[:, None], columns.index[None, :]] * scene.surface(height, width, 0.6)
    bars = np.abs(columns.phase - 0.5) * width / bays < 0.5 * scene.unit
    glass = np.where(bars[None, :, None], wall * 0.7, glass)
    return np.where(pane[..., None], glass, facade).astype(np.float32)


def _window_radiance(scene: Scene, floors: int, bays: int, wall: FloatArray) -> FloatArray:
    """One radiance per window, (floors, bays, 3): lit from inside, dark, reflecting the sky, or flashing in the sun."""
    rng, shape = scene.rng, (floors, bays, 1)
    kind = rng.random(shape)
    lit_share = 0.35 if scene.night else 0.05
    lamp = np.where(rng.random(shape) < 0.75, INCANDESCENT, FLUORESCENT)
    lit = lamp * rng.uniform(0.5, 20, shape)
    sky_row = int(scene.uniform(0, 0.5) * scene.horizon_row)
    mirrored = scene.canvas.image[sky_row].mean(axis=0) * rng.uniform(0.2, 0.9, shape)
    flash = np.float32(0 if scene.night else scene.sky_luminance) * rng.uniform(5, 80, shape)
    mirrored = np.where(rng.random(shape) < 0.02, mirrored + flash, mirrored)
    dark = np.broadcast_to(wall * 0.12, (floors, bays, 3))
    return np.where(kind < lit_share, lit, np.where(kind < 0.8, dark, mirrored)).astype(np.float32)


def _turn(scene: Scene, facade: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Show a facade obliquely, one side further away; returns it with its coverage (h, w, 1)."""
    height, width = facade.shape[:2]
    top_drop, bottom_rise = scene.uniform(0.05, 0.35) * height, scene.uniform(0, 0.08) * height
    source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    quad = np.array([(0, top_drop), (width, 0), (width, height), (0, height - bottom_rise)], np.float32)
    if scene.chance(0.5):
        quad = np.array([(0, 0), (width, top_drop), (width, height - bottom_rise), (0, height)], np.float32)
    transform = cv2.getPerspectiveTransform(source, quad)
    turned = cv2.warpPerspective(facade, transform, (width, height), borderMode=cv2.BORDER_REPLICATE)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.rint(quad * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return np.asarray(turned, np.float32), mask[..., None].astype(np.float32) / np.float32(255)


def _paint_antennas(scene: Scene, left: int, right: int, roof: int) -> None:
    """Thin masts with cross bars on a roof."""
    if not scene.chance(0.4):
        return
    lines = []
    for _ in range(scene.count(1, 3)):
        x, height = scene.uniform(left, right), scene.uniform(0.02, 0.09) * scene.size
        lines.append(np.array([(x, roof), (x, roof - height)]))
        for level in (0.7, 0.85, 1.0):
            y, half = roof - level * height, scene.uniform(0.1, 0.3) * height
            lines.append(np.array([(x - half, y), (x + half, y)]))
    scene.canvas.paint(scene.canvas.strokes(lines, scene.unit), scene.silhouette)
