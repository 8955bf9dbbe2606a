"""At which size should the network work, and how does its result get to full size? Measured on held-out views.

    python benchmarks/working_scale.py [--panoramas FOLDER ...] [--sizes 256,768] [--views 100] [--photos FOLDER]
                                       [--device cuda] [--precision fp16] [--json FILE]

The same views (panorama, direction, field of view, exposure, white balance) are rendered at every size and go through
the training camera. The network runs at every working size up to the view's own; scale_methods.py holds the ways back
to full size. Figures are gains in PSNR-mu (mu = 10) over inverse sRGB: clipped pixels with their 8 px surround pooled
over all views, unclipped ones likewise; the median, tenth percentile and worst of views; and the mean u'v' distance of
clipped pixels from the truth. ``--photos`` adds real photographs as scenes, exposed up until they clip.

``--device cuda`` wants torch with CUDA and rates FP32, or FP16 through the fused blocks.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scale_methods import Size, View, average_down, candidates, linear_to_srgb, srgb_to_linear
from torch import Tensor
from torch.nn import functional as F

from dcdr_deploy.imaging.transfer import srgb_to_linear as decode
from dcdr_deploy.metrics.chromaticity import DARKEST, uv_prime
from dcdr_deploy.metrics.psnr import CLIPPED_CODE, PAPER_MU, psnr_from_mse
from dcdr_deploy.models.checkpoint import load_checkpoint
from dcdr_deploy.scenes.camera import LDR_MAX, TARGET_MAX, CameraModel, simulate
from dcdr_deploy.scenes.panorama import FOV_DEGREES, PITCH_DEGREES, YAW_DEGREES, perspective

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "dcdr_deploy" / "weights" / "dcdr-unet-demo.safetensors"
PANORAMAS = (ROOT / "data" / "hdri" / "validation",)
SIZES = (256, 512, 768, 1024, 1536, 2048)
WORKING = (128, 192, 256, 384, 512, 768)
"""Longer working edges tried, beside each view's own."""
SEED = 20261126
SURROUND = 8
DEPTH_EDGE = 512
"""Distances inside clipped areas are measured on a picture of at most this edge."""

Pixels = NDArray[np.uint8]
_panoramas: list[NDArray[np.float32]] = []  # workers inherit them by forking: a copy with every task would take longer


@dataclass(frozen=True)
class Case:
    """One picture and its truth: SDR (H, W, 3) uint8, light (H, W, 3) uint16, and the depth map of its clipping."""

    sdr: Pixels
    truth: NDArray[np.uint16]
    depth: NDArray[np.float32]


def read_radiance(path: Path) -> NDArray[np.float32]:
    """A panorama from Radiance or OpenEXR, (H, W, 3)."""
    if path.suffix == ".hdr":
        return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1], np.float32)
    from dcdr_deploy.scenes.panorama import load_panorama

    return load_panorama(path)


