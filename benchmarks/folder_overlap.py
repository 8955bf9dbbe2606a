"""How well a folder run overlaps decoding, the network and encoding: wall time over the bound that the cores set.

    python benchmarks/folder_overlap.py [--files 24] [--size 1080x1920] [--milliseconds 10,30,130] [--scale native]

Makes a folder of PNG pictures and converts it to EXR with an engine that sleeps, as a GPU computes while the processor
is free. A run cannot be faster than the network, nor than what the cores do at best: the same decoding and encoding,
without the runner, by as many threads as there are cores, each taking one file after the other. That is timed on half
the files before each run and on half after it, so that other work on the machine slows both alike.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from command_line import Parser, above_zero, height_and_width, several, start, whole_number
from sleeping import SleepingEngine

from dcdr_deploy import ConvertOptions, Runner, convert_folder
from dcdr_deploy.run.picture import begin, decode, encode
from dcdr_deploy.run.working_scale import parse_scale
from dcdr_deploy.system.hardware import cpu_threads


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--files", type=whole_number, default=24, help="pictures of a run")
    parser.add_argument("--size", type=height_and_width, default="1080x1920", metavar="HxW", help="of the pictures")
    parser.add_argument(
        "--milliseconds", type=several(above_zero), default="10,30,130", help="time of the network a frame"
    )
    parser.add_argument("--scale", default="native", help="auto calls the engine twice a frame")
    options = parser.parse_args()
    height, width = options.size
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pictures(folder / "in", options.files, height, width)
        convert = ConvertOptions(scale=parse_scale(options.scale))
        print(f"{options.files} PNG of {width} x {height} to EXR, scale {options.scale}, {cpu_threads()} cores")
        print(
            "| network ms | folder s a frame | network s | cores s | ratio to the larger | processor time, s | ratio |"
        )
        print("|---|---|---|---|---|---|---|")
        for milliseconds in options.milliseconds:
            print(compared(folder, milliseconds / 1e3, convert), flush=True)


def make_pictures(folder: Path, files: int, height: int, width: int) -> None:
    folder.mkdir()
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    base = 128 + 90 * np.sin(x / 90) + 60 * np.cos(y / 70)  # some of it clips
    for number in range(files):
        noise = np.random.default_rng(number).normal(0, 2, (height, width, 3))
        picture = np.clip(base[..., None] + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:03}.png"), picture)


def compared(folder: Path, seconds: float, options: ConvertOptions) -> str:
    """A row: the run beside its bounds, seconds a frame."""
    paths = sorted((folder / "in").iterdir())
    half = len(paths) // 2
    before = by_cores(paths[:half], folder, options)
    with SleepingEngine(seconds) as engine:
        started, processor = time.perf_counter(), time.process_time()
        convert_folder(folder / "in", folder / f"out-{seconds}", Runner(engine, tile=None), options)
        run = (time.perf_counter() - started) / len(paths), (time.process_time() - processor) / len(paths)
        network = engine.calls * seconds / len(paths)
    after = by_cores(paths[half:], folder, options)
    cores, alone = ((first + last) / len(paths) for first, last in zip(before, after, strict=True))
    bound = max(network, cores)
    return (
        f"| {1e3 * seconds:g} | {run[0]:.3f} | {network:.3f} | {cores:.3f} | {run[0] / bound:.2f} "
        f"| {run[1]:.3f} | {run[1] / alone:.2f} |"
    )


def by_cores(paths: list[Path], folder: Path, options: ConvertOptions) -> tuple[float, float]:
    """Seconds, on the wall and of the processor, of all that a run does with these files but for the network."""

    def convert(path: Path) -> None:
        with SleepingEngine(0) as engine:
            encode(begin(decode(path), Runner(engine, tile=None), options)(), folder / f"{path.stem}.exr", options)

    started, processor = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(cpu_threads()) as pool:
        list(pool.map(convert, paths))
    return time.perf_counter() - started, time.process_time() - processor


if __name__ == "__main__":
    start(main)
