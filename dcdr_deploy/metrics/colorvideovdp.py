"""ColorVideoVDP (R. Mantiuk and others, SIGGRAPH 2024) through the package ``cvvdp``."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.system.packages import install_line

DISPLAY = "standard_hdr_linear"
"""The package's 30 inch 4K display of 1500 cd/m2 that takes linear Rec. 709, in a dim room, at two picture heights."""


def missing() -> str:
    """Why it cannot be computed here; empty where it can."""
    if importlib.util.find_spec("pycvvdp") is None:
        return f"the package cvvdp is not installed: {install_line('cvvdp')}"
    return ""


def quality(test: NDArray[np.floating[Any]], reference: NDArray[np.floating[Any]]) -> float:
    """Quality in JOD (just objectionable differences), 10 for identical pictures; (H, W, 3) in cd/m2."""
    jod, _ = _metric().predict(test.astype(np.float32), reference.astype(np.float32), dim_order="HWC")
    return float(jod)


@functools.cache
def _metric() -> Any:
    import pycvvdp
    import torch

    return pycvvdp.cvvdp(display_name=DISPLAY, quiet=True, device=torch.device("cpu"))
