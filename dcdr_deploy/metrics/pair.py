"""A prediction and its ground truth, and what several metrics need of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.metrics.psnr import PAPER_MU, mu_law

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

T = TypeVar("T")


class Pair:
    """Two linear pictures of one size.

    Attributes:
        prediction, truth: (H, W, 3) float32, linear Rec. 709, finite; 1.0 is full scale, larger values may occur.
        nits: luminance of full scale in cd/m2, ``None`` where nobody knows.
    """

    def __init__(self, prediction: Array, truth: Array, nits: float | None = None) -> None:
        if prediction.shape != truth.shape or truth.ndim != 3 or truth.shape[2] != 3:
            raise ValueError(f"shapes {prediction.shape} and {truth.shape}: both must be (H, W, 3) and the same")
        self.prediction = prediction
        self.truth = truth
        self.nits = nits
        self._kept: dict[str, Any] = {}

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.truth.shape[0], self.truth.shape[1]

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What ``make`` returns; computed the first time and kept for the other metrics and regions."""
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    def linear(self) -> tuple[Array, Array]:
        """Both in [0, 1], as 16-bit files hold them: the paper's pictures know nothing above full scale."""
        return self.once("linear", lambda: (np.clip(self.prediction, 0, 1), np.clip(self.truth, 0, 1)))

    def mu_encoded(self) -> tuple[Array, Array]:
        """Both after the paper's mu-law, in [0, 1]."""
        return self.once("mu", lambda: (mu_law(self.prediction, PAPER_MU), mu_law(self.truth, PAPER_MU)))

    def in_nits(self) -> tuple[Array, Array]:
        """Both in cd/m2, not negative.

        Raises:
            ValueError: the luminance of full scale is not known.
        """
        if self.nits is None:
            raise ValueError("the luminance of full scale is not known")
        nits = np.float32(self.nits)
        return self.once("nits", lambda: (np.maximum(self.prediction, 0) * nits, np.maximum(self.truth, 0) * nits))


def masked_mse(a: Array, b: Array, mask: Mask | None) -> float:
    """Mean squared error of (H, W) or (H, W, C), over a mask's pixels where there is one; NaN for an empty mask."""
    if mask is not None:
        a, b = a[mask], b[mask]
    if a.size == 0:
        return float("nan")
    return float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))


def masked_mean(values: Array, mask: Mask | None) -> float:
    """Mean of (H, W) over the pixels of a mask, without NaN; NaN where none is left."""
    chosen = values if mask is None else values[mask]
    chosen = chosen[np.isfinite(chosen)]
    return float(chosen.mean()) if chosen.size else float("nan")
