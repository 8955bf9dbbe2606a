"""Why do some held-out pictures get worse? Figures of single pictures, of the validation or the training split.

    python benchmarks/losers.py --photos photos/ --panoramas data/hdri hdri2/ -o losers.jsonl
    python benchmarks/losers.py --photos photos/ --splits validation --stops 0.75 1.25 1.75 2.25 -o exposures.jsonl
    python benchmarks/loser_tables.py losers.jsonl                                     tables of what -o kept

Pictures, clipped areas and gains are those of evaluate_demo.py (plain camera, the scale that ``run`` takes). Beside the
gain it is kept how far above white the clipped area truly is and how far the network puts it, what the area looks like,
and what the picture would gain if the network's gain were raised to one power for all of it (``--strength`` of
``run``): at many powers, and at the one after which its mean depth is the true one. Depth is the brightest channel's,
in stops above SDR white, over clipped pixels whose truth is known. The split "test" is not offered: nothing here may
be chosen by it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np
from command_line import Parser, existing_file, existing_folder, new_file, start, whole_number
from evaluate_demo import rounded
from held_out import PEAK, HeldOutPicture, Source, panorama_sources, photograph_sources
from judgement import Reference, mu_codes
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.frame import CLIPPED_CODE
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.metrics.psnr import psnr_from_mse
from dcdr_deploy.run.gain import apply_gain, gain_of
from dcdr_deploy.run.opening import RunnerSettings, open_runner
from dcdr_deploy.run.restore import restore
from dcdr_deploy.run.selection import DEMO_MODEL
from dcdr_deploy.scenes.camera import brightest_channel
from dcdr_deploy.system.files import make_folder

Light = NDArray[np.float32]

SPLITS = ("validation", "train")
STRENGTHS = tuple(round(0.1 * number, 1) for number in range(31))
"""Powers of the gain that are tried; 1 is the result as it is, 0 the plain conversion."""
LARGEST_STRENGTH = STRENGTHS[-1]
HALVINGS = 30
LEAST_ERROR = 1e-12
SECONDS_BETWEEN_NOTES = 15.0


@dataclass(frozen=True)
class Depth:
    """Stops above SDR white over a clipped area."""

    mean: float
    median: float
    high: float
    """The 90th percentile."""


@dataclass(frozen=True)
class Area:
    """What the clipped area of an SDR picture looks like; all of it could be told without the truth.

    Attributes:
        share: of the picture's pixels, those with a clipped channel.
        whole: of the clipped pixels, those with all three channels clipped.
        flat: of the picture's pixels, those of the largest connected area in which all three channels are clipped.
    """

    share: float
    whole: float
    flat: float


@dataclass(frozen=True)
class Measured:
    """Figures of one picture; gains are dB of PSNR-mu (mu = 10) over clipped pixels with their 8 px surround.

    Attributes:
        conversion: PSNR-mu of the plain conversion there, dB.
        count: known pixels there, and ``error`` the mean squared error of the result, for pooling.
        known: of the clipped pixels, those whose truth is known.
        true: depth of the clipped pixels.
        found: depth that the network gives them.
        matched_strength: power of the network's gain after which the mean depth is the true one.
        matched: the picture's gain with it.
        by_strength: the picture's gains with :data:`STRENGTHS`.
        stops: how far a photograph was exposed up, where that was asked for.
    """

    name: str
    kind: str
    split: str
    size: int
    gain: float
    conversion: float
    count: int
    error: float
    known: float
    area: Area
    true: Depth
    found: Depth
    matched_strength: float
    matched: float
    by_strength: tuple[float, ...]
    stops: float | None = None


def depth_of(stops: NDArray[np.floating]) -> Depth:
    """What is kept of stops, of any shape but not empty."""
    return Depth(float(stops.mean()), float(np.median(stops)), float(np.quantile(stops, 0.9)))


def stops_above_white(light: Light) -> NDArray[np.float32]:
    """Stops of the brightest channel above SDR white, (N,) for (N, 3) light in units of it; 0 below it."""
    return np.asarray(np.log2(np.maximum(brightest_channel(light), 1)), np.float32)


def area_of(ldr: NDArray[np.uint8]) -> Area:
    """The clipped area of an SDR picture (H, W, 3)."""
    clipped = ldr >= CLIPPED_CODE
    some, whole = clipped.any(axis=-1), clipped.all(axis=-1)
    _, _, statistics, _ = cv2.connectedComponentsWithStats(whole.astype(np.uint8), connectivity=8)
    sizes = statistics[1:, cv2.CC_STAT_AREA]  # the first is the rest of the picture
    return Area(
        float(some.mean()),
        float(whole.sum() / max(some.sum(), 1)),
        float(sizes.max() / some.size) if sizes.size else 0.0,
    )


def powered(plain: Light, restored: Light, strength: float) -> Light:
    """Restored light with its gain over the plain conversion raised to a power; all (N, 3) in units of SDR white."""
    return apply_gain(plain, gain_of(plain, restored - plain) ** np.float32(strength))


def strength_for_depth(plain: Light, restored: Light, stops: float) -> float:
    """The power of the gain after which the mean depth is ``stops``, 0 to :data:`LARGEST_STRENGTH`.

    The mean depth rises with the power, so that halving the range finds it; what found too little for that gets the
    largest.
    """
    low, high = 0.0, LARGEST_STRENGTH
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if stops_above_white(powered(plain, restored, middle)).mean() < stops:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def figures_of(picture: HeldOutPicture, result: Light, split: str, size: int) -> Measured | None:
    """Figures of a result (H, W, 3), 1.0 = peak; ``None`` where no clipped pixel's truth is known."""
    reference = Reference(picture, everything=False)
    if not reference.bright.size:
        return None
    plain = srgb_to_linear(picture.ldr.astype(np.float32) / np.float32(255))
    region, bright = reference.clipped, reference.bright
    before, after = (each.reshape(-1, 3)[region] for each in (plain, result * np.float32(PEAK)))
    codes = reference.codes[region]

    def error(light: Light) -> float:
        return max(float(np.mean((mu_codes(light / np.float32(PEAK)) - codes) ** 2, dtype=np.float64)), LEAST_ERROR)

    def gain(light: Light) -> float:
        return psnr_from_mse(error(light)) - conversion

    conversion = psnr_from_mse(error(before))
    clipped_before, clipped_after, truth = (
        each.reshape(-1, 3)[bright] for each in (plain, result * np.float32(PEAK), picture.truth * np.float32(PEAK))
    )
    true = depth_of(stops_above_white(truth))
    matching = strength_for_depth(clipped_before, clipped_after, true.mean)
    return Measured(
        name=picture.name,
        kind=picture.kind,
        split=split,
        size=size,
        gain=gain(after),
        conversion=conversion,
        count=int(region.size),
        error=error(after),
        known=float(bright.size / max(int(reference.hard.sum()), 1)),
        area=area_of(picture.ldr),
        true=true,
        found=depth_of(stops_above_white(clipped_after)),
        matched_strength=matching,
        matched=gain(powered(before, after, matching)),
        by_strength=tuple(gain(powered(before, after, strength)) for strength in STRENGTHS),
    )


