"""A small frame by engine ``cuda`` and the demo weights, three times: launched, recorded and as a graph; and of video.

    compute-sanitizer --tool memcheck python benchmarks/gpu_small_frame.py

What `compute-sanitizer` of the CUDA toolkit watches in gpu_check.py: every kernel of a frame, with edges that fill no
tile, in seconds, and where OpenCV is installed the passes over whole frames of video. Without torch, whose kernels
would be watched too.
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
from dcdr_deploy.system.packages import installed

SIZE = (68, 92)
TIMES = 3

WHOLE, SEEN = (67, 93), (34, 46)
"""Size of a frame of video, and of what the network sees of it."""


def main() -> None:
    Parser(__doc__).parse_args()
    need_gpu()
    picture = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)
    with load(DEMO_MODEL, EngineOptions(device="cuda")) as engine:
        for _ in range(TIMES):
            engine.infer_codes(picture)
        passes = engine.passes() if installed("cv2") else None
        if passes is not None:
            from gpu_passes import put_through

            put_through(passes, WHOLE, SEEN)


if __name__ == "__main__":
    start(main)
