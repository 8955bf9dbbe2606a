"""Bilinear enlargement of small fields, any part at a time.

OpenCV's remap would do, but it rounds places to 1/32 of a cell, which shows as steps where a cell is many pixels wide;
its resize does not, but knows no parts of a column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Light = NDArray[np.float32]


@dataclass(frozen=True)
class Enlargement:
    """Bilinear enlargement between pixel centres of a field (h, w, C) to (H, W, C), any part of it at a time.

    With other than 1, 3 or 4 channels OpenCV's resize takes twice as long, and its places are off by up to 1e-4.
    """

    field: Light
    size: tuple[int, int]

    def part(self, start: int, stop: int, left: int, right: int) -> Light:
        """Return rows ``start`` to ``stop`` and columns ``left`` to ``right``, (n, m, C)."""
        import cv2

        above, below, down = _neighbours(start, stop, self.size[0], self.field.shape[0])
        rows = _between(self.field[above], self.field[below], down[:, None, None])
        wide = np.asarray(cv2.resize(rows, (self.size[1], len(rows)), interpolation=cv2.INTER_LINEAR), np.float32)
        return wide.reshape(len(rows), self.size[1], -1)[:, left:right]


def _neighbours(start: int, stop: int, length: int, cells: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Light]:
    """Return the cells on both sides of each pixel of an axis and where between their centres it lies, 0 to 1."""
    places = np.clip((np.arange(start, stop) + 0.5) * (cells / length) - 0.5, 0, cells - 1)
    before = places.astype(np.intp)
    return before, np.minimum(before + 1, cells - 1), (places - before).astype(np.float32)


def _between(low: Light, high: Light, place: Light) -> Light:
    """Interpolate, into the memory of ``high``."""
    high -= low
    high *= place
    high += low
    return high
