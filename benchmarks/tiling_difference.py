"""What tiles change in a picture: difference of tiled results from the whole frame, on the samples.

    python benchmarks/tiling_difference.py [--tiles 128 256]

PSNR for full scale 1.0 and the largest difference in units of SDR white, with the automatic overlap.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dcdr_deploy import Runner, load_engine, read_image
from dcdr_deploy.metrics.psnr import psnr_l

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "dcdr_deploy" / "weights" / "dcdr-unet-demo.onnx")
    parser.add_argument("--tiles", type=int, nargs="+", default=[128, 256])
    options = parser.parse_args()
    print("| sample | tile | overlap | tiles | PSNR dB | largest difference, x SDR white |\n|---|---|---|---|---|---|")
    with load_engine(options.model) as engine:
        peak = engine.info.metadata.peak
        for path in sorted((ROOT / "samples").iterdir()):
            if path.suffix not in (".png", ".jpg"):
                continue
            frame = read_image(path)
            whole = Runner(engine, tile=None).run(frame)
            for tile in options.tiles:
                runner = Runner(engine, tile=tile)
                tiled = runner.run(frame)
                stats = runner.statistics
                largest = float(np.abs(tiled - whole).max()) * peak
                psnr = psnr_l(tiled, whole)
                print(f"| {path.stem} | {tile} | {stats.overlap} | {stats.tiles} | {psnr:.1f} | {largest:.4f} |")


if __name__ == "__main__":
    main()
