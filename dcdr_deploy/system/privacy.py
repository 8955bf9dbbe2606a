"""Nothing leaves the machine: libraries that would report their use, or keep an identity for that, are kept from it.

Both have to be told before they are imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OPENVINO_TELEMETRY = "openvino_telemetry"


def silence_onnxruntime() -> None:
    """Have ONNX Runtime report nothing and store no device id; its own call for that comes too late."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@contextmanager
def without_openvino_telemetry() -> Iterator[None]:
    """Keep OpenVINO from its telemetry package while it is imported; it has a stand-in of its own for a missing one."""
    if _OPENVINO_TELEMETRY in sys.modules:  # somebody else's choice
        yield
        return
    sys.modules[_OPENVINO_TELEMETRY] = None  # type: ignore[assignment]  # makes its import fail
    try:
        yield
    finally:
        del sys.modules[_OPENVINO_TELEMETRY]


def silence_ray() -> None:
    """Have Ray report nothing (its usage statistics), also what it starts."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
