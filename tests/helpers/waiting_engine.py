"""An engine that does what a test tells it: waits, fails, counts."""

from __future__ import annotations

import threading

import numpy as np
from gain_net import METADATA

from dcdr_deploy.engines.base import Engine, EngineInfo


class WaitingEngine(Engine):
    """Gives its input back, once ``go`` is set; raises ``error`` where there is one.

    Attributes:
        begun: set by the first call.
        calls: how many there were.
    """

    def __init__(self) -> None:
        self.info = EngineInfo("waiting", "CPU", "fp32", None, METADATA)
        self.go = threading.Event()
        self.begun = threading.Event()
        self.error: Exception | None = None
        self.calls = 0

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        self.calls += 1
        self.begun.set()
        assert self.go.wait(30), "the test never let the engine go on"
        if self.error is not None:
            raise self.error
        return batch
