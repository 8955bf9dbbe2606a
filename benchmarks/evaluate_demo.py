"""How good the demo weights are on pictures that training never saw: photographs and panoramas, apart.

    python benchmarks/evaluate_demo.py --photos photos/ --panoramas data/hdri --panoramas hdri2/ [--split validation]
    python benchmarks/evaluate_demo.py ... --model runs/demo/last.pth --device cuda --sizes 256 768     by torch, quick
    python benchmarks/evaluate_demo.py ... --cameras "plain,JPEG 75,gray,other curve,noise" --everything

Photographs are linearised and exposed up by 0.75 to 2.25 stops, so that they clip and the truth is known; panoramas are
seen in square views with 1 to 35 % of their pixels clipped. Both pass the sRGB curve and 8 bits, nothing else, unless
other cameras are named. Errors are those of PSNR-mu (mu = 10) over clipped pixels with their 8 px surround, over the
others, and over everything; colours of clipped pixels are judged by their distance in CIE 1976 u'v' chromaticity. What
the photograph itself clipped counts nowhere. --everything adds PU21-PSNR and delta ITP at 1,000 cd/m2, figures after
one fitted tone curve a picture, and the baselines of baselines.py.

The split "test" is for the end: a choice that has seen its figures has spent it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from baselines import BASELINES
from held_out import CAMERAS, KINDS, PEAK, HeldOutPicture
from numpy.typing import NDArray

from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.metrics.chromaticity import uv_difference
from dcdr_deploy.metrics.psnr import clipped_region, mu_law, psnr_from_mse

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "dcdr_deploy" / "weights" / "dcdr-unet-demo.onnx"
PLAIN = next(iter(BASELINES))
NETWORK = "network"
REGIONS = ("clipped", "unclipped", "everything")
WORSE = 0.3
"""Decibels of clipped pixels by which a picture counts as worse than the plain conversion."""

Figures = dict[str, float]
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def figures_of(result: NDArray[np.float32], picture: HeldOutPicture, masks: dict[str, NDArray[np.bool_]]) -> Figures:
    """Squared errors (sum and count a region) and u'v' distance of a result, linear, 1.0 = peak."""
    error = ((mu_law(result) - mu_law(picture.truth)) ** 2).mean(axis=-1)
    values: Figures = {}
    for region in REGIONS:
        chosen = error[masks[region]]
        values[f"{region} sum"], values[f"{region} count"] = float(chosen.sum()), float(chosen.size)
    bright = masks["bright"]
    values["uv"] = float(uv_difference(result, picture.truth)[bright].mean()) if bright.any() else float("nan")
    return values


def masks_of(picture: HeldOutPicture) -> dict[str, NDArray[np.bool_]]:
    """Regions of a picture, without what nobody knows; ``bright`` are the clipped pixels without surround."""
    region, known = clipped_region(picture.ldr), picture.known
    bright = clipped_region(picture.ldr, surround=0)
    return {
        "clipped": region & known,
        "unclipped": ~region & known,
        "everything": known,
        "bright": bright & known,
    }


def judged(picture: HeldOutPicture, results: dict[str, NDArray[np.float32]]) -> dict[str, Figures]:
    """Figures of each method's result."""
    masks = masks_of(picture)
    return {name: figures_of(result, picture, masks) for name, result in results.items()}


def gain(before: Figures, after: Figures, region: str) -> float:
    """Decibels that a picture gains in a region; NaN where it has no such pixels."""
    if not before[f"{region} count"]:
        return float("nan")
    a, b = (max(each[f"{region} sum"] / each[f"{region} count"], 1e-12) for each in (before, after))
    return psnr_from_mse(b) - psnr_from_mse(a)


def summary(pictures: dict[str, dict[str, Figures]], method: str) -> dict[str, float]:
    """Figures of a method over many pictures, against the plain conversion.

    Pooled gains weigh every pixel alike; the others are of the pictures' gains on clipped pixels.
    """
    before = [each[PLAIN] for each in pictures.values()]
    after = [each[method] for each in pictures.values()]
    values: dict[str, float] = {"pictures": len(pictures)}
    for region in REGIONS:
        pooled = [
            psnr_from_mse(sum(each[f"{region} sum"] for each in side) / sum(each[f"{region} count"] for each in side))
            for side in (before, after)
        ]
        values[f"{region}"], values[f"{region} gain"] = pooled[1], pooled[1] - pooled[0]
    gains = np.array([gain(a, b, "clipped") for a, b in zip(before, after, strict=True)])
    gains = gains[np.isfinite(gains)]
    quartiles = np.percentile(gains, [25, 50, 75])
    values |= dict(zip(("lower quartile", "median", "upper quartile"), map(float, quartiles), strict=True))
    values |= {"worst": float(gains.min()), "worse": float((gains < -WORSE).mean())}
    values["lose over 1 dB"] = float((gains < -1).mean())
    uv = np.array([[a["uv"], b["uv"]] for a, b in zip(before, after, strict=True)])
    uv = uv[np.isfinite(uv).all(axis=-1)].mean(axis=0)
    values |= {"uv plain": float(uv[0]), "uv": float(uv[1])}
    return values


