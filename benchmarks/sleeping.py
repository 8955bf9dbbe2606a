"""An engine that sleeps, as a GPU computes while the processor is free."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines import Engine, EngineInfo, ModelMetadata
from dcdr_deploy.engines.base import DEVICE_CUDA


class SleepingEngine(Engine):
    """Stands for a GPU: a result is there so many seconds after its computation could begin, one after the other."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._free, self.calls = seconds, 0.0, 0
        metadata = ModelMetadata(peak=8.0)
        self.info = EngineInfo(
            "sleeping",
            "none",
            "fp32",
            None,
            metadata,
            device_kind=DEVICE_CUDA,
            checks_results=True,
            overlaps=True,
        )

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return batch / 8

    def _start_codes(self, batch: NDArray[np.uint8] | NDArray[np.uint16]) -> Callable[[], NDArray[np.float32]]:
        self.calls += 1
        ready = max(self._free, time.perf_counter()) + self._seconds
        self._free = ready

        def finish() -> NDArray[np.float32]:
            time.sleep(max(ready - time.perf_counter(), 0))
            result = np.empty(batch.shape, np.float32)
            np.multiply(batch, np.float32(1 / 2040), out=result)
            return result.transpose(0, 3, 1, 2)

        return finish
