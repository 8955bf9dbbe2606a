"""Alpha beside the colours, as a fourth sample of each pixel."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.system.strips import for_strips

Sample = TypeVar("Sample", bound=np.generic)


def codes_of(alpha: NDArray[np.float32], top: int) -> NDArray[np.uint16]:
    """Return alpha in [0, 1] as rounded codes from 0 to ``top``."""
    return np.rint(alpha * np.float32(top)).astype(np.uint16)


def beside(colours: NDArray[Sample], alpha: NDArray[Sample], out: NDArray[Sample] | None = None) -> NDArray[Sample]:
    """Return (H, W, 4) of colours, (H, W, 3), and alpha, (H, W); of 16-bit integers, halves or float32.

    Args:
        colours: R, G, B or B, G, R.
        alpha: of the same type.
        out: C-contiguous, where they go; ``None`` makes an array.
    """
    import cv2

    samples = np.empty((*alpha.shape, 4), colours.dtype) if out is None else out

    def fill(start: int, stop: int) -> None:
        place = _moved(samples[start:stop])
        cv2.cvtColor(_moved(colours[start:stop]), cv2.COLOR_RGB2RGBA, place)
        cv2.insertChannel(_moved(alpha[start:stop]), place, 3)

    for _ in for_strips(len(samples), fill):
        pass
    return samples


def _moved(samples: NDArray[Any]) -> NDArray[Any]:
    """The bits of halves, which OpenCV moves only as integers."""
    return samples.view(np.uint16) if samples.dtype == np.float16 else samples
