"""What writing a 4K result costs, as a ratio to the library call alone.

    python benchmarks/imaging.py [--size 2160x3840] [--rounds 5] [--only png]

The library call gets samples that are ready, with the same compression and threads, and writes into the same folder.
What this package adds is all the rest: limits, primaries, roll-off, curve, brightness, tags, whole files or none. Both
are timed in turn, round by round, each into a new file. Ratios are medians of those of the rounds: of wall time, which
means something on a machine without other work, and of the processor time of all threads, which other work changes
little. The last column is the line of numbers that a run tells of the file.

Files are made in memory (/dev/shm) where there is such a folder, because ours are flushed to the disk and the library's
are not: `--folder` takes a disk's time in.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from command_line import Parser, existing_folder, height_and_width, start, whole_number
from numpy.typing import NDArray

from dcdr_deploy.imaging import WriteOptions, linear_to_srgb, read_image, srgb_to_linear, write_image
from dcdr_deploy.imaging.delivery import CodeRange, Delivery
from dcdr_deploy.imaging.light import Light
from dcdr_deploy.imaging.statistics import light_summary
from dcdr_deploy.imaging.write import stored_light

ROOT = Path(__file__).resolve().parents[1]
PEAK = 8.0
MEMORY = Path("/dev/shm")

Picture = NDArray[np.float32]
Prepared = Callable[[Path], Any]


def picture(height: int, width: int) -> Picture:
    """A photograph enlarged, with grain of two 8-bit codes, its brightest parts up to the peak; network units."""
    small = cv2.resize(read_image(ROOT / "samples" / "china.jpg").normalised(), (width, height), cv2.INTER_CUBIC)
    noise = np.random.default_rng(1).standard_normal(small.shape, np.float32) * np.float32(2 / 255)
    light = np.asarray(srgb_to_linear(np.clip(small + noise, 0, 1)), np.float32)
    light += np.float32(PEAK - 1) * np.clip((light - np.float32(0.8)) / np.float32(0.2), 0, 1) ** 2
    return light / np.float32(PEAK)


def exr(name: str, kind: type) -> Callable[[Picture], Prepared]:
    """OpenEXR's own writer, with a thread for each core; alone where it only copies, which is faster."""

    def prepare(linear: Picture) -> Prepared:
        import OpenEXR

        OpenEXR.set_global_thread_count(0 if name == "NO" else os.cpu_count() or 1)
        pixels = np.ascontiguousarray((linear * np.float32(PEAK)).astype(kind))
        header = {"compression": getattr(OpenEXR, f"{name}_COMPRESSION"), "type": OpenEXR.scanlineimage}
        return lambda path: OpenEXR.File(header, {"RGB": pixels}).write(str(path))

    return prepare


def png(codes_of: Callable[[Picture], NDArray[np.uint16]]) -> Callable[[Picture], Prepared]:
    """OpenCV's PNG encoder."""

    def prepare(linear: Picture) -> Prepared:
        bgr = np.ascontiguousarray(codes_of(linear)[..., ::-1])
        return lambda path: path.write_bytes(cv2.imencode(".png", bgr)[1].data)

    return prepare


def tiff(kind: type) -> Callable[[Picture], Prepared]:
    """tifffile's writer, deflate with predictor, on all cores."""

    def prepare(linear: Picture) -> Prepared:
        import tifffile

        codes = np.rint(np.clip(linear, 0, 1) * 65535).astype(kind) if kind is np.uint16 else linear * np.float32(PEAK)
        given = {
            "compression": "zlib",
            "compressionargs": {"level": 1},
            "predictor": True,
            "rowsperstrip": 64,
            "maxworkers": os.cpu_count(),
            "photometric": "rgb",
        }
        return lambda path: tifffile.imwrite(path, codes, **given)

    return prepare


def radiance(linear: Picture) -> Prepared:
    """OpenCV's Radiance writer."""
    bgr = np.ascontiguousarray((linear * np.float32(PEAK))[..., ::-1])
    return lambda path: path.write_bytes(cv2.imencode(".hdr", bgr)[1].data)


def linear_codes(linear: Picture) -> NDArray[np.uint16]:
    """The network's [0, 1] x 65535."""
    return np.rint(np.clip(linear, 0, 1) * 65535).astype(np.uint16)


def pq_codes(linear: Picture) -> NDArray[np.uint16]:
    """What a PNG in PQ holds."""
    return Delivery(Light(transfer="pq"), PEAK).codes(linear, CodeRange(16), seed=None)[0]


def avif(bits: int) -> Callable[[Picture], Prepared]:
    """libavif by imagecodecs, as fast as we ask for it."""

    def prepare(linear: Picture) -> Prepared:
        import imagecodecs

        codes, _ = Delivery(PQ, PEAK).codes(linear, CodeRange(bits))
        given = {"level": 90, "speed": 9, "bitspersample": bits, "primaries": 9, "transfer": 16, "matrix": 9}
        return lambda path: path.write_bytes(imagecodecs.avif_encode(codes, numthreads=os.cpu_count(), **given))

    return prepare


def jxl(**given: Any) -> Callable[[Picture], Prepared]:
    """libjxl by imagecodecs: light as halves, or lossless PQ codes of 10 bits."""

    def prepare(linear: Picture) -> Prepared:
        import imagecodecs

        lossless = given.get("lossless")
        samples = Delivery(PQ, PEAK).codes(linear, CodeRange(10))[0] if lossless else (linear * 6).astype(np.float16)
        return lambda path: path.write_bytes(
            imagecodecs.jpegxl_encode(samples, effort=3, numthreads=os.cpu_count(), **given)
        )

    return prepare


