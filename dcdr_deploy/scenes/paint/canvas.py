"""Antialiased painting on a linear HDR picture, and fractal noise.

OpenCV antialiases 8-bit pictures only, so shapes are drawn as 8-bit coverage in their bounding box and then blended
in float. Points are (x, y) in pixels, with pixel centres on whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Points = npt.ArrayLike
Draw = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.float64]], object]
"""Draws into an 8-bit mask whose upper left pixel is the given canvas position."""
_SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates
_MARGIN = 2  # pixels around a shape for its antialiased rim


@dataclass(frozen=True)
class Patch:
    """Coverage 0..1 of a shape inside its bounding box on a canvas."""

    rows: slice
    columns: slice
    coverage: FloatArray  # (h, w, 1)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the bounding box."""
        return self.coverage.shape[0], self.coverage.shape[1]


class Canvas:
    """A square linear RGB picture, float32 (size, size, 3), with painting operations."""

    def __init__(self, size: int):
        self.size = size
        self.image: FloatArray = np.zeros((size, size, 3), np.float32)

    def polygon(self, points: Points) -> Patch | None:
        """Coverage of a filled polygon; None outside the canvas. So for the other shapes."""
        corners = np.asarray(points, np.float64)
        return self._draw(
            corners, 0, lambda mask, origin: cv2.fillPoly(mask, [_fixed(corners - origin)], 255, cv2.LINE_AA, _SHIFT)
        )

    def ellipse(self, centre: Points, axes: Points, angle: float = 0.0) -> Patch | None:
        """Coverage of a filled ellipse with half ``axes`` in pixels, turned by ``angle`` degrees."""
        middle, half = np.asarray(centre, np.float64), np.maximum(np.asarray(axes, np.float64), 0.5)

        def draw(mask: npt.NDArray[np.uint8], origin: npt.NDArray[np.float64]) -> None:
            fixed_centre, fixed_axes = _fixed(middle - origin).tolist(), _fixed(half).tolist()
            cv2.ellipse(mask, fixed_centre, fixed_axes, angle, 0, 360, 255, -1, cv2.LINE_AA, _SHIFT)

        return self._draw(middle[None], float(half.max()), draw)

    def strokes(self, lines: list[npt.NDArray[np.float64]], thickness: int) -> Patch | None:
        """Coverage of open polylines of the same whole-pixel thickness."""
        thickness = max(1, thickness)

        def draw(mask: npt.NDArray[np.uint8], origin: npt.NDArray[np.float64]) -> None:
            fixed = [_fixed(line - origin) for line in lines]
            cv2.polylines(mask, fixed, False, 255, thickness, cv2.LINE_AA, _SHIFT)

        return self._draw(np.concatenate(lines), thickness, draw) if lines else None

    def box(self, left: float, top: float, right: float, bottom: float) -> Patch | None:
        """Full coverage of the whole pixels in a rectangle; None if it is empty on the canvas."""
        x0, x1 = (int(np.clip(round(x), 0, self.size)) for x in (left, right))
        y0, y1 = (int(np.clip(round(y), 0, self.size)) for y in (top, bottom))
        if x1 <= x0 or y1 <= y0:
            return None
        return Patch(slice(y0, y1), slice(x0, x1), np.ones((y1 - y0, x1 - x0, 1), np.float32))

    def paint(self, patch: Patch | None, radiance: npt.ArrayLike, opacity: float = 1.0) -> None:
        """Blend radiance, a colour (3,) or a picture of the patch's bounding box, over the canvas."""
        if patch is None:
            return
        region = self.image[patch.rows, patch.columns]
        region += patch.coverage * opacity * (np.asarray(radiance, np.float32) - region)

    def scale(self, patch: Patch | None, gain: npt.ArrayLike) -> None:
        """Multiply what the patch covers, as a change of illumination does."""
        if patch is None:
            return
        self.image[patch.rows, patch.columns] *= 1 + patch.coverage * (np.asarray(gain, np.float32) - 1)

    def _draw(self, points: npt.NDArray[np.float64], reach: float, draw: Draw) -> Patch | None:
        """Rasterise into the clipped bounding box of ``points`` widened by ``reach``."""
        low = np.clip(np.floor(points.min(axis=0) - reach - _MARGIN), 0, self.size).astype(int)
        high = np.clip(np.ceil(points.max(axis=0) + reach + _MARGIN), 0, self.size).astype(int)
        if (high <= low).any():
            return None
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        draw(mask, low.astype(np.float64))
        coverage = mask[..., None].astype(np.float32) * np.float32(1 / 255)
        return Patch(slice(low[1], high[1]), slice(low[0], high[0]), coverage)


def fractal_noise(
    rng: np.random.Generator, height: int, width: int, octaves: int = 6, persistence: float = 0.55, stretch: float = 1.0
) -> FloatArray:
    """Sum of smooth random grids, each twice as fine and ``persistence`` as strong as the one before; mean 0.5.

    Args:
        rng: source of the grids.
        height: rows of the result.
        width: columns of the result.
        octaves: number of grids.
        persistence: amplitude ratio of neighbouring octaves.
        stretch: above 1, horizontally drawn-out features.

    Returns:
        float32 (height, width), roughly 0..1.
    """
    total = np.zeros((height, width), np.float32)
    amplitude, amplitudes = 1.0, 0.0
    for octave in range(octaves):
        across = 2 ** (octave + 1) + 1
        grid = rng.random((max(2, int(across * stretch)), across), dtype=np.float32)
        total += np.float32(amplitude) * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        amplitudes += amplitude
        amplitude *= persistence
    return total / np.float32(amplitudes)


def _fixed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """OpenCV fixed-point coordinates, kept clear of its integer overflow."""
    return np.rint(np.clip(values, -30000, 30000) * 2**_SHIFT).astype(np.int32)
