"""At which size should the network work, and how does its result get to full size? Measured on held-out views.

    python benchmarks/working_scale.py [--panoramas FOLDER ...] [--sizes 256,768] [--views 100] [--photos FOLDER ...]
                                       [--device cuda] [--precision fp16] [--seconds 110] [--json FILE]
    python benchmarks/working_scale.py --table FILE                           tables and targets of what --json kept

The same views of the split's panoramas, of every place as many (direction, field of view, exposure, white balance), are
rendered at every size and go through the training camera. The network runs at every working size up to the view's own;
scale_methods.py holds the ways back to full size, scale_candidates.py what is tried. Figures are gains in PSNR-mu (mu =
10) over inverse sRGB: clipped pixels with their 8 px surround pooled over all views, unclipped ones likewise; the
median, tenth percentile and worst of views; and the mean u'v' distance of clipped pixels from the truth. What ``run``
does by itself, each picture by its size, stands last and in bold.
``--photos`` adds photographs of the split at their own size, exposed up until they clip.

On a CPU an engine runs the model, in tiles where memory asks for them; views above 1,024 px take minutes each there.
``--device cuda`` wants a checkpoint and torch with CUDA, and rates FP16 through the fused blocks, or FP32. Sizes are
taken in the order given; when --seconds are over, a size that has at least 30 views keeps these, and the rest is left
out.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from candidates import Candidate
from command_line import Parser, above_zero, existing_file, existing_folder, new_file, several, start, whole_number
from held_out import panorama_places, photograph_sources
from processes import Workers
from scale_candidates import candidates
from scale_cases import Case, photo_case, view_case
from scale_methods import Size, View, average_down, linear_to_srgb, srgb_to_linear
from scale_tables import rule_for, show, show_targets, table
from text_files import write_text
from torch import Tensor
from torch.nn import functional as F

from dcdr_deploy.engines.base import EngineOptions
from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.frame import CLIPPED_CODE
from dcdr_deploy.metrics.chromaticity import DARKEST, uv_prime
from dcdr_deploy.metrics.psnr import PAPER_MU
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.selection import DEMO_MODEL
from dcdr_deploy.run.working_scale import AUTO
from dcdr_deploy.scenes.camera import LDR_MAX, TARGET_MAX

ROOT = Path(__file__).parents[1]
PANORAMAS = (ROOT / "data" / "hdri",)
SIZES = (768, 1536, 256, 512, 1024, 2048)
"""The first three have targets."""
WORKING = (128, 192, 256, 384, 512, 768)
"""Longer working edges tried, beside each view's own."""
SURROUND = 8
LEAST_VIEWS = 30
GRAPHS = 12
"""Shapes whose CUDA graphs are kept: the working ones, and views of a size or two."""

Network = Callable[[Tensor], Tensor]


def prepare_network(candidate: Candidate, device: torch.device, precision: str) -> tuple[Network, float]:
    """A function (1, 3, h, w) codes in [0, 1] -> light in units of SDR white, and the peak."""
    if device.type == "cpu":
        engine = candidate.engine(EngineOptions(device="cpu"))
        return by_runner(Runner(engine)), engine.info.metadata.peak
    loaded = candidate.loaded()
    network = loaded.network.to(device)
    if precision == "fp16":
        from dcdr_deploy.engines.torch import fused
        from dcdr_deploy.engines.torch.engine import fp16_forward
        from dcdr_deploy.engines.torch.graphs import CudaRecorder, ShapeGraphs

        fused.prepare(device.index or 0)  # compiles the kernel; without one this is where it ends
        graphs = ShapeGraphs(fp16_forward(network), CudaRecorder(), GRAPHS)
        return on_device(graphs, loaded.metadata.peak), loaded.metadata.peak
    torch.backends.cudnn.allow_tf32 = False
    return on_device(network, loaded.metadata.peak), loaded.metadata.peak


def by_runner(runner: Runner) -> Network:
    """Whole pictures through an engine as ``run`` does it: 16-bit codes, tiles where memory asks for them."""

    def network(codes: Tensor) -> Tensor:
        given = torch.round(codes[0] * 65535).permute(1, 2, 0).numpy().astype(np.uint16)
        light = runner.run(given) * np.float32(runner.engine.info.metadata.peak)
        return torch.from_numpy(light).permute(2, 0, 1)[None]

    return network


