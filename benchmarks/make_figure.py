"""Make docs/before-after.png: samples with known truth, two stops darker, where clipping shows.

    python benchmarks/make_figure.py

Columns: the SDR picture; the SDR picture darkened (clipped areas turn grey); the demo weights' result darkened; the
truth darkened.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import OpenEXR
from numpy.typing import NDArray

from dcdr_deploy import Runner, load_engine, read_image
from dcdr_deploy.imaging.transfer import linear_to_srgb, srgb_to_linear

ROOT = Path(__file__).parents[1]
NAMES = ("forest-tree", "venice-sunset")
STOPS = 2
TITLES = ("SDR input", f"input, -{STOPS} EV", f"DCDR-UNet, -{STOPS} EV", f"truth, -{STOPS} EV")
GAP = 6


def darkened(linear: NDArray[np.floating]) -> NDArray[np.uint8]:
    """8-bit sRGB of light in units of SDR white, darkened by STOPS."""
    return np.rint(linear_to_srgb(np.clip(linear / 2**STOPS, 0, 1)) * 255).astype(np.uint8)


def main() -> None:
    rows = []
    with load_engine(ROOT / "dcdr_deploy" / "weights" / "dcdr-unet-demo.onnx") as engine:
        peak = engine.info.metadata.peak
        runner = Runner(engine)
        for name in NAMES:
            frame = read_image(ROOT / "samples" / f"{name}.png")
            with OpenEXR.File(str(ROOT / "samples" / "truth" / f"{name}.exr")) as file:
                truth = file.channels()["RGB"].pixels.astype(np.float32)
            sdr = srgb_to_linear(frame.normalised())
            result = runner.run(frame) * peak
            cells = [frame.pixels, darkened(sdr), darkened(result), darkened(truth)]
            gap = np.full((cells[0].shape[0], GAP, 3), 255, np.uint8)
            rows.append(np.hstack([part for cell in cells for part in (cell, gap)][:-1]))
    head = np.full((30, rows[0].shape[1], 3), 255, np.uint8)
    width = rows[0].shape[1] // len(TITLES)
    for number, title in enumerate(TITLES):
        cv2.putText(head, title, (number * width + 6, 21), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    space = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    picture = np.vstack([head, *[part for row in rows for part in (row, space)][:-1]])
    (ROOT / "docs").mkdir(exist_ok=True)
    cv2.imwrite(str(ROOT / "docs" / "before-after.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
