"""Whether a process that a test has lost sight of is gone."""

from __future__ import annotations

import os
import time


def gone(pid: int) -> bool:
    """Tell whether a process ended within a few seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
