"""Which way up pictures are: a mirroring and quarter turns, from the matrix that files hold. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Orientation:
    """What makes a stored picture upright.

    Attributes:
        mirrored: left and right change places first.
        quarters: turns by 90 degrees, counter-clockwise, 0 to 3.
    """

    mirrored: bool = False
    quarters: int = 0

    @property
    def sideways(self) -> bool:
        """Whether rows become columns."""
        return self.quarters % 2 == 1

    def upright(self, picture: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Return a picture (H, W, 3) as it is shown, C-contiguous."""
        turned = np.rot90(picture[:, ::-1] if self.mirrored else picture, self.quarters)
        return np.ascontiguousarray(turned)


def of_matrix(numbers: Sequence[int]) -> Orientation:
    """Return the orientation next to a transformation (ISO/IEC 14496-12, 6.2.2).

    Args:
        numbers: a, b, u, c, d, v, x, y, w: what lies at (p, q) is shown at (a p + c q + x, b p + d q + y), y downwards.
    """
    a, b, _, c, d = numbers[:5]
    mirrored = a * d - b * c < 0
    if mirrored:  # the turn that comes after the mirroring
        a, b = -a, -b
    return Orientation(mirrored, round(math.atan2(-b, a) / (math.pi / 2)) % 4)
