"""Codes of 16 bits as codes of 8."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def eight_bits(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """Return codes of 8 bits as they are, and of 16 bits the nearest of 8, of which each is 257 (65535 / 255) apart.

    Args:
        codes: uint8 or uint16, any shape.
    """
    if codes.dtype == np.uint8:
        return np.asarray(codes)
    return ((codes.astype(np.uint32) + 128) // 257).astype(np.uint8)
