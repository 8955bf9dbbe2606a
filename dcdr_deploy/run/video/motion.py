"""Block motion between two small pictures: pure functions.

From coarse to fine: at the coarsest level one displacement for the whole picture, then one for each block that may
differ a little from what the level above found, then a fraction of a pixel. A block whose own picture does not decide,
as white that has clipped does not, keeps what is found around it and above.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.run.channels import channels_of

BLOCK = 8
"""Pixels of a block's edge."""

REACH = 3
"""Pixels of the coarsest level that are searched to each side."""

LEAST_EDGE = 24
"""Pixels; a level with a smaller edge says nothing."""

MOST_LEVELS = 4

LARGEST_EDGE = 384
"""Pixels of the finest level: blocks of larger pictures move alike, and vectors are interpolated."""

STAYING = 0.002
"""What a pixel's displacement from the level above costs, in units of luma (white is 1): noise does not buy it."""

Luma = NDArray[np.float32]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Motion:
    """Where the points of a picture were in the one before.

    Attributes:
        places: (h, w, 2) float32, column and row in the picture before.
        residual: (h, w) mean difference of luma around a point after the motion, white is 1.
    """

    places: NDArray[np.float32]
    residual: NDArray[np.float32]

    def moved(self, field: NDArray[np.float32], rows: slice = slice(None)) -> NDArray[np.float32]:
        """Bring a field (h, w, C) of the picture before here, or some rows of it; 0 where it comes from outside."""
        columns, lines = channels_of(self.places[rows])
        found = cv2.remap(
            field,
            columns,
            lines,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(0, 0, 0, 0),
        )
        return np.asarray(found, np.float32).reshape(*columns.shape, -1)