def on_device(forward: Network, peak: float) -> Network:
    """Whole pictures through torch where they lie; the product is a copy, as a graph writes over its result."""
    return lambda codes: forward(codes.contiguous()) * peak


def working_size(size: Size, edge: int) -> Size:
    """(height, width) with this longer edge, both multiples of 4."""
    height, width = (max(round(each * edge / max(size) / 4) * 4, 4) for each in size)
    return height, width


def mu_law(light: Tensor, peak: float) -> Tensor:
    return torch.log1p(PAPER_MU / peak * light.clamp(0, peak)) / float(np.log1p(PAPER_MU))


@dataclass
class Score:
    """Sums over one picture: squared errors in and outside the clipped region, u'v' distance, and pixel counts."""

    errors: dict[str, list[float]] = field(default_factory=dict)
    counts: tuple[int, int, int] = (0, 0, 0)


def rate(
    case: Case,
    network: Network,
    peak: float,
    device: torch.device,
    working: list[int],
    reduced_only: bool = False,
    every_method: bool = False,
) -> Score:
    """Run one picture through every candidate."""
    sdr = torch.from_numpy(case.sdr).to(device).permute(2, 0, 1)[None]
    # torch does little with unsigned 16 bits: they travel as signed ones.
    stored = torch.from_numpy(case.truth.view(np.int16)).to(device).permute(2, 0, 1)[None]
    truth = (stored.int() & TARGET_MAX).float() * (peak / TARGET_MAX)
    codes = sdr.float() / LDR_MAX
    height, width = codes.shape[-2:]
    depth = F.interpolate(torch.from_numpy(case.depth).to(device)[None, None], (height, width), mode="bilinear")
    view = View(codes, srgb_to_linear(codes), depth)
    clipped = (sdr.amax(1, keepdim=True) >= CLIPPED_CODE).float()
    known = torch.ones_like(clipped)
    if case.known is not None:
        known = torch.from_numpy(np.ascontiguousarray(case.known)).to(device)[None, None].float()
    near = F.max_pool2d(clipped, 2 * SURROUND + 1, 1, SURROUND)
    region, rest, hard = near * known, (1 - near) * known, clipped * known
    native = max(view.size)
    small = {edge: average_down(view.light, working_size(view.size, edge)) for edge in working if edge < native}
    if not reduced_only:
        small[native] = view.light
    results = {edge: network(linear_to_srgb(light)) for edge, light in small.items()}

    aim = mu_law(truth, peak)
    aim_uv = uv_prime(*(truth / peak).clamp_min(DARKEST).unbind(1))
    names, sums = [], []

    def add(name: str, light: Tensor) -> None:
        squared = ((mu_law(light, peak) - aim) ** 2).mean(1, keepdim=True)
        u, v = uv_prime(*(light / peak).clamp_min(DARKEST).unbind(1))
        cast = torch.hypot(u - aim_uv[0], v - aim_uv[1])[:, None]
        parts = (squared * region, squared * rest, cast * hard)
        names.append(name)
        sums.append(torch.stack([part.sum(dtype=torch.float64) for part in parts]))

    add("conversion", view.light)
    for name, light in candidates(view, small, results, every_method):
        add(name, light)
    if (taken := rule_for(view.size)) in names:
        names.append(AUTO)
        sums.append(sums[names.index(taken)])
    values, counts = torch.stack(sums).cpu().tolist(), [int(part.sum()) for part in (region, rest, hard)]
    return Score(dict(zip(names, values, strict=True)), (counts[0], counts[1], counts[2]))


def work(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[Any], Case], list[Any]]]:
    """What is rated: (name, function that makes a case, its arguments)."""
    places = tuple(tuple(paths) for _, paths in sorted(panorama_places(options.panoramas, options.split).items()))
    for size in options.sizes if places else ():
        count = options.views if size < max(SIZES) else min(options.views, options.largest_views)
        yield f"{size} px", partial(view_case, places, size), list(range(count))
    if options.photos:
        yield "photographs", photo_case, photograph_sources(options.photos, options.split, options.views)


