"""How well a folder run overlaps decoding, the network and encoding: wall time over the bound that the cores set.

    python benchmarks/folder_overlap.py [--files 24] [--size 1080x1920] [--milliseconds 10,30,130]

Makes a folder of PNG pictures, times decoding and encoding on their own, then folder runs with an engine that sleeps,
as a GPU computes while the processor is free. With c cores a run cannot be faster than
max(network, decode / c, encode / c), and, as both need the cores, not than (decode + encode) / c.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dcdr_deploy import Runner, convert_folder
from dcdr_deploy.engines import Engine, EngineInfo, ModelMetadata
from dcdr_deploy.engines.base import DEVICE_CUDA
from dcdr_deploy.imaging import read_image, white_units_summary, write_image
from dcdr_deploy.system.hardware import cpu_threads


class SleepingEngine(Engine):
    """Stands for a GPU: a result is there so many seconds after its computation could begin, one after the other."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._free = seconds, 0.0
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
        ready = max(self._free, time.perf_counter()) + self._seconds
        self._free = ready

        def finish() -> NDArray[np.float32]:
            time.sleep(max(ready - time.perf_counter(), 0))
            result = np.empty(batch.shape, np.float32)
            np.multiply(batch, np.float32(1 / 2040), out=result)
            return result.transpose(0, 3, 1, 2)

        return finish


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--size", default="1080x1920")
    parser.add_argument("--milliseconds", default="10,30,130", help="time of the network a frame, default: %(default)s")
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pictures(folder / "in", options.files, height, width)
        decode, encode = alone(folder)
        cores = cpu_threads()
        print(f"{options.files} PNG of {width} x {height}, {cores} cores; alone and on one core: ", end="")
        print(f"decoding {decode:.3f} s a frame, encoding {encode:.3f} s")
        print("| network ms | folder s a frame | max of the three | ratio | with both on the cores | ratio |")
        print("|---|---|---|---|---|---|")
        for milliseconds in map(float, options.milliseconds.split(",")):
            seconds = folder_run(folder, milliseconds / 1e3) / options.files
            bound = max(milliseconds / 1e3, decode / cores, encode / cores)
            shared = max(milliseconds / 1e3, (decode + encode) / cores)
            print(
                f"| {milliseconds:g} | {seconds:.3f} | {bound:.3f} | {seconds / bound:.2f} | {shared:.3f} "
                f"| {seconds / shared:.2f} |"
            )


def make_pictures(folder: Path, files: int, height: int, width: int) -> None:
    folder.mkdir()
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    base = 128 + 60 * np.sin(x / 90) + 50 * np.cos(y / 70)
    for number in range(files):
        noise = np.random.default_rng(number).normal(0, 2, (height, width, 3))
        picture = np.clip(base[..., None] + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:03}.png"), picture)


def alone(folder: Path) -> tuple[float, float]:
    """Seconds a frame of decoding and of encoding, with nothing beside them."""
    decode = encode = 0.0
    paths = sorted((folder / "in").iterdir())[:6]
    for path in paths:
        started = time.perf_counter()
        frame = read_image(path)
        decode += time.perf_counter() - started
        linear = frame.pixels.astype(np.float32) / 2040
        started = time.perf_counter()
        write_image(folder / "alone.exr", linear, peak=8.0)
        white_units_summary(linear, 8.0)
        encode += time.perf_counter() - started
    return decode / len(paths), encode / len(paths)


def folder_run(folder: Path, seconds: float) -> float:
    with SleepingEngine(seconds) as engine:
        started = time.perf_counter()
        convert_folder(folder / "in", folder / f"out-{seconds}", runner=Runner(engine, tile=None))
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
