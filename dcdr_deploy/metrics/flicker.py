"""Flicker of restored light over the frames of a video: how unsteady the gain is where the scene stands still.

Compared is every point of the scene in one frame with the same point in the frame before, to which a known motion
leads; papers call it warping error. In areas that had clipped the SDR picture says nothing of the light, so that what
changes there from frame to frame is of the method's making, save for what changes in the input itself.

Between pixels the frame before is interpolated, linearly, which evens out errors as fine as a pixel: half way between
four, a deviation of such errors comes out as 0.79 of itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]


@dataclass
class Flicker:
    """Squared changes between consecutive frames, pooled over pairs of frames: every pixel counts the same.

    Attributes:
        of_gain: sum of squared changes of the log gain, stops^2.
        of_input: sum of squared changes of the input's log light at the same points, stops^2.
        count: of points.
    """

    of_gain: float = 0.0
    of_input: float = 0.0
    count: int = 0

    def add(
        self, gain: tuple[Plane, Plane], given: tuple[Plane, Plane], clipped: tuple[Plane, Plane], places: Plane
    ) -> None:
        """Add a pair of frames; each argument but the last is of the frame before and of the frame itself.

        Args:
            gain: log2 of the gain, each (H, W).
            given: log2 of the input's light, each (H, W).
            clipped: 1 where the input had clipped, else 0, each (H, W) float32.
            places: (H, W, 2) column and row in the frame before of each point of the frame.
        """
        before = cv2.remap(
            clipped[0], places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
        )
        still = (before > 1 - 1e-3) & (clipped[1] > 0)  # bilinear samples of clipped pixels only
        self.count += int(still.sum())
        self.of_gain += _squares(gain, places, still)
        self.of_input += _squares(given, places, still)

    @property
    def variance(self) -> float:
        """Temporal variance of the log gain beyond the input's own, stops^2; NaN when no point was added.

        Half of the mean squared change from frame to frame (Allan, 1966): slow changes, as while a camera turns
        towards a lamp, do not count, and for errors that are independent from frame to frame it is their variance.
        """
        return max(self.of_gain - self.of_input, 0.0) / (2 * self.count) if self.count else float("nan")

    @property
    def stops(self) -> float:
        """Root of :attr:`variance`."""
        return float(np.sqrt(self.variance))

    @property
    def gain_stops(self) -> float:
        """Temporal standard deviation of the log gain with the input's own in it, stops."""
        return float(np.sqrt(self.of_gain / (2 * self.count))) if self.count else float("nan")


def _squares(planes: tuple[Plane, Plane], places: Plane, still: NDArray[np.bool_]) -> float:
    before = cv2.remap(planes[0], places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return float(((planes[1] - before)[still].astype(np.float64) ** 2).sum())
