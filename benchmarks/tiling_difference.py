"""What tiles change in a picture: difference of tiled results from the whole frame, on the samples.

    python benchmarks/tiling_difference.py [--tiles 512 256]

PSNR for full scale 1.0 and the largest difference in units of SDR white, with the automatic overlap; and where it lies:
the share of the squared differences at clipped pixels and within 8 px of them, whether the largest is there, and the
share of the picture that this region is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from command_line import Parser, existing_file, start, whole_number

from dcdr_deploy import Runner, load_engine, read_image
from dcdr_deploy.metrics.psnr import clipped_region, psnr_l
from dcdr_deploy.run.selection import DEMO_MODEL

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--model", type=existing_file, default=DEMO_MODEL)
    parser.add_argument("--tiles", type=whole_number, nargs="+", default=[512, 256], help="their edges in pixels")
    options = parser.parse_args()
    heads = ["sample", "tile", "overlap", "tiles", "PSNR dB", "largest difference, x SDR white"]
    heads += ["squares near clipping", "largest there", "of the picture"]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    with load_engine(options.model) as engine:
        peak = engine.info.metadata.peak
        for path in sorted((ROOT / "samples").iterdir()):
            if path.suffix not in (".png", ".jpg"):
                continue
            frame = read_image(path)
            near = clipped_region(frame.pixels)
            whole = Runner(engine, tile=None).run(frame)
            for tile in options.tiles:
                runner = Runner(engine, tile=tile)
                tiled = runner.run(frame)
                stats = runner.statistics
                error = np.abs(tiled - whole).max(axis=-1)
                squares = np.square(tiled - whole, dtype=np.float64).sum(axis=-1)
                share, there = "-", "-"
                if squares.any():
                    share = f"{squares[near].sum() / squares.sum():.0%}"
                    there = "yes" if near.flat[error.argmax()] else "no"
                print(
                    f"| {path.stem} | {tile} | {stats.overlap} | {stats.tiles} | {psnr_l(tiled, whole):.1f} | "
                    f"{float(error.max()) * peak:.4f} | {share} | {there} | {near.mean():.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    start(main)