def depth_of(sdr: Pixels) -> NDArray[np.float32]:
    """Distance to the nearest pixel that is not clipped, in parts of the longer edge."""
    height, width = sdr.shape[:2]
    factor = min(1.0, DEPTH_EDGE / max(height, width))
    clipped = (sdr.max(axis=-1) >= CLIPPED_CODE).astype(np.float32)
    small = cv2.resize(clipped, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
    distance = cv2.distanceTransform((small > 0.5).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance / max(small.shape), np.float32)


def view_case(size: int, number: int) -> Case:
    """View ``number`` at a size: the draws do not depend on it, save for the noise of single pixels."""
    rng = np.random.default_rng((SEED, number))
    panorama = _panoramas[number % len(_panoramas)]
    yaw, pitch, fov = (float(rng.uniform(*bounds)) for bounds in (YAW_DEGREES, PITCH_DEGREES, FOV_DEGREES))
    camera = CameraModel(noise_probability=float(rng.random() < 0.5), jpeg_probability=float(rng.random() < 0.5))
    sdr, truth = simulate(perspective(panorama, yaw, pitch, fov, size), camera, rng)
    return Case(sdr, truth, depth_of(sdr))


def photo_case(path: Path) -> Case:
    """A photograph as a scene: its own light, exposed up by the training camera until a share of it clips."""
    rng = np.random.default_rng((SEED, *path.name.encode()))
    pixels = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    height, width = (edge // 4 * 4 for edge in pixels.shape[:2])
    light = decode(pixels[:height, :width].astype(np.float32) / np.float32(LDR_MAX))
    sdr, truth = simulate(light, CameraModel(white_balance_sigma=0.0), rng)
    return Case(sdr, truth, depth_of(sdr))


def prepare_network(path: Path, device: torch.device, precision: str) -> tuple[Callable[[Tensor], Tensor], float]:
    """A function (1, 3, h, w) codes in [0, 1] -> light in units of SDR white, and the peak."""
    loaded = load_checkpoint(path)
    peak = loaded.metadata.peak
    network = loaded.network.to(device).set_deform_mode("gather")
    if device.type == "cpu":
        network = network.to(memory_format=torch.channels_last)  # the gather form is faster so
    if precision == "fp16":
        from dcdr_deploy.engines.torch import fused
        from dcdr_deploy.engines.torch.engine import fp16_forward

        fused.prepare(device.index or 0)  # compiles the kernel; without one this is where it ends
        forward = fp16_forward(network)
    else:
        torch.backends.cudnn.allow_tf32 = True
        forward = network
    return lambda codes: forward(codes) * peak, peak


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
    case: Case, network: Callable[[Tensor], Tensor], peak: float, device: torch.device, options: argparse.Namespace
) -> Score:
    """Run one picture through every candidate."""
    sdr = torch.from_numpy(case.sdr).to(device).permute(2, 0, 1)[None]
    truth = torch.from_numpy(case.truth.astype(np.int32)).to(device).permute(2, 0, 1)[None] * (peak / TARGET_MAX)
    codes = sdr.float() / LDR_MAX
    height, width = codes.shape[-2:]
    depth = F.interpolate(torch.from_numpy(case.depth).to(device)[None, None], (height, width), mode="bilinear")
    view = View(codes, srgb_to_linear(codes), depth)
    hard = sdr.amax(1, keepdim=True) >= CLIPPED_CODE
    region = F.max_pool2d(hard.float(), 2 * SURROUND + 1, 1, SURROUND)
    native = max(view.size)
    small = {edge: average_down(view.light, working_size(view.size, edge)) for edge in options.working if edge < native}
    if not options.reduced_only:
        small[native] = view.light
    results = {edge: network(linear_to_srgb(light)) for edge, light in small.items()}

    aim = mu_law(truth, peak)
    aim_uv = uv_prime(*(truth / peak).clamp_min(DARKEST).unbind(1))
    names, sums = [], []

    def add(name: str, light: Tensor) -> None:
        squared = ((mu_law(light, peak) - aim) ** 2).mean(1, keepdim=True)
        u, v = uv_prime(*(light / peak).clamp_min(DARKEST).unbind(1))
        cast = torch.hypot(u - aim_uv[0], v - aim_uv[1])[:, None]
        parts = (squared * region, squared * (1 - region), cast * hard)
        names.append(name)
        sums.append(torch.stack([part.sum(dtype=torch.float64) for part in parts]))

    add("conversion", view.light)
    for name, light in candidates(view, small, results, options.every_method):
        add(name, light)
    inside = int(region.sum())
    values = torch.stack(sums).cpu().tolist()
    return Score(dict(zip(names, values, strict=True)), (inside, height * width - inside, int(hard.sum())))


def table(scores: list[Score], size: str) -> list[dict[str, Any]]:
    """One row a candidate that every picture has, native first."""
    names = [name for name in scores[0].errors if all(name in score.errors for score in scores)]
    sums = np.array([[score.errors[name] for name in names] for score in scores])  # pictures, candidates, parts
    counts = np.array([score.counts for score in scores], np.float64)
    whole = (sums[..., 0] + sums[..., 1]) / counts[:, :2].sum(1, keepdims=True)
    gains = 10 * np.log10(whole[:, :1] / whole)
    pooled = [
        [psnr_from_mse(float(value)) for value in sums[..., part].sum(0) / max(counts[:, part].sum(), 1)]
        for part in (0, 1)
    ]
    casts = sums[..., 2].sum(0) / max(counts[:, 2].sum(), 1)
    return [
        {
            "size": size,
            "name": name,
            "clipped": pooled[0][index] - pooled[0][0],
            "unclipped": pooled[1][index] - pooled[1][0],
            "median": float(np.median(gains[:, index])),
            "tenth": float(np.percentile(gains[:, index], 10)),
            "worst": float(gains[:, index].min()),
            "uv": float(casts[index]),
        }
        for index, name in enumerate(names)
    ]


def show(rows: list[dict[str, Any]], count: int) -> None:
    print(f"\n{rows[0]['size']}: {count} pictures\n| candidate | clipped | unclipped | median | tenth | worst | u'v' |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        figures = " | ".join(f"{row[key]:+.2f}" for key in ("clipped", "unclipped", "median", "tenth", "worst"))
        print(f"| {row['name']} | {figures} | {row['uv']:.4f} |", flush=True)


def work(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[Any], Case], list[Any]]]:
    """What is rated: (name, function that makes a case, its arguments)."""
    for size in options.sizes:
        count = options.views if size < max(SIZES) else min(options.views, options.largest_views)
        yield f"{size} px", partial(view_case, size), list(range(count))
    if options.photos:
        paths = sorted(path for path in options.photos.rglob("*") if path.suffix in (".jpg", ".png"))
        yield "photographs", photo_case, paths[: options.views]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEMO, help="checkpoint")
    parser.add_argument("--panoramas", type=Path, nargs="+", default=PANORAMAS, help="folders of .exr or .hdr")
    parser.add_argument("--photos", type=Path, help="folder of photographs")
    parser.add_argument("--sizes", type=lambda text: [int(each) for each in text.split(",")], default=list(SIZES))
    parser.add_argument("--views", type=int, default=100)
    parser.add_argument("--largest-views", type=int, default=50, help=f"most views at {max(SIZES)} px")
    numbers = lambda text: [int(each) for each in text.split(",")]  # noqa: E731
    parser.add_argument("--working", type=numbers, default=list(WORKING), help="longer working edges, beside the own")
    parser.add_argument("--reduced-only", action="store_true", help="leave the network at every pixel out")
    parser.add_argument("--every-method", action="store_true", help="all ways to enlarge, at every working size")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "fp16"), default="fp32")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="every picture's sums, for other statistics")
    options = parser.parse_args()
    started = time.perf_counter()
    device = torch.device(options.device)
    paths = sorted(
        path for folder in options.panoramas for path in folder.rglob("*") if path.suffix in (".exr", ".hdr")
    )
    _panoramas.extend(read_radiance(path) for path in paths)
    print(f"{options.model.name}, {options.device} {options.precision}; panoramas: {', '.join(p.stem for p in paths)}")
    kept: dict[str, list[Any]] = {}
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(options.workers, context, cv2.setNumThreads, (1,)) as pool, torch.inference_mode():
        # Workers start before CUDA does: a forked process must not have touched it.
        jobs = [(name, [pool.submit(make, item) for item in items]) for name, make, items in work(options)]
        network, peak = prepare_network(options.model, device, options.precision)
        for name, futures in jobs:
            scores = []
            for number, future in enumerate(futures):
                scores.append(rate(future.result(), network, peak, device, options))
                futures[number] = None  # frees the case
            show(table(scores, name), len(scores))
            kept[name] = [{"errors": score.errors, "counts": score.counts} for score in scores]
            print(f"{time.perf_counter() - started:.1f} s", flush=True)
            if options.json:  # after each size: a run that is cut off keeps what it has
                options.json.write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
