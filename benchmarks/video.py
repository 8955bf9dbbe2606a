"""Frames a second of each stage of a video run alone, of all together, and what the runner adds to the slowest one.

    python benchmarks/video.py [--size 1080x1920] [--frames 48] [--codec hevc] [--preset medium] [--rounds 3]
    python benchmarks/video.py --size 2160x3840 --milliseconds 3        a network that leaves the processor alone

A photograph pans over the frame, there and back over as many places as frames are timed alone, so that a run gets the
same frames; its clip is made first, in H.264. Alone means one frame after the other with nothing beside it. A run
cannot be faster than the slowest of the stages that do one frame after the other (decode, infer, the mean of steadied
frames, encode; beside a GPU the others do several frames at a time), nor than the processor time of all stages by the
cores: those that as many busy threads get before and after the run, as other work on the machine takes its share. The
overhead is over the larger of the two. Processor time alone is compared too, which other work on the machine changes
less. Every round measures both ways, and what it takes to look through the clip before its segments are shared out
over a cluster; the last lines are medians of the rounds' ratios.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from command_line import Parser, height_and_width, start, whole_number
from sleeping import SleepingEngine

from dcdr_deploy.imaging import read_image
from dcdr_deploy.imaging.light import PQ
from dcdr_deploy.run.gain import ExcessField
from dcdr_deploy.run.opening import RunnerSettings, open_runner
from dcdr_deploy.run.restore import begin, restore
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.video.convert import PreparedVideo, convert_video
from dcdr_deploy.run.video.encoding import Encoded, SegmentEncoder
from dcdr_deploy.run.video.frames import BEGINNING, Picture, Selection
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import Network, VideoSettings
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.run.video.segment_jobs import Survey
from dcdr_deploy.run.video.segments import SegmentFile
from dcdr_deploy.run.video.steady import Steadying, Step
from dcdr_deploy.run.video.steady_in_turn import Renewed, SteadyingInTurn
from dcdr_deploy.run.video.target import EncodeOptions, Geometry, resolve
from dcdr_deploy.run.video.whole import whole_frames
from dcdr_deploy.run.working_scale import parse_scale

ROOT = Path(__file__).resolve().parents[1]
IN_ORDER = ("decode", "infer", "mean", "encode")
"""Stages that do one frame after the other in every run; there is a mean where frames are steadied."""

SUFFIXES = {"prores": ".mov", "prores4444": ".mov", "ffv1": ".mkv"}

Result = TypeVar("Result")


def to_and_fro(places: int, count: int) -> list[int]:
    """Return so many numbers below ``places``, each a neighbour of the one before: 0 1 2 1 0 1 2 for 3."""
    order = [*range(places), *range(places - 2, 0, -1)]
    return [order[number % len(order)] for number in range(count)]


def write_pan(path: Path, size: tuple[int, int], frames: int, turn: int) -> None:
    """Write a clip in which a photograph moves by two pixels a frame, there and back over ``turn`` places."""
    import av

    height, width = size
    source = cv2.resize(read_image(ROOT / "samples" / "china.jpg").pixels, (width + 2 * turn, height))
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=24, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, place in enumerate(to_and_fro(turn, frames)):
            part = np.ascontiguousarray(source[:, 2 * place : 2 * place + width])
            frame = av.VideoFrame.from_ndarray(part, format="rgb24").reformat(format="yuv420p", dst_colorspace=1)
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


@dataclass
class Clock:
    """Seconds, on the wall and of the processor, and frames, by stage."""

    wall: dict[str, float] = field(default_factory=dict)
    processor: dict[str, float] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    _within: tuple[float, float] = (0.0, 0.0)

    def time(self, stage: str, work: Callable[[], Result], frames: int = 1) -> Result:
        """Call ``work`` for so many frames and add what it took to a stage, less the stages timed within it."""
        outside, self._within = self._within, (0.0, 0.0)
        wall, processor = time.perf_counter(), time.process_time()
        result = work()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        self.wall[stage] = self.wall.get(stage, 0) + wall - self._within[0]
        self.processor[stage] = self.processor.get(stage, 0) + processor - self._within[1]
        self.frames[stage] = self.frames.get(stage, 0) + frames
        self._within = outside[0] + wall, outside[1] + processor
        return result


class Timed(Steadying):
    """Steadying whose means are a stage of their own."""

    def __init__(self, strength: float, clock: Clock) -> None:
        super().__init__(strength)
        self._clock = clock

    def mean(self, step: Step) -> ExcessField:
        """As of the class above."""
        return self._clock.time("mean", lambda: Steadying.mean(self, step))


def alone(clip: Path, target: Path, runner: Runner, settings: VideoSettings, most: int) -> Clock:
    """Time every stage on its own: network and light on the first ``most`` frames, the others on all.

    The encoder gets the pictures made, forwards and backwards, until it has had as many as the clip has. What the
    engine's device does of whole frames in a run it does here.
    """
    clock, made, stamps = Clock(), list[Encoded](), list[int]()
    prepared = PreparedVideo(clip, target, settings)
    steadying = SteadyingInTurn(Renewed(lambda: Timed(settings.temporal, clock), most), lambda seconds: None)
    with ExitStack() as opened:
        place = opened.enter_context(prepared.opened(Network.of(runner)))
        source = opened.enter_context(open_video(clip))
        info, selection = source.info, Selection(source, settings.video)
        sink = prepared.sink(runner.engine.info, place, BEGINNING)
        whole = whole_frames(selection, prepared.restoring(runner), sink)

        def light(picture: Picture, taken: Any) -> Encoded:
            ready, steady = clock.time("prepare", lambda: whole.ready(taken)), None
            if settings.temporal:
                view = clock.time("prepare", lambda: steadying.view(ready.working[0].picture), frames=0)
                steady = steadying.place(len(made), view).steady
            found = clock.time("infer", lambda: begin(ready, runner, settings.scale)())
            kept = taken if ready.full is None else None
            return clock.time("light", lambda: whole.made(picture, kept, found, steady))[0]

        while (looked := clock.time("decode", selection.look)) is not None:
            picture, frame = looked
            if frame is not None:
                taken = clock.time("convert", lambda: whole.take(picture, frame))  # noqa: B023 - called at once
                if len(made) < most:
                    made.append(light(picture, taken))
            stamps.append(picture.stamp)
        clock.frames["decode"] -= 1  # the call that finds the end
        place.remove()
    output = resolve(target, settings.video.encode, PQ)
    file = SegmentFile(target.with_suffix(".packets"), 0)
    encoder = SegmentEncoder(output, Geometry(info.shown_size, info.time_base, info.rate), file)
    for number, stamp in zip(to_and_fro(len(made), len(stamps)), stamps, strict=True):
        frame = made[number][0]
        clock.time("encode", lambda frame=frame, stamp=stamp: encoder.add(frame, stamp))  # type: ignore[misc]
    clock.time("encode", encoder.finish, frames=0)
    file.close()
    return clock


@dataclass(frozen=True)
class Round:
    """Every stage alone, and a run: seconds on the wall and of the processor; processor seconds of a survey."""

    clock: Clock
    report: VideoReport
    wall: float
    processor: float
    cores: int
    survey: float

    @property
    def floors(self) -> dict[str, float]:
        """Seconds below which no run of all frames can be, by what bounds it."""
        clock = self.clock
        there = [stage for stage in IN_ORDER if stage in clock.wall]
        each = {stage: self.report.frames * clock.wall[stage] / clock.frames[stage] for stage in there}
        return {**each, f"processor time on {self.cores:.2f} cores": self.stages / self.cores}

    @property
    def stages(self) -> float:
        """Processor time of the stages alone, for all frames."""
        clock = self.clock
        return self.report.frames * sum(clock.processor[stage] / clock.frames[stage] for stage in clock.wall)

    @property
    def slowest(self) -> str:
        """What bounds the run."""
        return max(self.floors, key=lambda name: self.floors[name])

    @property
    def over(self) -> float:
        """Part of the slowest floor by which the run took longer."""
        return self.wall / self.floors[self.slowest] - 1

    @property
    def more(self) -> float:
        """Part of its stages' processor time that the run took more."""
        return self.processor / self.stages - 1

    def lines(self) -> list[str]:
        """A table."""
        clock, frames, report = self.clock, self.report.frames, self.report
        found = [
            f"{report.width}x{report.height}, {frames} frames, {report.model}, {report.backend} on {report.device}, "
            f"scale {report.scale}, {report.encoder}",
            "",
            "| stage alone | ms a frame | frames a second | processor ms a frame |",
            "|---|---|---|---|",
        ]
        for stage, seconds in clock.wall.items():
            each = seconds / clock.frames[stage]
            processor = clock.processor[stage] / clock.frames[stage]
            found.append(f"| {stage} | {1000 * each:.1f} | {1 / each:.2f} | {1000 * processor:.1f} |")
        bound = self.floors[self.slowest]
        return [
            *found,
            "",
            f"run: {frames / self.wall:.2f} frames a second, {1000 * self.wall / frames:.1f} ms a frame",
            f"bound: {1000 * bound / frames:.1f} ms a frame, {self.slowest}; the run takes {self.over:+.1%}",
            f"processor time: {self.processor:.2f} s, of the stages alone {self.stages:.2f} s; {self.more:+.1%}",
            f"survey by the driver of a cluster: {1000 * self.survey / frames:.1f} ms of the processor a frame",
        ]


