"""Half floats by OpenCV, which rounds them ten times as fast as numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HALF_MAX = 65504.0
"""The largest finite half float."""


def to_half(values: NDArray[np.float32], out: NDArray[np.float16] | None = None) -> NDArray[np.float16]:
    """Round float32 to the nearest half floats, ties to even; what is beyond :data:`HALF_MAX` becomes infinite.

    Args:
        values: at least one axis, not empty.
        out: C-contiguous, of the same shape: where they go, such as rows of a picture. ``None`` makes an array.

    Raises:
        ValueError: ``out`` has another shape, or gaps (a bug of the caller).
    """
    import cv2

    if out is None:
        out = np.empty(values.shape, np.float16)
    elif out.shape != values.shape or not out.flags.c_contiguous:
        raise ValueError(f"halves of the shape {values.shape} do not fit into {out.shape}")
    rows = np.ascontiguousarray(values).reshape(len(values), -1)
    place = out.reshape(rows.shape)
    if hasattr(cv2, "convertFp16"):  # before OpenCV 5
        cv2.convertFp16(rows, place.view(np.int16))
    else:
        cv2.addWeighted(rows, 1, rows, 0, 0, place, cv2.CV_16F)
    return out
