"""The passes over whole frames of video on a GPU beside the processor's: time, and how far apart their samples are.

    python benchmarks/gpu_passes.py [--sizes 1080x1920,2160x3840] [--seconds 12] [--backend cuda --device cuda]

A decoded frame (8 bits, 4:2:0), a ninth of it white, is averaged down to 768 pixels, and a field is put onto it as PQ
of 10 bits, 4:2:0. "Alone" is one call after the other, "together" from as many threads as there may be frames on the
GPU; both with the copies between processor and GPU. Processor time is that of all threads.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402 - needs the path
import numpy as np  # noqa: E402
from command_line import Parser, above_zero, add_frame_sizes, start  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from text_tables import markdown  # noqa: E402

from dcdr_deploy.engines.cuda.video import SLOTS, FramesOnDevice, VideoKernels  # noqa: E402
from dcdr_deploy.engines.passes import FramePasses  # noqa: E402
from dcdr_deploy.imaging.delivery import Delivery  # noqa: E402
from dcdr_deploy.imaging.light import PQ, Light  # noqa: E402
from dcdr_deploy.run.dials import NEUTRAL  # noqa: E402
from dcdr_deploy.run.gain import ExcessField, log_gain_of  # noqa: E402
from dcdr_deploy.run.opening import RunnerSettings, open_runner  # noqa: E402
from dcdr_deploy.run.preprocessing import tables_for  # noqa: E402
from dcdr_deploy.run.strips import SecondPass, average_down  # noqa: E402
from dcdr_deploy.run.video.passes import CODE_BITS, clipping_of, samples_of, signal_of, stacked  # noqa: E402
from dcdr_deploy.run.video.yuv import BT709_LUMA, Layout, from_rgb, to_rgb  # noqa: E402
from dcdr_deploy.run.working_scale import AUTO, working_sizes  # noqa: E402

PEAK = 8.0
IN, OUT = Layout(8, 2, 2), Layout(10, 2, 2, level=True)


@dataclass(frozen=True)
class Row:
    """A pass at a size: milliseconds a frame, and the largest difference from the processor's result."""

    size: tuple[int, int]
    name: str
    alone: float
    together: float
    host: float
    processor: float
    difference: float