def measured(clip: Path, folder: Path, runner: Runner, settings: VideoSettings, most: int) -> Round:
    """Time a clip's stages alone, then a run of it into a file in ``folder``."""
    target = folder / f"out{SUFFIXES.get(settings.video.encode.codec or '', '.mp4')}"
    clock = alone(clip, target, runner, settings, most)
    before = cores_given()
    started, processor = time.perf_counter(), time.process_time()
    report = convert_video(clip, target, runner, settings)
    spent = time.perf_counter() - started, time.process_time() - processor
    target.unlink()
    return Round(clock, report, *spent, (before + cores_given()) / 2, surveyed(clip, target, settings))


def surveyed(clip: Path, target: Path, settings: VideoSettings) -> float:
    """Return processor seconds for looking through a clip, by which a cluster knows its segments."""
    prepared = PreparedVideo(clip, target, settings)
    with open_video(clip) as source:
        started = time.process_time()
        for _ in Survey(prepared, source, "", {}).jobs():
            pass
        return time.process_time() - started


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_given(seconds: float = 0.5) -> float:
    """Cores that as many threads as there are cores get here and now, all busy outside of the interpreter."""
    block = bytes(1 << 20)
    started, processor = time.perf_counter(), time.process_time()

    def busy(number: int) -> None:
        while time.perf_counter() < started + seconds:
            hashlib.sha256(block).digest()

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(busy, range(cores())))
    return (time.process_time() - processor) / (time.perf_counter() - started)


