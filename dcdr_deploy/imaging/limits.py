"""What lies outside of a range of light, in one pass over the bits of floats.

Floats that are not negative are ordered as their bits are when read as integers, and all negative ones are negative
integers. So one comparison of integers settles negative numbers, -0 and infinity; NaN is above infinity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_INFINITY = 0x7F800000


def limit(values: NDArray[np.float32], most: float, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Bring values into [0, ``most``]: NaN, negative ones and -0 become 0, infinity ``most``.

    Args:
        values: not empty.
        most: at least 0; rounded to float32.
        out: where they go, of the same shape; ``None`` changes them in place.

    Returns:
        ``out``, or ``values``.
    """
    place, bits = values if out is None else out, values.view(np.int32)
    if bits.max() > _INFINITY:
        bits = np.where(bits > _INFINITY, np.int32(0), bits)
    np.clip(bits, np.int32(0), np.array(most, np.float32).view(np.int32), out=place.view(np.int32))
    return place


def is_within(values: NDArray[np.float32], most: float) -> bool:
    """Tell whether all values lie in [0, ``most``], and none is -0 or NaN; see :func:`limit`."""
    return bool(values.view(np.uint32).max() <= np.array(most, np.float32).view(np.uint32))


def limited(values: NDArray[np.floating[Any]], most: float) -> NDArray[np.float32]:
    """Return values brought into [0, ``most``] as a new array, float32 and C-contiguous; see :func:`limit`."""
    return limit(np.array(values, np.float32, order="C"), most)