def heic(linear: Picture) -> Prepared:
    """libheif with x265 by pillow-heif, as fast as we ask for it."""
    import pillow_heif

    data = (Delivery(PQ, PEAK).codes(linear, CodeRange(10))[0] << 6).tobytes()
    size = linear.shape[1::-1]
    given = {"quality": 90, "chroma": 420, "enc_params": {"preset": "ultrafast"}}
    return lambda path: pillow_heif.from_bytes("RGB;16", size, data).save(path, **given)


def ultrahdr(linear: Picture) -> Prepared:
    """libultrahdr by imagecodecs, which makes its own SDR picture and a map of a sixteenth of the pixels."""
    import imagecodecs

    light = np.dstack([linear * np.float32(PEAK), np.ones(linear.shape[:2], np.float32)]).astype(np.float16)
    return lambda path: path.write_bytes(imagecodecs.ultrahdr_encode(light))


@dataclass(frozen=True)
class Case:
    """One kind of file: how a run writes it, and what the library is given."""

    name: str
    suffix: str
    options: WriteOptions
    library: Callable[[Picture], Prepared]


ACESCG, PQ = Light(primaries="acescg"), Light(transfer="pq")

CASES = (
    Case("exr half zip", ".exr", WriteOptions("zip"), exr("ZIP", np.float16)),
    Case("exr half zip, ACEScg", ".exr", WriteOptions("zip", light=ACESCG), exr("ZIP", np.float16)),
    Case("exr half zips", ".exr", WriteOptions("zips"), exr("ZIPS", np.float16)),
    Case("exr half piz", ".exr", WriteOptions("piz"), exr("PIZ", np.float16)),
    Case("exr half dwaa", ".exr", WriteOptions("dwaa"), exr("DWAA", np.float16)),
    Case("exr half none", ".exr", WriteOptions("none"), exr("NO", np.float16)),
    Case("exr float zip", ".exr", WriteOptions("zip", True), exr("ZIP", np.float32)),
    Case("png linear", ".png", WriteOptions(), png(linear_codes)),
    Case("png pq", ".png", WriteOptions(light=PQ), png(pq_codes)),
    Case("tif 16 bits", ".tif", WriteOptions(), tiff(np.uint16)),
    Case("tif float", ".tif", WriteOptions(float32=True), tiff(np.float32)),
    Case("hdr", ".hdr", WriteOptions(), radiance),
    Case("avif pq, 10 bits", ".avif", WriteOptions(light=PQ), avif(10)),
    Case("avif pq, 12 bits", ".avif", WriteOptions(bits=12, light=PQ), avif(12)),
    Case("jxl pq", ".jxl", WriteOptions(light=PQ), jxl(distance=1.0)),
    Case("jxl pq, lossless", ".jxl", WriteOptions(quality=100, light=PQ), jxl(lossless=True, bitspersample=10)),
    Case("jxl linear", ".jxl", WriteOptions(light=Light(transfer="linear")), jxl(distance=1.0)),
    Case("heic pq", ".heic", WriteOptions(light=PQ), heic),
    Case("Ultra HDR", ".jpg", WriteOptions(), ultrahdr),
)


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor time of one call."""
    started, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - used


def measure(case: Case, linear: Picture, folder: Path, rounds: int) -> NDArray[np.float64]:
    """Milliseconds, wall and processor, of the library call, our writing and the line of numbers: (rounds, 3, 2)."""
    library, path = case.library(linear), folder / f"out{case.suffix}"
    source = folder / "in.jpg"
    sdr = np.rint(linear_to_srgb(np.minimum(linear * PEAK, 1)) * 255).astype(np.uint8)
    source.write_bytes(cv2.imencode(".jpg", sdr[..., ::-1])[1].data)

    def ours() -> None:
        write_image(path, linear, peak=PEAK, options=case.options, source=source)

    def timed(work: Callable[[], Any]) -> tuple[float, float]:
        path.unlink(missing_ok=True)
        return seconds(work)

    def told() -> None:
        light_summary(len(linear), stored_light(path, linear, peak=PEAK, options=case.options))

    works = (lambda: library(path), ours, told)
    times = [[timed(work) for work in works] for _ in range(rounds + 1)][1:]  # the first fills tables and caches
    return 1e3 * np.array(times)


def main() -> None:
    """Print a table."""
    parser = Parser(__doc__)
    parser.add_argument("--size", type=height_and_width, default="2160x3840", metavar="HxW", help="of the picture")
    parser.add_argument("--rounds", type=whole_number, default=5, help="timed rounds")
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose name has this word")
    parser.add_argument(
        "--folder", type=existing_folder, default=MEMORY if MEMORY.is_dir() else None, help="for the files"
    )
    arguments = parser.parse_args()
    cases = [case for case in CASES if arguments.only in case.name]
    if not cases:
        parser.error(f"--only {arguments.only}: no such case; there are: {', '.join(case.name for case in CASES)}")
    height, width = arguments.size
    linear = picture(height, width)
    place = arguments.folder or "the temporary folder"
    print(f"{width}x{height}, {os.cpu_count()} cores, medians of {arguments.rounds} rounds, files in {place}\n")
    print("| file | library, wall ms | written | ratio | library, processor ms | written | ratio | line of numbers |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for case in cases:
            times = measure(case, linear, Path(folder), arguments.rounds)
            ratios = np.median(times[:, 1] / times[:, 0], axis=0)
            alone, own, line = np.median(times, axis=0)
            cells = [f"{alone[kind]:.0f} | {own[kind]:.0f} | {ratios[kind]:.2f}" for kind in (0, 1)]
            print(f"| {case.name} | {' | '.join(cells)} | {line[1]:.0f} |", flush=True)


if __name__ == "__main__":
    start(main)