def by_torch(model: Path, device: str) -> Predict:
    """Whole pictures through torch, in FP32; their edges are repeated up to a multiple of 4."""
    import torch

    from dcdr_deploy.models import load_checkpoint

    network = load_checkpoint(model).network.eval().to(device)
    network.set_deform_mode("gather" if device == "cpu" else "torchvision")

    def predict(ldr: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = ldr.shape[:2]
        padded = np.pad(ldr, ((0, -height % 4), (0, -width % 4), (0, 0)), mode="edge")
        x = torch.from_numpy(padded.transpose(2, 0, 1)[None].copy()).to(device).float() / 255
        with torch.no_grad():
            result = network(x)[0].cpu().numpy()
        return np.ascontiguousarray(result.transpose(1, 2, 0)[:height, :width])

    return predict


def by_engine(model: Path, backend: str) -> Predict:
    """What ``run`` does, by an engine."""
    from dcdr_deploy.engines import load_engine
    from dcdr_deploy.run.runner import Runner

    runner = Runner(load_engine(model, backend), tile=None)
    return runner.run


def evaluate(
    pictures: Iterable[HeldOutPicture], predictors: dict[str, Predict], everything: bool, threads: int
) -> dict[str, dict[str, Figures]]:
    """Figures of every picture by method; networks take turns, the rest is done beside them."""
    tasks = []
    with ThreadPoolExecutor(threads) as pool:
        for picture in pictures:
            linear = srgb_to_linear(picture.ldr.astype(np.float32) / np.float32(255))
            names = BASELINES if everything else [PLAIN]
            results = {name: BASELINES[name](linear, PEAK) / np.float32(PEAK) for name in names}
            results |= {name: predict(picture.ldr) for name, predict in predictors.items()}
            tasks.append((picture.name, pool.submit(judged, picture, results)))
    return {name: task.result() for name, task in tasks}


COLUMNS = (
    ("clipped gain", "{:+.2f}"),
    ("lower quartile", "{:+.2f}"),
    ("median", "{:+.2f}"),
    ("upper quartile", "{:+.2f}"),
    ("worst", "{:+.1f}"),
    ("worse", "{:.0%}"),
    ("lose over 1 dB", "{:.0%}"),
    ("unclipped gain", "{:+.2f}"),
    ("everything gain", "{:+.2f}"),
    ("uv", "{:.4f}"),
    ("uv plain", "{:.4f}"),
)


def table(rows: list[dict[str, object]]) -> str:
    """Markdown of summaries with their kind, size, camera and method."""
    names = [name for name, _ in COLUMNS]
    lines = ["| pictures | size | camera | method | " + " | ".join(names) + " |"]
    lines.append("|---" * (4 + len(names)) + "|")
    for row in rows:
        cells = [form.format(row[name]) for name, form in COLUMNS]
        head = f"{row['pictures']} {row['kind']}s", row["size"], row["camera"], row["method"]
        lines.append("| " + " | ".join(map(str, [*head, *cells])) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", help="model or checkpoint; may be repeated [demo]")
    parser.add_argument("--photos", type=Path, action="append", default=[])
    parser.add_argument("--panoramas", type=Path, action="append", default=[])
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 768])
    parser.add_argument("--cameras", default="plain", help=f"comma-separated: {', '.join(CAMERAS)}")
    parser.add_argument("--most", type=int, help="pictures of a kind at most, evenly spread")
    parser.add_argument("--device", help="cpu or cuda: whole pictures by torch instead of an engine")
    parser.add_argument("--backend", default="auto", help="engine")
    parser.add_argument("--everything", action="store_true", help="baselines and slow metrics too")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--json", type=Path, help="file for all figures, of single pictures too")
    options = parser.parse_args()
    models = options.model or [DEMO]
    predictors = {
        (NETWORK if len(models) == 1 else f"{model.parent.name}/{model.stem}"): (
            by_torch(model, options.device) if options.device else by_engine(model, options.backend)
        )
        for model in models
    }
    folders = {"photograph": options.photos, "panorama": options.panoramas}
    rows: list[dict[str, object]] = []
    single: dict[str, object] = {}
    for kind, size in ((kind, size) for kind in KINDS if folders[kind] for size in options.sizes):
        for camera in options.cameras.split(","):
            pictures = KINDS[kind](folders[kind], options.split, size, camera, options.most)
            figures = evaluate(pictures, predictors, options.everything, options.threads)
            if not figures:
                parser.error(f"no {kind}s of the split {options.split!r} in {', '.join(map(str, folders[kind]))}")
            methods = next(iter(figures.values())).keys() - {PLAIN}
            new = [
                {"kind": kind, "size": size, "camera": camera, "method": method, **summary(figures, method)}
                for method in sorted(methods)
            ]
            rows += new
            single[f"{kind} {size} {camera}"] = figures
            print(table(new), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "pictures": single}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
