"""How well a folder run overlaps decoding, inference and encoding: wall time over the slowest stage.

    python benchmarks/folder_overlap.py [--files 16] [--size 1080x1920]

Makes a folder of PNG pictures, runs each stage over it on its own, then the folder run, in one process. A light engine
(inverse sRGB) stands for a fast GPU, which is where overlap matters: there decoding and encoding weigh as much as
inference.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dcdr_deploy import Runner, convert_folder
from dcdr_deploy.engines import Engine, EngineInfo, ModelMetadata
from dcdr_deploy.imaging import read_image, white_units_summary, write_image


class WaitingEngine(Engine):
    """Stands for a GPU: returns its input after a set time in which the CPU is free."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.info = EngineInfo("waiting", "none", "fp32", None, ModelMetadata(peak=8.0))

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(self.seconds)
        return batch / 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--size", default="1080x1920")
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        base = 128 + 60 * np.sin(x / 90) + 50 * np.cos(y / 70)
        for number in range(options.files):
            noise = np.random.default_rng(number).normal(0, 2, (height, width, 3))
            picture = np.clip(base[..., None] + noise, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / "in" / f"{number:03}.png"), picture)
        print("| engine s/frame | decode s | infer s | encode s | folder s | folder / slowest stage |")
        print("|---|---|---|---|---|---|")
        for seconds in (0.0, 0.3, 0.6):
            measure(folder, seconds)


def measure(folder: Path, seconds: float) -> None:
    paths = sorted((folder / "in").iterdir())
    with WaitingEngine(seconds) as engine:
        runner = Runner(engine, tile=None)
        stages = [0.0, 0.0, 0.0]
        for path in paths:
            times = [time.perf_counter()]
            frame = read_image(path)
            times.append(time.perf_counter())
            linear = runner.run(frame)
            times.append(time.perf_counter())
            white_units_summary(linear, 8.0)
            write_image(folder / "alone.exr", linear, peak=8.0)
            times.append(time.perf_counter())
            stages = [total + b - a for total, a, b in zip(stages, times, times[1:], strict=False)]
        started = time.perf_counter()
        convert_folder(folder / "in", folder / f"out-{seconds}", runner=runner)
        wall = time.perf_counter() - started
    decode, infer, encode = stages
    print(f"| {seconds} | {decode:.2f} | {infer:.2f} | {encode:.2f} | {wall:.2f} | {wall / max(stages):.2f} |")


if __name__ == "__main__":
    main()
