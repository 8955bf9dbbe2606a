"""Make the pictures in docs/ with the demo weights: samples for the README, and a contact sheet of held-out pictures.

    python benchmarks/make_figure.py                                                       the README's figure alone
    python benchmarks/make_figure.py --photos photos/ --panoramas data/hdri --panoramas hdri2/ [--split validation]
    python benchmarks/make_figure.py ... --split test --any-licence --every 3 --size 512 -o sheet.png     to look at

The README's figure shows the views of ``make_samples.py``, rendered three times as large, where the size at which the
network works makes a difference: the SDR picture, the network at every pixel (``--scale native``), the working scale
(``--scale auto``) and the truth, all two stops darker, so that what is clipped is grey. The contact sheet shows what
training never saw, unpicked, photographs first, at +0, -2 and -4 EV, with the gain of each on clipped pixels in
dB: of photographs only those whose licence lets the sheet be passed on (CC0 and public domain), of panoramas the first
view of each place.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from baselines import BASELINES
from command_line import Parser, existing_file, existing_folder, new_file, start, whole_number
from held_out import PEAK, HeldOutPicture, panorama_views, photographs
from judgement import NETWORK, PLAIN, gain, judged
from make_samples import SIZE, VIEWS, render
from numpy.typing import NDArray

from dcdr_deploy import Runner, load_engine
from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.transfer import linear_to_srgb, srgb_to_linear
from dcdr_deploy.run.restore import restore
from dcdr_deploy.run.selection import DEMO_MODEL
from dcdr_deploy.scenes.camera import TARGET_MAX
from dcdr_deploy.system.files import make_folder

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NAMES = ("forest-tree", "forest-sky")
FREE = ("gh-budgie", "gh-immich-assets", "gh-libjxl-testdata", "gh-moiraine", "gh-wp-twenty", "samples")
"""Folders of photographs that are CC0 or in the public domain."""
STOPS = 2
TIMES = 3
"""The samples' views are rendered so many times as large, and averaged down in light again to be shown."""

SAMPLE_TITLES = tuple(
    f"{title}, -{STOPS} EV" for title in ("SDR input", "network at every pixel", "working scale (default)", "truth")
)
SHEET_TITLES = ("SDR input", "input, -2 EV", "DCDR-UNet, -2 EV", "truth, -2 EV", "DCDR-UNet, -4 EV", "truth, -4 EV")
GAP = 6

Picture = NDArray[np.uint8]
Light = NDArray[np.floating]


def darkened(linear: Light, stops: int = STOPS) -> Picture:
    """8-bit sRGB of light in units of SDR white, darkened."""
    return np.rint(linear_to_srgb(np.clip(linear / 2**stops, 0, 1)) * 255).astype(np.uint8)


def beside(cells: list[Picture]) -> Picture:
    """Cells of one height in a row."""
    gap = np.full((cells[0].shape[0], GAP, 3), 255, np.uint8)
    return np.hstack([part for cell in cells for part in (cell, gap)])


def label(picture: Picture, text: str, at: tuple[int, int], colour: tuple[int, int, int] = (0, 0, 0)) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)


def sheet(rows: list[Picture], titles: tuple[str, ...]) -> Picture:
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
            target / TARGET_MAX * peak,
        ]
        yield beside([darkened(cv2.resize(light, (SIZE, SIZE), interpolation=cv2.INTER_AREA)) for light in lights])


def square(picture: Picture, size: int) -> Picture:
    """A picture in the middle of a white square."""
    height, width = picture.shape[:2]
    framed = np.full((size, size, 3), 255, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    framed[top : top + height, left : left + width] = picture
    return framed


def held_out_row(runner: Runner, held: HeldOutPicture, size: int) -> Picture:
    result = runner.run(held.ldr)
    shown = srgb_to_linear(held.ldr / np.float32(255))
    figures = judged(held, {PLAIN: BASELINES[PLAIN](shown, PEAK) / PEAK, NETWORK: result}, everything=False)
    light, truth = result * PEAK, held.truth * PEAK
    cells = [held.ldr, darkened(shown), darkened(light), darkened(truth), darkened(light, 4), darkened(truth, 4)]
    row = beside([square(cell, size) for cell in cells])
    label(row, f"{gain(figures[PLAIN], figures[NETWORK], 'clipped'):+.1f} dB", (4, size - 6), (255, 255, 0))
    return row


def held_out(options: argparse.Namespace) -> Iterator[HeldOutPicture]:
    if options.photos:
        for number, held in enumerate(photographs(options.photos, options.split, options.size)):
            if (options.any_licence or held.name.startswith(FREE)) and number % options.every == 0:
                yield held
    if options.panoramas:
        for held in panorama_views(options.panoramas, options.split, options.size):
            if held.name.endswith("#0"):
                yield held


def save(picture: Picture, path: Path) -> None:
    make_folder(path.parent)
    settings = [cv2.IMWRITE_JPEG_QUALITY, 88] if path.suffix == ".jpg" else []
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--photos", type=existing_folder, action="append", default=[], help="repeatable")
    parser.add_argument("--panoramas", type=existing_folder, action="append", default=[], help="repeatable")
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--size", type=whole_number, default=192, help="of a cell of the contact sheet")
    parser.add_argument("--every", type=whole_number, default=1, help="take every so manieth photograph")
    parser.add_argument("--any-licence", action="store_true", help="all photographs, for a sheet that is not passed on")
    parser.add_argument("--model", type=existing_file, default=DEMO_MODEL)
    parser.add_argument("-o", "--output", type=new_file, help="write the contact sheet alone, there")
    options = parser.parse_args()
    folders = [*options.photos, *options.panoramas]
    if options.output and not folders:
        parser.error("-o takes pictures of --photos or --panoramas")
    with load_engine(options.model) as engine:
        runner = Runner(engine)
        if options.output is None:
            rows = list(sample_rows(runner, engine.info.metadata.peak))
            save(sheet(rows, SAMPLE_TITLES), DOCS / "before-after.png")
        rows = [held_out_row(runner, held, options.size) for held in held_out(options)]
    if not folders:
        return
    if not rows:
        raise InputError(f"{', '.join(map(str, folders))}: no picture of the split {options.split!r} to show")
    half = (len(rows) + 1) // 2
    if len(rows) % 2:
        rows.append(np.full_like(rows[0], 255))
    columns = [sheet(part, SHEET_TITLES) for part in (rows[:half], rows[half:])]
    save(np.hstack(columns), options.output or DOCS / "contact-sheet.jpg")


if __name__ == "__main__":
    start(main)
