"""What smoothing does in areas that are white in all channels: stripes in drawn pictures, and figures of held-out ones.

    python benchmarks/white_areas.py [--sizes 512 1500 3000] [--backend openvino]                      drawn pictures
    python benchmarks/white_areas.py --photos photos/ --panoramas data/hdri --panoramas hdri2/ [--most 44]

Each picture goes through the network once, at the sizes that ``run`` takes, and what was found goes onto it with and
without run/smoothing.py. Detail of the mean of the channels' stops, in pixels of the working picture: *fine* is what a
Gaussian of 3 px takes away, *bands* what is left between that and one of 25 px; each the distance of the 1st and 99th
percentile, 16 px away from the picture's edges and from all that is not white. A code of an 8-bit sRGB picture is 0.018
stops at half light.
Held-out pictures (photographs at their own size, views of panoramas at 768 px): the gain over inverse sRGB in dB of
PSNR-mu on clipped pixels, pooled, median and worst, u'v', and the mean of the same detail where there is any.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from baselines import BASELINES
from command_line import Parser, existing_file, existing_folder, start, whole_number
from held_out import PEAK, SOURCES, HeldOutPicture
from judgement import PLAIN, judged, summary
from numpy.typing import NDArray

from dcdr_deploy import Runner, load_engine
from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.frame import CLIPPED_CODE
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.run.dials import NEUTRAL
from dcdr_deploy.run.gain import smallest_channel
from dcdr_deploy.run.preprocessing import prepare
from dcdr_deploy.run.restore import excess_found
from dcdr_deploy.run.selection import DEMO_MODEL
from dcdr_deploy.run.smoothing import smoothed
from dcdr_deploy.run.strips import SecondPass
from dcdr_deploy.system.words import number_of

VIEW_SIZE = 768
FINE, WIDE, MARGIN = 3.0, 25.0, 16
LEAST_PIXELS = 2000
DRAWN = ("white", "framed", "half")

Codes = NDArray[np.uint8]
Light = NDArray[np.floating]


def drawn(name: str, size: int) -> Codes:
    """All white; white in a gray frame; the left half a ramp that ends in white."""
    codes = np.full((size, size, 3), 255, np.uint8)
    if name == "framed":
        edge = size // 16
        inner = codes[edge:-edge, edge:-edge].copy()
        codes[...] = 118
        codes[edge:-edge, edge:-edge] = inner
    elif name == "half":
        codes[:, : size // 2] = np.linspace(40, 255, size // 2).astype(np.uint8)[None, :, None]
    return codes


def both_ways(codes: Codes, runner: Runner) -> dict[str, Light]:
    """Light (H, W, 3), 1.0 = peak, as the network gives it and smoothed."""
    ready = prepare(codes)
    assert ready.full is not None
    second = SecondPass(codes, ready.full.seen, ready.full.tables, NEUTRAL, PEAK)
    results = [runner.run(each.given) for each in ready.working if each.given is not None]
    field = excess_found(ready, results, PEAK)
    calm = smoothed(field, ready.working[0].picture.light)
    return {"as found": second.from_field(field).linear, "smoothed": second.from_field(calm).linear}


def detail(codes: Codes, linear: Light) -> tuple[float, float] | None:
    """(fine, bands) in stops; ``None`` where too little is white."""
    unit = max(1.0, max(codes.shape[:2]) / VIEW_SIZE)
    white = (smallest_channel(codes) >= CLIPPED_CODE).astype(np.uint8)
    framed = cv2.copyMakeBorder(white, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)  # a picture's edge is an edge too
    deep = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1] > MARGIN * unit
    if deep.sum() < LEAST_PIXELS:
        return None
    stops = np.log2(np.maximum(linear * PEAK, 1e-3)).mean(axis=-1).astype(np.float32)

    def blurred(sigma: float) -> Light:
        share, light = (
            cv2.GaussianBlur(each, (0, 0), sigma * unit) for each in (white.astype(np.float32), stops * white)
        )
        return light / np.maximum(share, np.float32(1e-4))

    smooth = blurred(FINE)
    low, high = (np.percentile(each[deep], (1, 99)) for each in (stops - smooth, smooth - blurred(WIDE)))
    return float(low[1] - low[0]), float(high[1] - high[0])


def means(details: Sequence[tuple[float, float]]) -> str:
    """Two cells: fine and bands in the mean; dashes where no picture has enough white."""
    return " | ".join(f"{np.mean(each):.4f}" for each in zip(*details, strict=True)) if details else "- | -"


def show_drawn(runner: Runner, sizes: Sequence[int]) -> None:
    print("| picture | px | | fine, stops | bands, stops |\n|---|---|---|---|---|")
    for size in sizes:
        for name in DRAWN:
            codes = drawn(name, size)
            for way, linear in both_ways(codes, runner).items():
                found = detail(codes, linear)
                print(f"| {name} | {size} | {way} | {means([found] if found else [])} |", flush=True)


def pictures(options: argparse.Namespace) -> Iterator[tuple[str, HeldOutPicture]]:
    for kind, folders, size in (("photograph", options.photos, None), ("panorama", options.panoramas, VIEW_SIZE)):
        for source in SOURCES[kind](folders, "validation", options.most) if folders else ():
            yield kind, source.render(size)


def show_held_out(runner: Runner, options: argparse.Namespace) -> None:
    figures: dict[str, dict[str, dict]] = {}
    details: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for kind, picture in pictures(options):
        if not (picture.ldr.max(axis=-1) >= CLIPPED_CODE).any():
            continue
        ways = both_ways(picture.ldr, runner)
        plain = BASELINES[PLAIN](srgb_to_linear(picture.ldr / np.float32(255)), PEAK) / np.float32(PEAK)
        figures.setdefault(kind, {})[picture.name] = judged(picture, {PLAIN: plain, **ways}, False)
        for way, linear in ways.items():
            if measured := detail(picture.ldr, linear):
                details.setdefault((kind, way), []).append(measured)
    if not figures:
        folders = ", ".join(map(str, [*options.photos, *options.panoramas]))
        raise InputError(f"{folders}: no picture of the validation split that clips; name other folders")
    print("| pictures | | pooled | median | worst | u'v' | fine, stops | bands, stops | pictures with white |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind, found_in in figures.items():
        for way in next(iter(found_in.values())):
            if way == PLAIN:
                continue
            row = summary(found_in, way)
            there = details.get((kind, way), [])
            gains = f"{row['clipped gain']:+.3f} | {row['median']:+.3f} | {row['worst']:+.2f} | {row['uv']:.4f}"
            print(f"| {number_of(len(found_in), kind)} | {way} | {gains} | {means(there)} | {len(there)} |")


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--model", type=existing_file, default=DEMO_MODEL)
    parser.add_argument("--backend", default="auto")
    parser.add_argument(
        "--sizes", type=whole_number, nargs="+", default=[512, 1500, 3000], help="edges of drawn pictures in pixels"
    )
    parser.add_argument("--photos", type=existing_folder, action="append", default=[], help="repeatable")
    parser.add_argument("--panoramas", type=existing_folder, action="append", default=[], help="repeatable")
    parser.add_argument("--most", type=whole_number, help="pictures of a kind at most, evenly spread")
    options = parser.parse_args()
    with load_engine(options.model, options.backend) as engine:
        runner = Runner(engine)
        if options.photos or options.panoramas:
            show_held_out(runner, options)
        else:
            show_drawn(runner, options.sizes)


if __name__ == "__main__":
    start(main)
