"""Trees: crowns of thousands of small leaves with holes to the sky, and bare branches."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dcdr_deploy.scenes.paint.scene import Scene

LEAF_OUTLINE = np.array([(-1, 0), (-0.4, 0.45), (0.4, 0.4), (1, 0), (0.4, -0.45), (-0.4, -0.4)])
BRIGHTEST_LEAF = 2.2  # times the crown's base colour
BARE_TREE_DEPTH = 6
_SHIFT = 3


def paint_foliage(scene: Scene) -> None:
    """Up to four trees, some of them bare."""
    for _ in range(scene.count(0, 4)):
        centre = scene.pixels(scene.uniform(0, 1), scene.uniform(0.15, scene.horizon + 0.05))
        radius = scene.uniform(0.05, 0.22) * scene.size
        if scene.chance(0.25):
            _paint_bare_tree(scene, centre, radius)
        else:
            _paint_leafy_tree(scene, centre, radius)


def _paint_leafy_tree(scene: Scene, centre: npt.NDArray[np.float64], radius: float) -> None:
    leaf = np.array([0.05, scene.uniform(0.08, 0.16), 0.02]) * scene.ambient * scene.uniform(0.8, 2.5)
    _paint_trunk(scene, centre, radius, leaf * 0.4)
    turned = np.array([leaf[1] * 1.1, leaf[1] * 0.8, leaf[2]])  # the colour of leaves in autumn or in the light
    count = scene.count(500, 2500)
    outlines = _leaf_outlines(scene, centre, radius, count)
    tones = scene.rng.uniform(0.3, BRIGHTEST_LEAF, count) / BRIGHTEST_LEAF * 255
    hues = scene.rng.uniform(0, scene.uniform(0, 0.8), count)
    _blend_leaves(scene, outlines, tones * (1 - hues), tones * hues, leaf * BRIGHTEST_LEAF, turned * BRIGHTEST_LEAF)


def _paint_trunk(scene: Scene, centre: npt.NDArray[np.float64], radius: float, colour: npt.NDArray[np.float64]) -> None:
    canvas = scene.canvas
    foot = np.array([centre[0], scene.horizon_row + 0.05 * scene.size])
    canvas.paint(canvas.strokes([np.array([centre, foot])], max(2, int(radius * 0.09))), colour)
    angles = scene.rng.uniform(-3.1, 0, 14)
    start = np.add(centre, (0, radius * 0.5))
    ends = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    branches = [np.array([start, end]) for end in ends]
    canvas.paint(canvas.strokes(branches, max(1, int(radius * 0.015))), colour)


def _leaf_outlines(scene: Scene, centre: npt.NDArray[np.float64], radius: float, count: int) -> npt.NDArray[np.float64]:
    """Leaf polygons (count, 6, 2) in pixels, spread over a disc that is a little wider than high."""
    rng = scene.rng
    around, out = rng.uniform(0, 2 * np.pi, count), radius * np.sqrt(rng.random(count))
    middles = centre + np.stack([np.cos(around) * out, 0.85 * np.sin(around) * out], axis=1)
    lengths = 2 * (rng.uniform(0.008, 0.03, count) * radius + 0.8 * scene.unit)
    turn = rng.uniform(0, np.pi, count)
    cosine, sine = np.cos(turn), np.sin(turn)
    rotation = np.stack([np.stack([cosine, -sine], axis=-1), np.stack([sine, cosine], axis=-1)], axis=-2)
    shapes = np.einsum("nij,kj->nki", rotation, LEAF_OUTLINE)
    return middles[:, None] + shapes * lengths[:, None, None]


def _blend_leaves(
    scene: Scene,
    outlines: npt.NDArray[np.float64],
    green: npt.NDArray[np.float64],
    turned: npt.NDArray[np.float64],
    green_colour: npt.NDArray[np.float64],
    turned_colour: npt.NDArray[np.float64],
) -> None:
    """Draw leaves back to front as premultiplied 8-bit (coverage, green, turned) and blend the result once."""
    low = np.clip(np.floor(outlines.min(axis=(0, 1))) - 2, 0, scene.size).astype(int)
    high = np.clip(np.ceil(outlines.max(axis=(0, 1))) + 2, 0, scene.size).astype(int)
    if (high <= low).any():
        return
    overlay = np.zeros((high[1] - low[1], high[0] - low[0], 3), np.uint8)
    corners = np.rint((outlines - low) * 2**_SHIFT).astype(np.int32)
    for outline, first, second in zip(corners, green.tolist(), turned.tolist(), strict=True):
        cv2.fillConvexPoly(overlay, outline, (255, first, second), cv2.LINE_AA, _SHIFT)
    layer = overlay.astype(np.float32) / 255
    colours = np.stack([green_colour, turned_colour]).astype(np.float32)
    region = scene.canvas.image[low[1] : high[1], low[0] : high[0]]
    region *= 1 - layer[..., :1]
    region += layer[..., 1:] @ colours


def _paint_bare_tree(scene: Scene, centre: npt.NDArray[np.float64], radius: float) -> None:
    """Forking branches, thinner with every fork."""
    foot = np.array([[centre[0], scene.horizon_row + 0.05 * scene.size]])
    starts, ends = foot, np.array([[centre[0], centre[1] + radius]])
    directions, length = np.array([-np.pi / 2]), 0.62 * radius
    thickness = max(2 * scene.unit, int(radius * 0.1))
    for _ in range(BARE_TREE_DEPTH):
        segments = [np.array(pair) for pair in zip(starts, ends, strict=True)]
        scene.canvas.paint(scene.canvas.strokes(segments, thickness), scene.silhouette * 2)
        spread = scene.rng.normal(0, 0.45, (len(ends), 3))
        directions = (directions[:, None] + spread).ravel()
        starts = np.repeat(ends, 3, axis=0)
        reach = length * scene.rng.uniform(0.6, 1.1, len(starts))
        ends = starts + reach[:, None] * np.stack([np.cos(directions), np.sin(directions)], axis=1)
        length *= 0.66
        thickness = max(1, int(thickness * 0.6))