def warm(runner: Runner, size: tuple[int, int], settings: VideoSettings) -> None:
    """Run a white picture: engines compile for a shape."""
    restore(np.full((*size, 3), 65535, np.uint16), runner, settings.scale)


def main() -> None:
    """Measure and print a table."""
    parser = Parser(__doc__)
    parser.add_argument("--size", type=height_and_width, default="540x960", metavar="HxW", help="of the frames")
    parser.add_argument("--frames", type=whole_number, default=24, help="of the clip")
    parser.add_argument(
        "--alone", type=whole_number, default=12, help="frames by which network and light are timed alone"
    )
    parser.add_argument("--rounds", type=whole_number, default=1, help="of measuring")
    parser.add_argument("--codec", default="hevc", help="as of run")
    parser.add_argument("--preset", help="of the encoder")
    parser.add_argument("--model", help="[as run takes it]")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--scale", default="auto")
    parser.add_argument("--milliseconds", type=float, help="sleep so long a call instead of running a model")
    chosen = parser.parse_args()
    height, width = chosen.size
    video = VideoOptions(EncodeOptions(chosen.codec, None, chosen.preset))
    settings = VideoSettings(parse_scale(chosen.scale), video=video)
    rounds = []
    with ExitStack() as opened:
        name = opened.enter_context(tempfile.TemporaryDirectory())
        if chosen.milliseconds is None:
            runner = opened.enter_context(open_runner(chosen.model, RunnerSettings(chosen.backend, chosen.device)))
        else:
            runner = Runner(opened.enter_context(SleepingEngine(chosen.milliseconds / 1e3)), tile=None)
        clip = Path(name) / "clip.mp4"
        write_pan(clip, (height, width), chosen.frames, chosen.alone)
        warm(runner, (height, width), settings)
        for _ in range(chosen.rounds):
            rounds.append(measured(clip, Path(name), runner, settings, chosen.alone))
            print("\n".join(rounds[-1].lines()), end="\n\n", flush=True)
    if len(rounds) > 1:
        wall, processor = (statistics.median(getattr(each, name) for each in rounds) for name in ("over", "more"))
        print(f"median of {len(rounds)} rounds: wall time {wall:+.1%} over the bound, processor time {processor:+.1%}")


if __name__ == "__main__":
    start(main)
