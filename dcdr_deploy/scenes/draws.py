"""Random draws that several sources of samples make."""

from __future__ import annotations

from typing import overload

import numpy as np
import numpy.typing as npt


@overload
def log_uniform(rng: np.random.Generator, low: float, high: float) -> float: ...
@overload
def log_uniform(rng: np.random.Generator, low: float, high: float, size: int) -> npt.NDArray[np.float64]: ...
def log_uniform(
    rng: np.random.Generator, low: float, high: float, size: int | None = None
) -> float | npt.NDArray[np.float64]:
    """Numbers whose logarithm is uniform, for ranges that span decades.

    Args:
        rng: source of the numbers.
        low: smallest, positive.
        high: largest.
        size: how many; one number, not an array, by default.
    """
    drawn: float | npt.NDArray[np.float64] = np.exp(rng.uniform(np.log(low), np.log(high), size))
    return drawn


def whole_number(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number, each between two bounds as likely, both included."""
    return int(rng.integers(low, high + 1))
