"""What the working scale saves: time and memory of `dcdr-deploy run` from JPEG to EXR, against the native scale.

    python benchmarks/scale_cost.py [--megapixels 2,12,24,100] [--native 2] [--backend openvino]

Every picture is a sample enlarged, so that an eighth of it is clipped, and runs in a process of its own, of which the
system counts processor seconds and peak memory. Native scale takes time in proportion to the pixels; it is run at the
size of ``--native``, and the ratio is per pixel. Loading the package and the model is in all figures.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
from command_line import Parser, above_zero, several, start
from processes import dcdr_deploy

SAMPLE = Path(__file__).parents[1] / "samples" / "venice-sunset.png"
ASPECT = 1.5


@dataclass(frozen=True)
class Cost:
    """What one run took."""

    seconds: float
    processor_seconds: float
    megabytes: float
    working_sizes: str


def write_picture(folder: Path, megapixels: float) -> Path:
    """A JPEG of that size, 3:2."""
    width = round(math.sqrt(megapixels * 1e6 * ASPECT))
    path = folder / f"{megapixels:g}.jpg"
    picture = cv2.resize(cv2.imread(str(SAMPLE)), (width, round(width / ASPECT)), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return path


def run(picture: Path, *options: str) -> Cost:
    """Convert a picture in a process of its own."""
    usage = dcdr_deploy("run", str(picture), str(picture.with_suffix(".exr")), "--json", "-q", *options)
    report = json.loads(usage.said)
    sizes = " and ".join(f"{width}x{height}" for height, width in report["working_sizes"])
    return Cost(report["seconds"], usage.processor_seconds, usage.peak_bytes / 2**20, sizes)


def row(name: str, megapixels: float, cost: Cost, native: float) -> None:
    ratio = native * megapixels / cost.processor_seconds
    print(
        f"| {name} | {megapixels:g} | {cost.working_sizes} | {cost.seconds:.1f} | {cost.processor_seconds:.1f} | "
        f"{cost.megabytes:.0f} | {ratio:.1f} x |",
        flush=True,
    )


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "--megapixels", type=several(above_zero), default="2,12,24,100", help="of the pictures at the working scale"
    )
    parser.add_argument("--native", type=above_zero, default=2.0, help="megapixels of the picture at native scale")
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    backend = ("--backend", options.backend)
    print("| scale | megapixels | network at | seconds | processor seconds | peak MiB | as fast as native |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cost = run(write_picture(folder, options.native), "--scale", "native", *backend)
        native = cost.processor_seconds / options.native
        row("native", options.native, cost, native)
        for megapixels in options.megapixels:
            row("auto", megapixels, run(write_picture(folder, megapixels), *backend), native)


if __name__ == "__main__":
    start(main)