def frame_of(size: tuple[int, int]) -> tuple[NDArray[np.uint8], ...]:
    """Planes Y', Cb and Cr of a frame with noise and a white area of a ninth."""
    height, width = size
    rng = np.random.default_rng(0)
    luma = rng.integers(40, 200, size, np.uint8)
    luma[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 235
    return luma, *(rng.integers(120, 136, IN.chroma_size(*size), np.uint8) for _ in range(2))


def field_of(cells: tuple[int, int]) -> ExcessField:
    """A field that differs from cell to cell."""
    rng = np.random.default_rng(1)
    excess = rng.uniform(0, PEAK - 1, (*cells, 3)).astype(np.float32)
    certainty = rng.uniform(0.01, 1, (*cells, 1)).astype(np.float32)
    return ExcessField(log_gain_of(excess), certainty, np.ones((*cells, 1), np.float32))


def timed(work: Callable[[], object], seconds: float, threads: int = 1) -> tuple[float, float]:
    """Milliseconds a call, on the wall and of the processor, of as many as fit, 200 at most, by so many threads."""
    work()
    started = time.perf_counter()
    work()
    calls = min(max(int(seconds * threads / (time.perf_counter() - started)), 2), 200)
    with ThreadPoolExecutor(threads) as pool:
        started, used = time.perf_counter(), time.process_time()
        for each in [pool.submit(work) for _ in range(calls)]:
            each.result()
        return 1000 * (time.perf_counter() - started) / calls, 1000 * (time.process_time() - used) / calls


def rows(passes: FramePasses, size: tuple[int, int], seconds: float) -> Iterator[Row]:
    """Measure both passes at a size, (H, W), one after the other; so many seconds for each figure."""
    planes, cells = frame_of(size), working_sizes(*size, AUTO)[0]
    field, delivery = field_of(cells), Delivery(Light(transfer=PQ), PEAK)
    samples, clipping = samples_of(planes, IN, BT709_LUMA, full_range=False), clipping_of(NEUTRAL)
    signal, tables = signal_of(delivery, OUT, NEUTRAL, PEAK), tables_for(CODE_BITS, NEUTRAL)

    def average_here() -> NDArray[np.float32]:
        return average_down(to_rgb(planes, IN, BT709_LUMA, full_range=False), tables, cells).light

    def finish_there() -> Sequence[NDArray[np.uint16]]:
        made = OUT.room(*size)
        passes.finish(samples, clipping, stacked(field), signal, made)
        return made

    def finish_here() -> Sequence[NDArray[np.uint16]]:
        rgb = to_rgb(planes, IN, BT709_LUMA, full_range=False)
        linear = SecondPass(rgb, rgb, tables, NEUTRAL, PEAK).from_field(field).linear
        return from_rgb(cv2.split(delivery.signals(linear)[0]), OUT)

    pairs: dict[str, tuple[Callable[[], Sequence[NDArray]], Callable[[], Sequence[NDArray]]]] = {
        "average": (lambda: [passes.average(samples, clipping, cells).light], lambda: [average_here()]),
        "finish": (finish_there, finish_here),
    }
    for name, (there, here) in pairs.items():
        both = zip(there(), here(), strict=True)
        difference = max(float(np.abs(one.astype(np.float64) - other).max()) for one, other in both)
        alone, host = timed(there, seconds)
        together, _ = timed(there, seconds, SLOTS)
        _, processor = timed(here, seconds)
        yield Row(size, name, alone, together, host, processor, difference)


def put_through(passes: FramePasses, size: tuple[int, int], cells: tuple[int, int]) -> None:
    """Send a frame of (H, W) through both passes, with a working size of (h, w)."""
    rows, columns = OUT.chroma_size(*size)
    made = OUT.room(OUT.down * rows, OUT.across * columns)  # as large as whole samples of chroma
    samples, clipping = samples_of(frame_of(size), IN, BT709_LUMA, full_range=False), clipping_of(NEUTRAL)
    signal = signal_of(Delivery(Light(transfer=PQ), PEAK), OUT, NEUTRAL, PEAK)
    passes.average(samples, clipping, cells)
    passes.finish(samples, clipping, stacked(field_of(cells)), signal, made)


def launches(passes: FramesOnDevice, size: tuple[int, int], cells: tuple[int, int]) -> list[Callable[[int], None]]:
    """Return what puts either pass over a frame of (H, W), with a working size of (h, w), on a stream once more.

    No frame may go through the passes meanwhile: its memory is in use again.
    """
    recorder = _Recorder(passes._kernels)
    passes._kernels = recorder  # type: ignore[assignment]
    try:
        for _ in range(2):  # the first time, what the passes work in may still move
            recorder.calls.clear()
            put_through(passes, size, cells)
    finally:
        passes._kernels = recorder.kernels
    return list(recorder.calls)


class _Recorder:
    """Launches kernels of the passes, and keeps how."""

    def __init__(self, kernels: VideoKernels) -> None:
        self.kernels, self.calls = kernels, list[Callable[[int], None]]()

    def average(self, *arguments: Any) -> None:
        self._launch(self.kernels.average, *arguments)

    def finish(self, *arguments: Any) -> None:
        self._launch(self.kernels.finish, *arguments)

    def _launch(self, launch: Callable[..., None], *arguments: Any) -> None:
        *rest, stream = arguments
        self.calls.append(functools.partial(launch, *rest))
        launch(*rest, stream)


HEAD = ("frame", "pass", "ms alone", "ms together", "processor ms beside the GPU", "processor ms without", "differs")


def shown(row: Row) -> list[str]:
    """Return a row as its table has it."""
    times = (row.alone, row.together, row.host, row.processor)
    return [
        f"{row.size[1]}x{row.size[0]}",
        row.name,
        *(f"{value:.2f}" for value in times),
        f"{row.difference:.2g}",
    ]


def main() -> None:
    """Measure and print a table."""
    parser = Parser(__doc__)
    add_frame_sizes(parser, "1080x1920,2160x3840")
    parser.add_argument("--seconds", type=above_zero, default=12.0, help="for all figures together, about")
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--device", default="cuda")
    chosen = parser.parse_args()
    sizes = chosen.sizes
    with open_runner(None, RunnerSettings(chosen.backend, chosen.device)) as runner:
        passes = runner.engine.passes()
        if passes is None:
            parser.exit(1, f"error: {chosen.backend} leaves whole frames to the processor here\n")
        print(f"{runner.engine.info.backend} on {runner.engine.info.device}\n")
        each = chosen.seconds / (6 * len(sizes))
        print(markdown([HEAD]), flush=True)
        for height, width in sizes:
            for row in rows(passes, (height, width), each):
                print(f"| {' | '.join(shown(row))} |", flush=True)  # what takes long on a processor may be cut off


if __name__ == "__main__":
    start(main)