def measure(options: argparse.Namespace) -> dict[str, list[Score]]:
    """Rate everything until the time is over; a file is written after each size."""
    started = time.perf_counter()
    device = torch.device(options.device)
    rated: dict[str, list[Score]] = {}
    rows = [row for row in work(options) if row[2]]
    if not rows:
        folders = ", ".join(map(str, [*options.panoramas, *options.photos]))
        raise InputError(f"{folders}: no picture of the split {options.split!r}; name other folders")
    with Workers(options.workers, cv2.setNumThreads, 1) as pool, torch.inference_mode():
        jobs = [(name, [pool.submit(make, item) for item in items]) for name, make, items in rows]
        chosen = Candidate("", options.model, None if options.part == 1 else options.base, options.part)
        network, peak = prepare_network(chosen, device, options.precision)
        for name, futures in jobs:
            scores: list[Score] = []
            for number, future in enumerate(futures):
                case = future.result()
                scores.append(
                    rate(case, network, peak, device, options.working, options.reduced_only, options.every_method)
                )
                futures[number] = None  # frees the case
                late = options.seconds and time.perf_counter() - started > options.seconds
                if late:
                    break
            whole = len(scores) == len(futures)
            if whole or len(scores) >= LEAST_VIEWS:
                rated[name] = scores
                show(table(scores, name), len(scores))
            print(f"{time.perf_counter() - started:.1f} s" + ("" if whole else ", time is over"), flush=True)
            if options.json:  # after each size: a run that is cut off keeps what it has
                kept = {size: [asdict(score) for score in each] for size, each in rated.items()}
                write_text(options.json, json.dumps(kept))
            if late:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    return rated


def read_scores(path: Path) -> dict[str, list[Score]]:
    """What ``--json`` kept.

    Raises:
        InputError: the file is something else.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {name: [Score(each["errors"], tuple(each["counts"])) for each in kept[name]] for name in kept}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is no file of working_scale.py; give what --json has kept") from error


def main() -> int:
    parser = Parser(__doc__)
    parser.add_argument("--model", type=existing_file, help="model; for CUDA a checkpoint [demo]")
    parser.add_argument(
        "--base", type=existing_file, default=DEMO_MODEL.with_suffix(".safetensors"), help="to blend with [demo]"
    )
    parser.add_argument("--part", type=float, default=1.0, help="of --model in the blend [1: the file as it is]")
    parser.add_argument(
        "--panoramas", type=existing_folder, nargs="+", default=PANORAMAS, help="folders of .exr or .hdr"
    )
    parser.add_argument("--photos", type=existing_folder, nargs="+", default=[], help="folders of photographs")
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--sizes", type=several(whole_number), default=",".join(map(str, SIZES)), help="edges of views")
    parser.add_argument("--views", type=whole_number, default=100, help="of a size")
    parser.add_argument("--largest-views", type=whole_number, default=50, help=f"most views at {max(SIZES)} px")
    parser.add_argument(
        "--working",
        type=several(whole_number),
        default=",".join(map(str, WORKING)),
        help="longer working edges, beside the own",
    )
    parser.add_argument("--reduced-only", action="store_true", help="leave the network at every pixel out")
    parser.add_argument("--every-method", action="store_true", help="all ways to enlarge and to combine sizes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "fp16"), default="fp16", help="on CUDA")
    parser.add_argument("--workers", type=whole_number, default=os.cpu_count() or 1, help="processes that render")
    parser.add_argument("--seconds", type=above_zero, help="end after this time")
    parser.add_argument("--json", type=new_file, help="every picture's sums, for other statistics")
    parser.add_argument("--table", type=existing_file, help="print what --json kept, and nothing else")
    options = parser.parse_args()
    options.model = options.model or (DEMO_MODEL if options.device == "cpu" else DEMO_MODEL.with_suffix(".safetensors"))
    if options.table:
        rated = read_scores(options.table)
        for name, scores in rated.items():
            show(table(scores, name), len(scores))
    else:
        print(f"{options.model.name}, {options.device}; split {options.split}")
        rated = measure(options)
    show_targets({name: table(scores, name) for name, scores in rated.items()})
    return 0 if rated else 1


if __name__ == "__main__":
    start(main)