Row = tuple[str, float | None, Sequence[Source]]
"""Split, exposure and pictures."""


def sources_of(options: argparse.Namespace) -> Iterator[Row]:
    """Pictures by split and exposure; where exposures are asked for, of photographs alone."""
    for split in options.splits:
        photographs = photograph_sources(options.photos, split, options.most)
        for stops in options.stops or [None]:
            yield split, stops, [replace(each, stops=stops) for each in photographs]
        if not options.stops:
            yield split, None, panorama_sources(options.panoramas, split, options.most)


def measure(options: argparse.Namespace, rows: Sequence[Row]) -> Iterator[Measured]:
    """Figures of all pictures, one after the other; notes go to standard error."""
    started = noted = time.monotonic()
    with open_runner(options.model, RunnerSettings(threads=options.threads)) as runner:
        for split, stops, sources in rows:
            for count, source in enumerate(sources, start=1):
                picture = source.render(options.size)
                if picture is not None:
                    result = restore(picture.ldr, runner).linear
                    if (figures := figures_of(picture, result, split, options.size)) is not None:
                        yield replace(figures, stops=stops)
                if (now := time.monotonic()) > noted + SECONDS_BETWEEN_NOTES or count == len(sources):
                    noted = now
                    print(f"{now - started:6.1f} s  {split}: {count} of {len(sources)}", file=sys.stderr, flush=True)


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(__doc__)
    parser.add_argument("--model", type=existing_file, default=DEMO_MODEL, help="model or checkpoint [demo]")
    parser.add_argument("--photos", type=existing_folder, nargs="+", default=[])
    parser.add_argument("--panoramas", type=existing_folder, nargs="+", default=[])
    parser.add_argument("--splits", choices=SPLITS, nargs="+", default=list(SPLITS))
    parser.add_argument("--size", type=whole_number, default=256, help="long side in pixels [256]")
    parser.add_argument("--stops", type=float, nargs="+", help="expose every photograph up by each of these [drawn]")
    parser.add_argument("--most", type=whole_number, help="pictures of a kind and split at most, evenly spread")
    parser.add_argument("--threads", type=whole_number, help="processor threads of the engine")
    parser.add_argument("-o", "--output", type=new_file, required=True, help="file of figures, a picture a line (JSON)")
    options = parser.parse_args(arguments)
    if not options.photos and (options.stops or not options.panoramas):
        parser.error("nothing to measure; give --photos" + ("" if options.stops else " or --panoramas"))
    return options


def main() -> int:
    options = parsed()
    rows = list(sources_of(options))
    if not any(sources for _, _, sources in rows):
        places = ", ".join(map(str, [*options.photos, *options.panoramas]))
        raise InputError(f"{places}: no picture of the split {' or '.join(options.splits)}; name other folders")
    make_folder(options.output.parent)
    with options.output.open("w", encoding="utf-8", buffering=1) as file:
        for each in measure(options, rows):
            file.write(json.dumps(rounded(asdict(each))) + "\n")
    return 0


if __name__ == "__main__":
    start(main)
