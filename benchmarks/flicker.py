"""Does restored light flicker, what does steadying it over time change, and what does compression take away?

    python benchmarks/flicker.py [--frames 12] [--size 128x192] [--qp 22,27,32,37] [--strengths 0.5,0.8,0.9]
                                 [--panoramas FOLDER] [--pans 1] [--codec libx264] [--model FILE]

The camera turns slowly over held-out panoramas (0.25 degrees a frame), with the noise of a small sensor; the frames are
encoded (lossless, and H.264 at each QP) and go through the reader, the working scale and the filter of
`dcdr-deploy run`. Flicker is the temporal standard deviation of the log gain beyond the input's own, in stops
(metrics/flicker.py), along the known motion of the camera, in areas that had clipped before noise and compression.
PSNR-mu (mu = 10) is that of clipped pixels against the truth, pooled over all frames. One run of the network on each
frame serves all strengths.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from command_line import Parser, existing_file, existing_folder, height_and_width, several, start, whole_number
from held_out import CAMERAS, PEAK, PLAIN
from numpy.typing import NDArray
from text_tables import markdown

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.frame import CLIPPED_CODE
from dcdr_deploy.imaging.transfer import luminance, srgb_to_linear
from dcdr_deploy.metrics.flicker import Flicker
from dcdr_deploy.metrics.psnr import PooledError, mu_law
from dcdr_deploy.run.gain import FLOOR
from dcdr_deploy.run.opening import RunnerSettings, open_runner
from dcdr_deploy.run.restore import begin
from dcdr_deploy.run.runner import Runner, RunStatistics
from dcdr_deploy.run.selection import DEMO_MODEL
from dcdr_deploy.run.video.frames import Selection
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.options import DEFAULT_VIDEO_OPTIONS
from dcdr_deploy.run.video.steady import Steadying
from dcdr_deploy.run.video.yuv import BT709_LUMA, Layout, from_rgb
from dcdr_deploy.scenes.camera import TARGET_MAX, simulate
from dcdr_deploy.scenes.panorama import load_panorama, perspective
from dcdr_deploy.scenes.splits import PANORAMA_SUFFIXES
from dcdr_deploy.system.files import files_in

ROOT = Path(__file__).parents[1]
PANORAMAS = ROOT / "data" / "hdri" / "validation"
FOV, STEP = 60.0, 0.25
"""Degrees: of a view from left to right, and by which the camera turns from frame to frame."""
PITCH = (-5.0, 20.0)
CLIPPED_SHARE = 0.12
"""Of the pixels of the middle frame of a pan, by which it is exposed."""
LOSSLESS = -1

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pan:
    """Frames of a turning camera.

    Attributes:
        name: of the panorama.
        sdr: each (H, W, 3) uint8, with noise.
        truth: each (H, W, 3), full scale 1.0 is PEAK x SDR white.
        clipped: 1 where a frame had clipped before any noise, each (H, W) float32.
        places: (H, W, 2) where a frame's points were in the frame before.
    """

    name: str
    sdr: list[NDArray[np.uint8]]
    truth: list[Floats]
    clipped: list[Floats]
    places: Floats


def turned(size: tuple[int, int], pitch: float) -> Floats:
    """Column and row in the frame before of each point of a frame of ``size`` (rows, columns)."""
    rows, columns = size
    focal = columns / 2 / np.tan(np.radians(FOV) / 2)
    x = (np.arange(columns) + 0.5 - columns / 2)[None, :] / focal
    y = -(np.arange(rows) + 0.5 - rows / 2)[:, None] / focal
    lift, turn = np.radians(pitch), np.radians(STEP)
    up, forward = y * np.cos(lift) + np.sin(lift), np.cos(lift) - y * np.sin(lift)
    right = x * np.cos(turn) + forward * np.sin(turn)  # the camera before looked further to the left
    forward = forward * np.cos(turn) - x * np.sin(turn)
    depth = forward * np.cos(lift) + up * np.sin(lift)
    height = up * np.cos(lift) - forward * np.sin(lift)
    places = np.stack(np.broadcast_arrays(right / depth * focal + columns / 2, rows / 2 - height / depth * focal), -1)
    return np.asarray(places - 0.5, np.float32)


def pans(paths: list[Path], size: tuple[int, int], frames: int, count: int) -> Iterator[Pan]:
    """Yield ``count`` pans over each panorama."""
    rows, columns = size
    first = (columns - rows) // 2
    for path in paths:
        panorama = load_panorama(path)
        for number in range(count):
            rng = np.random.default_rng([number, *path.stem.encode()])
            yaw, pitch = float(rng.uniform(0, 360)), float(rng.uniform(*PITCH))
            light = [
                perspective(panorama, yaw + STEP * frame, pitch, FOV, columns)[first : first + rows]
                for frame in range(frames)
            ]
            exposure = 1 / max(float(np.quantile(light[frames // 2].max(axis=-1), 1 - CLIPPED_SHARE)), 1e-6)
            clean = [simulate(each, PLAIN, rng, exposure) for each in light]
            noisy = [simulate(each, CAMERAS["noise"], rng, exposure)[0] for each in light]
            truth = [target / np.float32(TARGET_MAX) for _, target in clean]
            clipped = [(sdr.max(axis=-1) >= CLIPPED_CODE).astype(np.float32) for sdr, _ in clean]
            yield Pan(path.stem, noisy, truth, clipped, turned(size, pitch))


def write_video(path: Path, pan: Pan, codec: str, qp: int) -> None:
    """Encode a pan in 8-bit 4:2:0, BT.709."""
    name, options = ("ffv1", {}) if qp == LOSSLESS else (codec, {"qp": str(qp), "x265-params": f"qp={qp}:log-level=0"})
    if codec != "libx265":
        options.pop("x265-params", None)
    rows, columns = pan.sdr[0].shape[:2]
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(name, rate=24, options=options)
        stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1
        for number, sdr in enumerate(pan.sdr):
            frame = av.VideoFrame(columns, rows, "yuv420p")
            planes = from_rgb(cv2.split(sdr / np.float32(255)), Layout(8, 2, 2), BT709_LUMA)
            for plane, samples in zip(frame.planes, planes, strict=True):
                np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : samples.shape[1]] = samples  # type: ignore[arg-type]
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def read_video(path: Path) -> list[NDArray[np.uint16]]:
    """The frames as the network gets them, by the reader of `dcdr-deploy run`."""
    found: list[NDArray[np.uint16]] = []
    with open_video(path) as source:
        selection = Selection(source, DEFAULT_VIDEO_OPTIONS)
        while (picture := selection.next()) is not None:
            found.append(found[-1] if picture.rgb is None else picture.rgb)
    return found


class RememberingRunner(Runner):
    """Runs the network once on each picture."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner.engine, runner.tile, runner.overlap, runner.batch)
        self.known: dict[bytes, Floats] = {}

    def run(self, frame: Any, *rest: Any, **more: Any) -> Floats:
        """Return what is known of a picture, or compute it."""
        key = hashlib.sha256(np.ascontiguousarray(frame).data).digest()
        if key not in self.known:
            self.known[key] = super().run(frame, *rest, **more)
        self.statistics = RunStatistics()
        return self.known[key].copy()


