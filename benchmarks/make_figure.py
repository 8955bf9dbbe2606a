"""Make the pictures in docs/ with the demo weights: samples for the README, and a contact sheet of held-out crops.

    python benchmarks/make_figure.py [--only samples]

Four cells each. The samples are the views of ``make_samples.py``, rendered three times as large, where the size at
which the network works makes a difference: the SDR picture, the network at every pixel (``--scale native``), the
working scale (``--scale auto``) and the truth, all two stops darker, so that what is clipped is grey. The contact sheet
takes every sixth of the crops that ``evaluate_demo.py`` measures, unseen and unpicked, with the gain of each in dB: the
SDR picture as it is, and darkened the same, the network's result and the truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from evaluate_demo import DEMO, gate_pairs
from make_samples import SIZE, VIEWS, render
from numpy.typing import NDArray

from dcdr_deploy import Runner, load_engine
from dcdr_deploy.imaging.transfer import linear_to_srgb, srgb_to_linear
from dcdr_deploy.run.restore import restore
from dcdr_deploy.scenes.camera import TARGET_MAX
from dcdr_deploy.training.heldout import judge

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NAMES = ("forest-tree", "forest-sky")
EVERY = 6
STOPS = 2
TIMES = 3
"""The samples' views are rendered so many times as large, and averaged down in light again to be shown."""

SAMPLE_TITLES = tuple(
    f"{title}, -{STOPS} EV" for title in ("SDR input", "network at every pixel", "working scale (default)", "truth")
)
SHEET_TITLES = ("SDR input", f"input, -{STOPS} EV", f"DCDR-UNet, -{STOPS} EV", f"truth, -{STOPS} EV")
GAP = 6

Picture = NDArray[np.uint8]


def darkened(linear: NDArray[np.floating]) -> Picture:
    """8-bit sRGB of light in units of SDR white, darkened by STOPS."""
    return np.rint(linear_to_srgb(np.clip(linear / 2**STOPS, 0, 1)) * 255).astype(np.uint8)


def row_of(*cells: Picture) -> Picture:
    gap = np.full((cells[0].shape[0], GAP, 3), 255, np.uint8)
    return np.hstack([part for cell in cells for part in (cell, gap)])


def label(picture: Picture, text: str, at: tuple[int, int], colour: tuple[int, int, int] = (0, 0, 0)) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)


def sheet(rows: list[Picture], titles: Sequence[str]) -> Picture:
    """Rows under one line of titles."""
    head = np.full((28, rows[0].shape[1], 3), 255, np.uint8)
    for number, title in enumerate(titles):
        label(head, title, (number * (rows[0].shape[1] // len(titles)) + 4, 19))
    space = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.vstack([head, *[part for row in rows for part in (row, space)]])


def sample_rows(runner: Runner, peak: float) -> Iterator[Picture]:
    for name in NAMES:
        sdr, target = render(*VIEWS[name], TIMES * SIZE)
        lights = [
            srgb_to_linear(sdr / 255),
            *(restore(sdr, runner, scale).linear * peak for scale in ("native", "auto")),
        ]
        lights.append(target / TARGET_MAX * peak)
        yield row_of(*(darkened(cv2.resize(light, (SIZE, SIZE), interpolation=cv2.INTER_AREA)) for light in lights))


def held_out_rows(runner: Runner, peak: float) -> Iterator[Picture]:
    for pair in gate_pairs()[::EVERY]:
        result = runner.run(pair.ldr)
        gain = judge([pair], lambda ldr, result=result: result, peak).everything.gain
        lights = (srgb_to_linear(pair.ldr / 255), result * peak, pair.target / TARGET_MAX * peak)
        row = row_of(pair.ldr, *map(darkened, lights))
        label(row, f"{gain:+.1f} dB", (4, row.shape[0] - 6), (255, 255, 0))
        yield row


def save(picture: Picture, name: str) -> None:
    DOCS.mkdir(exist_ok=True)
    cv2.imwrite(str(DOCS / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("samples", "sheet"), help="make one of the two")
    only = parser.parse_args().only
    with load_engine(DEMO) as engine:
        peak = engine.info.metadata.peak
        runner = Runner(engine)
        if only != "sheet":
            save(sheet(list(sample_rows(runner, peak)), SAMPLE_TITLES), "before-after.png")
        if only != "samples":
            rows = list(held_out_rows(runner, peak))
            halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
            save(np.hstack([sheet(half, SHEET_TITLES) for half in halves]), "contact-sheet.jpg")


if __name__ == "__main__":
    main()
