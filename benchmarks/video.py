"""Frames a second of each stage of a video run alone, of all together, and what the runner adds to the slowest one.

    python benchmarks/video.py [--size 1080x1920] [--frames 48] [--codec hevc] [--preset medium] [--model MODEL]

A photograph pans over the frame; its clip is made first, in H.264. Alone means one frame after the other with nothing
beside it, as the run itself does it. Where stages share the processor, a run cannot be as fast as its slowest stage
alone: it cannot be faster either than the processor time of all stages divided by the cores. The overhead is over the
larger of the two. The last line compares processor time alone, which other work on the machine changes less.
`--rounds` takes the best of several.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from dcdr_deploy.imaging import read_image
from dcdr_deploy.imaging.delivery import Delivery
from dcdr_deploy.imaging.light import PQ, Light
from dcdr_deploy.run.opening import RunnerSettings, open_runner
from dcdr_deploy.run.restore import restore
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.video.convert import convert_video
from dcdr_deploy.run.video.encoding import SegmentEncoder, planes_of_light
from dcdr_deploy.run.video.frames import Picture, Selection
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.segments import SegmentFile
from dcdr_deploy.run.video.target import EncodeOptions, Geometry, resolve
from dcdr_deploy.run.working_scale import parse_scale

ROOT = Path(__file__).resolve().parents[1]


def write_pan(path: Path, size: tuple[int, int], frames: int) -> None:
    """Write a clip in which a photograph moves by two pixels a frame."""
    import av

    height, width = size
    source = cv2.resize(read_image(ROOT / "samples" / "china.jpg").pixels, (width + 2 * frames, height))
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=24, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            part = np.ascontiguousarray(source[:, 2 * number : 2 * number + width])
            frame = av.VideoFrame.from_ndarray(part, format="rgb24").reformat(format="yuv420p", dst_colorspace=1)
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


class Clock:
    """Seconds, on the wall and of the processor, by stage."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.processor: dict[str, float] = {}

    def time(self, stage: str, work: Callable[[], object]) -> object:
        """Call ``work`` and add what it took to a stage."""
        wall, processor = time.perf_counter(), time.process_time()
        result = work()
        self.wall[stage] = self.wall.get(stage, 0) + time.perf_counter() - wall
        self.processor[stage] = self.processor.get(stage, 0) + time.process_time() - processor
        return result


def alone(clip: Path, target: Path, runner: Runner, settings: VideoSettings) -> tuple[Clock, int]:
    """Time every stage on its own; returns the clock and the number of frames."""
    clock, count, peak = Clock(), 0, runner.engine.info.metadata.peak
    output = resolve(target, settings.video.encode, PQ)
    delivery = Delivery(Light(transfer=PQ), peak)
    with open_video(clip) as source:
        info = source.info
        selection = Selection(source, settings.video)
        file = SegmentFile(target.with_suffix(".packets"), 0)
        encoder = SegmentEncoder(output, Geometry(info.shown_size, info.time_base, info.rate), file)
        while True:
            picture = clock.time("decode", selection.next)
            if not isinstance(picture, Picture) or picture.rgb is None:
                break
            rgb, stamp = picture.rgb, picture.stamp
            restored = clock.time("infer", lambda rgb=rgb: restore(rgb, runner, settings.scale))
            linear = restored.linear  # type: ignore[attr-defined]
            made = clock.time("light", lambda linear=linear: planes_of_light(linear, delivery, output.codec))
            clock.time("encode", lambda made=made, stamp=stamp: encoder.add(made[0], stamp))  # type: ignore[index]
            count += 1
        clock.time("encode", encoder.finish)
        file.close()
    return clock, count


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="540x960", help="HEIGHTxWIDTH [540x960]")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--codec", default="hevc")
    parser.add_argument("--preset", help="of the encoder")
    parser.add_argument("--model", help="[as run takes it]")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--scale", default="auto")
    chosen = parser.parse_args()
    height, width = map(int, chosen.size.split("x"))
    video = VideoOptions(EncodeOptions(chosen.codec, None, chosen.preset))
    settings = VideoSettings(parse_scale(chosen.scale), video=video)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_runner(chosen.model, RunnerSettings(chosen.backend, chosen.device)) as runner,
    ):
        clip, target = Path(folder) / "clip.mp4", Path(folder) / ("out.mkv" if chosen.codec == "ffv1" else "out.mov")
        target = target if chosen.codec in ("prores", "prores4444", "ffv1") else target.with_suffix(".mp4")
        write_pan(clip, (height, width), chosen.frames)
        restore(np.full((height, width, 3), 65535, np.uint16), runner, settings.scale)  # engines compile for a shape
        rounds = []
        for _ in range(chosen.rounds):
            clock, count = alone(clip, target, runner, settings)
            target.unlink(missing_ok=True)
            started, processor = time.perf_counter(), time.process_time()
            report = convert_video(clip, target, runner, settings)
            spent = time.perf_counter() - started, time.process_time() - processor
            rounds.append((*spent, clock, count, report))
    whole, processor, clock, count, report = min(rounds, key=lambda each: each[0])
    cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
    floors = {**clock.wall, "processor": sum(clock.processor.values()) / (cores or 1)}
    slowest = max(floors, key=lambda stage: floors[stage])
    print(f"{width}x{height}, {count} frames, {report.model}, {report.backend} on {report.device}, {report.encoder}")
    print("\n| stage alone | ms a frame | frames a second | processor s |\n|---|---|---|---|")
    for stage, seconds in clock.wall.items():
        print(f"| {stage} | {1000 * seconds / count:.1f} | {count / seconds:.2f} | {clock.processor[stage]:.2f} |")
    print(f"\nrun: {count / whole:.2f} frames a second, {1000 * whole / count:.1f} ms a frame")
    over = whole / floors[slowest] - 1
    print(f"overhead over the slowest ({slowest}, {floors[slowest]:.2f} s): {over:+.1%}")
    stages = sum(clock.processor.values())
    more = processor / stages - 1
    print(f"processor time of the run: {processor:.2f} s, of its stages alone {stages:.2f} s ({more:+.1%})")


if __name__ == "__main__":
    main()
