"""The gate of the demo weights: gain over inverse sRGB / peak on scenes that training never saw.

    python benchmarks/evaluate_demo.py [--model MODEL] [--views 48] [--scenes 48] [--json]

Views of the test panoramas and procedural scenes of the test seeds go through the training camera (sRGB curve, 1 to
35 % of the pixels clipped). Errors are pooled in PSNR-mu (mu = 10) over clipped pixels with their 8 px surround and
over everything; colours of clipped pixels are judged by their distance in CIE 1976 u'v' chromaticity, a mean of each
crop. Exit status 1 when a bound of the gate is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from dcdr_deploy.engines import load_engine
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.scenes.camera import CameraModel
from dcdr_deploy.scenes.panorama import PanoramaSet
from dcdr_deploy.scenes.procedural import TEST_SEEDS
from dcdr_deploy.training.heldout import HeldOutPair, HeldOutReport, held_out_pairs, judge

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "dcdr_deploy" / "weights" / "dcdr-unet-demo.onnx"
SIZE = 192
SEED = 2024
VIEWS = SCENES = 48

GATE = {
    "clipped_gain": 4.0,
    "everything_gain": 3.0,
    "median_crop_gain": 1.5,
    "worst_crop_gain": -3.0,
    "uv_gain": 0.0,
    "uv_worst_crop_gain": -0.004,
}
"""Least gains: in dB, pooled and of single crops, and of u'v' distance over clipped pixels. The conversion is nearly
exact where little clips, so a network that cannot leave such a crop alone loses by it; its colours are off by what a
clipped channel lacks, and no crop's may be off by a just visible difference more."""


def gate_pairs(views: int = VIEWS, scenes: int = SCENES) -> list[HeldOutPair]:
    """The crops: views of the test panoramas, then procedural scenes of the test seeds."""
    panoramas = PanoramaSet(ROOT / "data" / "hdri" / "test")
    seeds = range(TEST_SEEDS.start, TEST_SEEDS.start + scenes)
    return held_out_pairs(panoramas, views, seeds, CameraModel(), SIZE, SEED)


def evaluate(model: Path, backend: str, views: int, scenes: int) -> HeldOutReport:
    pairs = gate_pairs(views, scenes)
    with load_engine(model, backend) as engine:
        runner = Runner(engine, tile=None)

        def predict(ldr: np.ndarray) -> np.ndarray:
            return runner.run(np.rint(ldr * 255).astype(np.uint8))

        return judge(pairs, predict, engine.info.metadata.peak)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEMO)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--views", type=int, default=VIEWS)
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = evaluate(options.model, options.backend, options.views, options.scenes)
    summary = report.summary()
    missed = [name for name, least in GATE.items() if not summary[name] >= least]
    if options.json:
        print(json.dumps({**summary, "crops": len(report.crop_gains), "missed": missed}))
        return 1 if missed else 0
    print(f"{options.model.name}: {len(report.crop_gains)} crops of {SIZE} px, PSNR-mu (mu = 10) in dB")
    print("| pixels | inverse sRGB / peak | network | gain |\n|---|---|---|---|")
    for kind in ("clipped", "unclipped", "everything"):
        figures = getattr(report, kind)
        print(f"| {kind} | {figures.baseline:.2f} | {figures.network:.2f} | {figures.gain:+.2f} |")
    gains = np.array(list(report.crop_gains.values()))
    quartiles = np.percentile(gains, [25, 50, 75])
    print(f"gain per crop: quartiles {', '.join(f'{q:+.2f}' for q in quartiles)}, worst {gains.min():+.2f}", end=", ")
    print(f"{(gains < 0).sum()} of {len(gains)} crops worse than the baseline")
    colour = report.colour
    print(f"u'v' distance of clipped pixels: conversion {colour.baseline:.4f}, network {colour.network:.4f}", end=", ")
    print(f"worst crop {-summary['uv_worst_crop_gain']:+.4f} against the conversion")
    print("gate: " + ("passed" if not missed else "MISSED " + ", ".join(missed)))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
