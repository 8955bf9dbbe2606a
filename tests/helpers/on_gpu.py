"""An engine that passes for one on a GPU, so that a run spreads its other stages over the cores."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bright_engine import BrightEngine

from dcdr_deploy.engines.base import DEVICE_CUDA

WAIT = 30  # seconds after which a thread that should have come counts as missing


def bright_engine_on_gpu() -> BrightEngine:
    """A BrightEngine that says it is on a GPU."""
    engine = BrightEngine()
    engine.info = replace(engine.info, device_kind=DEVICE_CUDA)
    return engine


class Meeting:
    """A function whose first calls wait until there are so many of them at the same time.

    Attributes:
        threads: that called it.
    """

    def __init__(self, work: Callable[..., Any], together: int) -> None:
        self._work = work
        self._barrier = threading.Barrier(together)
        self._left = together
        self._lock = threading.Lock()
        self.threads: set[threading.Thread] = set()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Wait for the others, where this is one of the first calls, then work."""
        with self._lock:
            self.threads.add(threading.current_thread())
            self._left -= 1
            waits = self._left >= 0
        if waits:
            self._barrier.wait(WAIT)
        return self._work(*arguments, **named)
