"""Videos and folders of pictures on a machine with a GPU and many cores, beside what bounds them; by engine cuda.

    python benchmarks/gpu_files.py [--output FILE.md] [--seconds 40] [--frames 1] [--backend cuda --device cuda]

Needs av, OpenEXR, imagecodecs and OpenCV beside the engine's own packages; all files are made by the script. Cases come
in the order of :data:`CASES`, and those that would begin after ``--seconds`` are left out, which the report says.
``--frames`` multiplies all numbers of frames and files.

A video's table is that of benchmarks/video.py. A folder of 3840x2160 pictures, half PNG and half JPEG, is held against
max(network, decoding / cores, encoding / cores), and against all processor time of a frame by the cores; both
from processor time measured one picture after the other.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402 - needs the path
import numpy as np  # noqa: E402
from command_line import Parser, above_zero, new_file, start  # noqa: E402
from text_files import write_text  # noqa: E402
from video import Clock, cores, measured, warm, write_pan  # noqa: E402

from dcdr_deploy.imaging import read_image  # noqa: E402
from dcdr_deploy.run.folder import convert_folder  # noqa: E402
from dcdr_deploy.run.opening import RunnerSettings, open_runner  # noqa: E402
from dcdr_deploy.run.outputs import ConvertOptions  # noqa: E402
from dcdr_deploy.run.picture import begin, decode, encode, prepare  # noqa: E402
from dcdr_deploy.run.runner import Runner  # noqa: E402
from dcdr_deploy.run.selection import DEMO_MODEL  # noqa: E402
from dcdr_deploy.run.video.options import VideoOptions  # noqa: E402
from dcdr_deploy.run.video.prepared import VideoSettings  # noqa: E402
from dcdr_deploy.run.video.target import EncodeOptions  # noqa: E402
from dcdr_deploy.run.working_scale import AUTO, NATIVE, Scale  # noqa: E402

HD, UHD = (1080, 1920), (2160, 3840)
ALONE = 4
"""Frames by which the network and light are timed alone."""

PICTURES = 4
"""Different pictures of a folder; the others are links to them."""


@dataclass(frozen=True)
class Place:
    """Where a case works, and how many times its frames are wanted."""

    runner: Runner
    folder: Path
    factor: float


@dataclass(frozen=True)
class Video:
    """A video that is converted.

    Attributes:
        size: (height, width) in pixels.
        codec, preset: of the output.
        frames: of the clip.
    """

    size: tuple[int, int]
    codec: str
    preset: str | None
    frames: int

    @property
    def title(self) -> str:
        """What is measured."""
        return f"Video, {self.codec}{f', preset {self.preset}' if self.preset else ''}"

    def lines(self, place: Place) -> list[str]:
        """Measure, and return what is to be printed."""
        settings = VideoSettings(video=VideoOptions(EncodeOptions(self.codec, None, self.preset)))
        frames = max(round(self.frames * place.factor), 2)
        clip = place.folder / f"{self.size[1]}-{frames}.mp4"
        if not clip.exists():
            write_pan(clip, self.size, frames, ALONE)
            warm(place.runner, self.size, settings)
        return measured(clip, place.folder, place.runner, settings, ALONE).lines()


@dataclass(frozen=True)
class Folder:
    """A folder that is converted: its outputs' format, the scale, the number of pictures and their size."""

    format: str
    scale: Scale
    files: int
    size: tuple[int, int] = UHD

    @property
    def title(self) -> str:
        """What is measured."""
        height, width = self.size
        return f"Folder of {width}x{height} PNG and JPEG to {self.format.upper()}, scale {self.scale}"

    def lines(self, place: Place) -> list[str]:
        """Measure, and return what is to be printed."""
        files = max(round(self.files * place.factor), 2)
        source = make_folder(place.folder / f"in-{files}", files, self.size)
        options = ConvertOptions(format=self.format, scale=self.scale)
        clock = self._alone(sorted(source.iterdir())[:2], place, options)
        target = place.folder / "out"
        started, processor = time.perf_counter(), time.process_time()
        report = convert_folder(source, target, place.runner, options)
        wall, used = (time.perf_counter() - started) / files, (time.process_time() - processor) / files
        shutil.rmtree(target)
        assert report.converted == files
        each = {stage: clock.processor[stage] / clock.frames[stage] for stage in clock.wall}
        network = clock.wall["network"] / clock.frames["network"]
        host = sum(seconds for stage, seconds in each.items() if stage != "network")
        bound = max(network, each["decode"] / cores(), each["encode"] / cores())
        shared = max(network, host / cores())
        return [
            f"{files} files; of a frame, alone: network {1000 * network:.1f} ms; processor time: "
            + ", ".join(f"{stage} {1000 * seconds:.0f} ms" for stage, seconds in each.items() if stage != "network"),
            "",
            "| s a frame | max(network, decode / cores, encode / cores) | ratio | processor time / cores | ratio |",
            "|---|---|---|---|---|",
            f"| {wall:.3f} | {bound:.3f} | {wall / bound:.2f} | {shared:.3f} | {wall / shared:.2f} |",
            "",
            f"processor time of the run: {used:.2f} s a frame, of its stages alone {host:.2f} s",
        ]

    @staticmethod
    def _alone(paths: list[Path], place: Place, options: ConvertOptions) -> Clock:
        """Time the stages of some pictures; the network's time is that inside the engine."""
        clock = Clock()
        for path in paths:
            decoded = clock.time("decode", lambda path=path: decode(path))  # type: ignore[misc]
            begin(decoded, place.runner, options)()  # a shape that is new
            ready = clock.time("prepare", lambda decoded=decoded: prepare(decoded, options))  # type: ignore[misc]
            inferred = clock.time("infer", lambda ready=ready: begin(ready, place.runner, options)())  # type: ignore[misc]
            clock.wall["network"] = clock.wall.get("network", 0) + inferred.found.run.engine_seconds
            clock.processor["network"] = 0.0
            clock.frames["network"] = clock.frames.get("network", 0) + 1
            output = place.folder / f"alone.{options.format}"
            clock.time("encode", lambda inferred=inferred, output=output: encode(inferred, output, options))  # type: ignore[misc]
            output.unlink()
        return clock


