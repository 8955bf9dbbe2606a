"""A small frame by engine ``cuda`` and the demo weights, three times: launched, recorded and as a graph.

    compute-sanitizer --tool memcheck python benchmarks/gpu_small_frame.py

What `compute-sanitizer` of the CUDA toolkit watches in gpu_check.py: every kernel of a frame, with edges that fill no
tile, in seconds. Without torch, whose kernels would be watched too.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from command_line import Parser, need_gpu, start

from dcdr_deploy.engines.base import EngineOptions
from dcdr_deploy.engines.cuda.engine import load
from dcdr_deploy.run.selection import DEMO_MODEL

SIZE = (68, 92)
TIMES = 3


def main() -> None:
    Parser(__doc__).parse_args()
    need_gpu()
    picture = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)
    with load(DEMO_MODEL, EngineOptions(device="cuda")) as engine:
        for _ in range(TIMES):
            engine.infer_codes(picture)


if __name__ == "__main__":
    start(main)
