"""An engine without a network: every pixel's light times what a function says, so that results are known by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import Engine, EngineInfo
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.modelfile.metadata import ModelMetadata

PEAK = 8.0
Planes = NDArray[np.float32]


def brighter_where_clipped(light: Planes) -> Planes:
    """(N, 3, h, w): clipped channels come back four times as bright, all others as they are."""
    return np.where(light > 0.99, 4 * light, light).astype(np.float32)


class BrightEngine(Engine):
    """Returns ``change(linear light)`` / PEAK; counts its calls and remembers the sizes it was given."""

    def __init__(self, change: Callable[[Planes], Planes] = brighter_where_clipped) -> None:
        self.info = EngineInfo("bright", "CPU", "fp32", None, ModelMetadata(peak=PEAK, name="bright"))
        self.sizes: list[tuple[int, int]] = []
        self._change = change

    def _infer(self, batch: Planes) -> Planes:
        self.sizes.append((batch.shape[2], batch.shape[3]))
        return (self._change(srgb_to_linear(batch).astype(np.float32)) / np.float32(PEAK)).astype(np.float32)