def make_folder(folder: Path, files: int, size: tuple[int, int]) -> Path:
    """Fill a folder with PNG and JPEG in turn: parts of a photograph with the noise of a small sensor."""
    if folder.exists():
        return folder
    folder.mkdir()
    height, width = size
    photo = cv2.resize(read_image(ROOT / "samples" / "china.jpg").pixels[..., ::-1], (width + 64 * PICTURES, height))

    def make(number: int) -> None:
        noise = np.random.default_rng(number).normal(0, 2, (height, width, 3)).astype(np.float32)
        picture = np.clip(photo[:, 64 * number : 64 * number + width] + noise, 0, 255).astype(np.uint8)
        suffix, settings = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 92]) if number % 2 else (".png", [])
        cv2.imwrite(str(folder / f"{number:03}{suffix}"), picture, settings)

    with ThreadPoolExecutor(min(PICTURES, files)) as pool:
        list(pool.map(make, range(min(PICTURES, files))))
    for number in range(PICTURES, files):
        first = folder / f"{number % PICTURES:03}{'.jpg' if number % 2 else '.png'}"
        (folder / f"{number:03}{first.suffix}").hardlink_to(first)
    return folder


CASES: tuple[Video | Folder, ...] = (
    Video(UHD, "prores", None, 24),
    Folder("exr", AUTO, 48),
    Video(UHD, "hevc", "ultrafast", 24),
    Video(HD, "hevc", "medium", 48),
    Folder("avif", AUTO, 32),
    Video(HD, "prores", None, 48),
    Folder("exr", NATIVE, 48),
)
"""In the order of what is wanted most."""


def run(runner: Runner, seconds: float, factor: float, say: Callable[[str], None]) -> None:
    """Measure one case after the other while there is time."""
    started = time.perf_counter()
    info = runner.engine.info
    say(f"# Videos and folders, {info.backend} on {info.device}\n")
    say(f"{info.metadata.name}, {info.precision}; {cores()} cores")
    with tempfile.TemporaryDirectory() as name:
        place = Place(runner, Path(name), factor)
        for case in CASES:
            begun = time.perf_counter()
            say(f"\n## {case.title}\n")
            if begun - started > seconds:
                say(f"left out: the {seconds:g} s were over")
                continue
            for line in case.lines(place):
                say(line)
            say(f"\n({time.perf_counter() - begun:.1f} s for this measurement)")


def main() -> None:
    """Measure and print tables."""
    parser = Parser(__doc__)
    parser.add_argument("--output", type=new_file, metavar="FILE.md", help="write what is printed here too")
    parser.add_argument("--seconds", type=above_zero, default=40.0, help="after which no case is begun")
    parser.add_argument(
        "--frames", type=above_zero, default=1.0, metavar="FACTOR", help="of all numbers of frames and files"
    )
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default=str(DEMO_MODEL), help="[the demo weights]")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    said: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        said.append(line)
        if options.output is not None:
            write_text(options.output, "\n".join(said) + "\n")

    with open_runner(options.model, RunnerSettings(options.backend, options.device)) as runner:
        run(runner, options.seconds, options.frames, say)


if __name__ == "__main__":
    start(main)