def block_motion(before: Luma, now: Luma) -> Motion:
    """Find the motion between two pictures.

    Args:
        before, now: (h, w) float32, luma in [0, 1].
    """
    levels = list(zip(_pyramid(before), _pyramid(now), strict=True))
    vectors = _whole(*levels[-1])
    for number, (old, new) in reversed(list(enumerate(levels))):
        blocks = tuple(-(-edge // BLOCK) for edge in new.shape)
        vectors = np.asarray(cv2.resize(vectors, blocks[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
        vectors = _refined(old, new, vectors)
        if number:
            vectors *= 2
    vectors = _refined(*levels[0], vectors, parts=True)
    old, new = levels[0]
    places = _places(vectors, new.shape)
    residual = _around(np.abs(_sampled(old, *channels_of(places)) - new))
    height, width = now.shape
    factors = np.array([width / new.shape[1], height / new.shape[0]], np.float32)
    enlarged = np.asarray(cv2.resize(residual, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return Motion(_places(vectors * factors, now.shape), enlarged)


def _pyramid(luma: Luma) -> list[Luma]:
    """Return a picture in halves of its size, the largest of at most :data:`LARGEST_EDGE` pixels first."""
    factor = min(1.0, LARGEST_EDGE / max(luma.shape))
    size = (max(round(luma.shape[1] * factor), 1), max(round(luma.shape[0] * factor), 1))
    levels = [luma if factor == 1 else np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.float32)]
    while len(levels) < MOST_LEVELS and min(levels[-1].shape) >= 2 * LEAST_EDGE:
        halves = levels[-1].shape[1] // 2, levels[-1].shape[0] // 2
        levels.append(np.asarray(cv2.resize(levels[-1], halves, interpolation=cv2.INTER_AREA), np.float32))
    return levels


def _whole(old: Luma, new: Luma) -> Vectors:
    """Return the displacement that suits the whole picture best, (1, 1, 2)."""
    reach = min(REACH, min(old.shape) // 4)
    inner = new[reach : new.shape[0] - reach, reach : new.shape[1] - reach]
    best, found = np.inf, (0, 0)
    # The shortest first: of displacements that are as good as each other it is the one.
    for x, y in sorted(
        itertools.product(range(-reach, reach + 1), repeat=2), key=lambda step: abs(step[0]) + abs(step[1])
    ):
        part = old[reach + y : reach + y + inner.shape[0], reach + x : reach + x + inner.shape[1]]
        cost = cv2.norm(part, inner, cv2.NORM_L1) / inner.size + STAYING * (abs(x) + abs(y)) / BLOCK
        if cost < best:
            best, found = cost, (x, y)
    return np.full((1, 1, 2), found, np.float32)


def _refined(old: Luma, new: Luma, vectors: Vectors, *, parts: bool = False) -> Vectors:
    """Let every block's vector go a pixel to each side, or a part of one.

    Args:
        old, new: pictures of one level.
        vectors: (rows, columns, 2) of its blocks.
        parts: blocks that stay where they are move by a part of a pixel.
    """
    steps = [(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    costs = _costs(old, new, vectors, steps)
    staying = np.array([STAYING * (abs(x) + abs(y)) for x, y in steps], np.float32)
    chosen = (costs + staying[:, None, None]).argmin(axis=0)
    moved = vectors + np.array(steps, np.float32)[chosen]
    if parts:
        stays = chosen == 4
        for axis, (less, more) in enumerate(((3, 5), (1, 7))):
            moved[..., axis] += np.where(stays, _vertex(costs[less], costs[4], costs[more]), 0)
    # A single block among others that agree is mistaken.
    return np.stack([cv2.medianBlur(np.ascontiguousarray(moved[..., axis]), 3) for axis in (0, 1)], axis=-1)


def _vertex(less: Luma, middle: Luma, more: Luma) -> NDArray[np.float32]:
    """Return where a parabola through three costs is least, -0.5 to 0.5; 0 where they hardly differ."""
    bend = less - 2 * middle + more
    place = (less - more) / np.maximum(2 * bend, 1e-9)
    return np.where(bend > 2 * STAYING, np.clip(place, -0.5, 0.5), 0).astype(np.float32)


def _costs(old: Luma, new: Luma, vectors: Vectors, steps: list[tuple[int, int]]) -> Luma:
    """Return the mean absolute difference of luma in and around each block, (steps, rows, columns).

    Args:
        old, new, vectors: as of :func:`_refined`.
        steps: (x, y) from the vectors, -1 to 1 pixel.
    """
    columns, rows = channels_of(_places(vectors, new.shape) + 1)
    height, width = new.shape
    # Of the two pixels more to each side one is for the steps and one for places beyond the edge.
    wide = cv2.copyMakeBorder(old, 2, 2, 2, 2, cv2.BORDER_REPLICATE)
    moved = [wide[1 + y : height + 3 + y, 1 + x : width + 3 + x] for x, y in steps]
    costs = list[Luma]()
    for first in range(0, len(steps), 4):  # four pictures side by side are looked up as fast as one
        group = moved[first : first + 4]
        there = _sampled(np.asarray(cv2.merge(group), np.float32), columns, rows)
        difference = cv2.absdiff(there, cv2.merge([new] * len(group)))
        means = cv2.resize(difference, vectors.shape[1::-1], interpolation=cv2.INTER_AREA)
        around = np.asarray(cv2.blur(means, (3, 3), borderType=cv2.BORDER_REFLECT), np.float32)
        costs += channels_of(around.reshape(*vectors.shape[:2], -1))
    return np.stack(costs)


def _around(difference: Luma) -> Luma:
    """Return the mean over as much around each pixel as decides about a block's vector, (h, w)."""
    return np.asarray(cv2.blur(difference, (3 * BLOCK, 3 * BLOCK), borderType=cv2.BORDER_REFLECT), np.float32)


def _places(vectors: Vectors, size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return column and row for each pixel, (h, w, 2), vectors between the blocks' centres interpolated."""
    height, width = size
    flow = np.asarray(cv2.resize(vectors, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    flow = flow.reshape(height, width, 2)
    flow[..., 0] += np.arange(width, dtype=np.float32)
    flow[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    return flow


def _sampled(luma: Luma, columns: Luma, rows: Luma) -> Luma:
    """Return luma at places in its columns and rows, each (h, w)."""
    return np.asarray(cv2.remap(luma, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
