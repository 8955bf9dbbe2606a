"""Make the pictures in docs/ with the demo weights: samples for the README, and a contact sheet of held-out crops.

    python benchmarks/make_figure.py

Four cells each, two stops darker where clipping shows: the SDR picture; the same darkened (clipped areas turn grey);
the network's result darkened; the truth darkened. The contact sheet takes every sixth of the crops that
``evaluate_demo.py`` measures, unseen and unpicked, with the gain of each in dB.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
from evaluate_demo import DEMO, gate_pairs
from numpy.typing import NDArray

from dcdr_deploy import Runner, load_engine, read_image
from dcdr_deploy.imaging.transfer import linear_to_srgb, srgb_to_linear
from dcdr_deploy.scenes.camera import TARGET_MAX
from dcdr_deploy.training.heldout import judge

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NAMES = ("forest-tree", "venice-sunset")
EVERY = 6
STOPS = 2
TITLES = ("SDR input", f"input, -{STOPS} EV", f"DCDR-UNet, -{STOPS} EV", f"truth, -{STOPS} EV")
GAP = 6

Picture = NDArray[np.uint8]


def darkened(linear: NDArray[np.floating]) -> Picture:
    """8-bit sRGB of light in units of SDR white, darkened by STOPS."""
    return np.rint(linear_to_srgb(np.clip(linear / 2**STOPS, 0, 1)) * 255).astype(np.uint8)


def row_of(sdr: Picture, result: NDArray[np.floating], truth: NDArray[np.floating]) -> Picture:
    cells = [sdr, darkened(srgb_to_linear(sdr / 255)), darkened(result), darkened(truth)]
    gap = np.full((sdr.shape[0], GAP, 3), 255, np.uint8)
    return np.hstack([part for cell in cells for part in (cell, gap)])


def label(picture: Picture, text: str, at: tuple[int, int], colour: tuple[int, int, int] = (0, 0, 0)) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)


def sheet(rows: list[Picture]) -> Picture:
    """Rows under one line of titles."""
    head = np.full((28, rows[0].shape[1], 3), 255, np.uint8)
    for number, title in enumerate(TITLES):
        label(head, title, (number * (rows[0].shape[1] // len(TITLES)) + 4, 19))
    space = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.vstack([head, *[part for row in rows for part in (row, space)]])


def sample_rows(runner: Runner, peak: float) -> Iterator[Picture]:
    for name in NAMES:
        frame = read_image(ROOT / "samples" / f"{name}.png")
        with OpenEXR.File(str(ROOT / "samples" / "truth" / f"{name}.exr")) as file:
            truth = file.channels()["RGB"].pixels.astype(np.float32)
        yield row_of(frame.pixels, runner.run(frame) * peak, truth)


def held_out_rows(runner: Runner, peak: float) -> Iterator[Picture]:
    for pair in gate_pairs()[::EVERY]:
        result = runner.run(pair.ldr)
        gain = judge([pair], lambda ldr, result=result: result, peak).everything.gain
        row = row_of(pair.ldr, result * peak, pair.target / TARGET_MAX * peak)
        label(row, f"{gain:+.1f} dB", (4, row.shape[0] - 6), (255, 255, 0))
        yield row


def save(picture: Picture, name: str) -> None:
    DOCS.mkdir(exist_ok=True)
    cv2.imwrite(str(DOCS / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def main() -> None:
    with load_engine(DEMO) as engine:
        peak = engine.info.metadata.peak
        runner = Runner(engine)
        save(sheet(list(sample_rows(runner, peak))), "before-after.png")
        rows = list(held_out_rows(runner, peak))
    half = len(rows) // 2
    save(np.hstack([sheet(rows[:half]), sheet(rows[half:])]), "contact-sheet.jpg")


if __name__ == "__main__":
    main()