@dataclass
class Score:
    """Of one way over all pans."""

    flicker: Flicker
    error: PooledError


def rate(pan: Pan, frames: list[NDArray[np.uint16]], results: Iterator[Floats], score: Score) -> None:
    """Add a pan's results (linear, in units of SDR white) to a score."""
    before: tuple[Floats, Floats] | None = None
    for number, linear in enumerate(results):
        light = luminance(srgb_to_linear(frames[number] / np.float32(65535)))
        given = np.asarray(np.log2(light + FLOOR), np.float32)
        gain = np.asarray(np.log2(np.maximum(luminance(linear), 0) + FLOOR) - given, np.float32)
        clipped = pan.clipped[number]
        score.error.add(mu_law(linear / PEAK), mu_law(pan.truth[number]), clipped > 0)
        if before is not None:
            score.flicker.add((before[0], gain), (before[1], given), (pan.clipped[number - 1], clipped), pan.places)
        before = gain, given


def restored(frames: list[NDArray[np.uint16]], runner: Runner, strength: float) -> Iterator[Floats]:
    """Yield a pan's frames as `dcdr-deploy run` gives them, in units of SDR white."""
    steady = Steadying(strength) if strength else None
    for codes in frames:
        yield begin(codes, runner)().put_on(steady).linear * np.float32(PEAK)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--panoramas", type=existing_folder, default=PANORAMAS, help="folder of .exr and .hdr")
    parser.add_argument("--pans", type=whole_number, default=1, help="over each panorama")
    parser.add_argument("--frames", type=whole_number, default=12, help="of a pan")
    parser.add_argument("--size", type=height_and_width, default="128x192", metavar="HxW", help="of the frames")
    parser.add_argument("--codec", choices=("libx264", "libx265"), default="libx264")
    parser.add_argument("--qp", type=several(int), default="22,27,32,37", help="of the compressed clips")
    parser.add_argument("--strengths", type=several(float), default="0.5,0.8,0.9", help="as --temporal of run")
    parser.add_argument("--model", type=existing_file, default=DEMO_MODEL, help="[the demo weights]")
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    rows, columns = options.size
    if rows > columns or rows % 2 or columns % 2:
        parser.error("--size: views are even, and not higher than wide")
    if options.frames < 2:
        parser.error("--frames: flicker takes 2 at least")
    paths = files_in(options.panoramas, PANORAMA_SUFFIXES, below=True)
    if not paths:
        raise InputError(f"{options.panoramas}: no panorama ({' or '.join(PANORAMA_SUFFIXES)}); name another folder")
    ways = [0.0, *options.strengths]
    conditions = [LOSSLESS, *options.qp]
    scores = {(qp, way): Score(Flicker(), PooledError()) for qp in conditions for way in [None, *ways]}
    cv2.setNumThreads(1)
    with (
        open_runner(options.model, RunnerSettings(backend=options.backend)) as opened,
        tempfile.TemporaryDirectory() as folder,
    ):
        for pan in pans(paths, options.size, options.frames, options.pans):
            for qp in conditions:
                video = Path(folder) / "pan.mkv"
                write_video(video, pan, options.codec, qp)
                frames = read_video(video)
                runner = RememberingRunner(opened)
                plain = (np.asarray(srgb_to_linear(codes / np.float32(65535)), np.float32) for codes in frames)
                rate(pan, frames, plain, scores[qp, None])
                for way in ways:
                    rate(pan, frames, restored(frames, runner, way), scores[qp, way])
    digest = hashlib.sha256(options.model.read_bytes()).hexdigest()[:12]
    print(
        f"{options.model.name} (sha256 {digest}), {len(paths) * options.pans} pans "
        f"({', '.join(p.stem for p in paths)}) "
        f"of {options.frames} frames, {options.size[1]}x{options.size[0]}, {options.codec}\n"
    )
    rows = {qp: "lossless" if qp == LOSSLESS else f"QP {qp}" for qp in conditions}
    for title, columns, figure in (
        ("flicker, stops", ways, lambda score: f"{score.flicker.stops:.4f}"),
        ("log gain alone, stops", ways, lambda score: f"{score.flicker.gain_stops:.4f}"),
        ("PSNR-mu of clipped pixels, dB", [None, *ways], lambda score: f"{score.error.psnr:.2f}"),
    ):
        head = [title, *("inverse sRGB" if way is None else f"{way:g}" if way else "off" for way in columns)]
        cells = [[name, *(figure(scores[qp, way]) for way in columns)] for qp, name in rows.items()]
        print(f"{markdown([head, *cells])}\n", flush=True)


if __name__ == "__main__":
    start(main)
