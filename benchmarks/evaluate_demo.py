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

from dcdr_deploy.imaging.hdr_transfer import pq_encode
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.metrics import pu21
from dcdr_deploy.metrics.chromaticity import uv_difference
from dcdr_deploy.metrics.psnr import PAPER_MU, clipped_region, mu_law, psnr_from_mse

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "dcdr_deploy" / "weights" / "dcdr-unet-demo.onnx"
PLAIN = next(iter(BASELINES))
NETWORK = "network"
REGIONS = ("clipped", "unclipped", "everything")
PEAK_NITS = 1000.0
"""Luminance of full scale, in cd/m2, for PU21 and delta ITP."""
CURVE_BINS = 256

REC709_TO_LMS = (
    np.array([[1688, 2146, 262], [683, 2951, 462], [99, 309, 3688]])
    / 4096
    @ np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
)
"""ITU-R BT.2087-0, 2.2 (Rec. 709 to Rec. 2020), then ITU-R BT.2100-2, table 7."""
LMS_TO_ITP = np.array([[2048, 2048, 0], [6610 / 2, -13613 / 2, 7003 / 2], [17933, -17390, -543]]) / 4096
"""ITU-R BT.2100-2, table 7, with Ct halved to T (ITU-R BT.2124-0)."""

WORSE = 0.3
"""Decibels of clipped pixels by which a picture counts as worse than the plain conversion."""

Figures = dict[str, float]
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def figures_of(
    result: NDArray[np.float32], picture: HeldOutPicture, masks: dict[str, NDArray[np.bool_]], everything: bool
) -> Figures:
    """Squared errors (sum and count a region) and u'v' distance of a result, linear, 1.0 = peak.

    With ``everything`` also the PU21 error and delta ITP of clipped pixels and their surround, at :data:`PEAK_NITS`,
    and the mu-law error that is left when the result may pass one rising curve (:func:`aligned`).
    """
    error = ((mu_law(result) - mu_law(picture.truth)) ** 2).mean(axis=-1)
    values: Figures = {}
    for region in REGIONS:
        chosen = error[masks[region]]
        values[f"{region} sum"], values[f"{region} count"] = float(chosen.sum()), float(chosen.size)
    bright = masks["bright"]
    values["uv"] = float(uv_difference(result, picture.truth)[bright].mean()) if bright.any() else float("nan")
    region = masks["clipped"]
    if everything and region.any():
        nits = [np.clip(each[region], 0, 1) * PEAK_NITS for each in (result, picture.truth)]
        values["pu sum"] = float(((pu21.encode(nits[0]) - pu21.encode(nits[1])) ** 2).mean(axis=-1).sum())
        values["itp"] = float(delta_itp(nits[0], nits[1]).mean())
        fitted = aligned(result, picture.truth, picture.known)
        after = ((mu_law(fitted[region]) - mu_law(picture.truth[region])) ** 2).mean(axis=-1)
        values["aligned sum"] = float(after.sum())
    return values


def aligned(result: NDArray[np.float32], truth: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.floating]:
    """A result after the rising curve that brings it closest to the truth, one for all channels.

    Isotonic regression of the mu-law codes on :data:`CURVE_BINS` bins of equal width: what a wrong tone curve costs
    goes, what is misplaced or has the wrong colour stays.
    """
    code, wanted = mu_law(result), mu_law(truth)
    place = np.minimum((code * CURVE_BINS).astype(int), CURVE_BINS - 1)
    count = np.bincount(place[known].ravel(), minlength=CURVE_BINS).astype(float)
    total = np.bincount(place[known].ravel(), wanted[known].ravel(), minlength=CURVE_BINS)
    where = np.bincount(place[known].ravel(), code[known].ravel(), minlength=CURVE_BINS)
    filled = np.flatnonzero(count)
    curve = isotonic(total[filled] / count[filled], count[filled])
    # Within a bin the curve is a line through the bins' mean codes, so that a right curve is left as it is.
    mapped = np.interp(code, where[filled] / count[filled], curve)
    return np.expm1(mapped * np.log1p(PAPER_MU)) / PAPER_MU


def isotonic(values: NDArray[np.floating], weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """The rising sequence nearest to ``values`` by weighted squares (pool adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        blocks.append((float(value), float(weight), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, wa, na), (b, wb, nb) = blocks[-2:]
            blocks[-2:] = [((a * wa + b * wb) / (wa + wb), wa + wb, na + nb)]
    return np.repeat([block[0] for block in blocks], [block[2] for block in blocks])


def delta_itp(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Colour difference of linear Rec. 709 light in cd/m2, (N, 3) -> (N,): ITU-R BT.2124-0, annex 1."""
    codes = [pq_encode(each @ REC709_TO_LMS.T) @ LMS_TO_ITP.T for each in (a, b)]
    return np.asarray(720 * np.sqrt(((codes[0] - codes[1]) ** 2).sum(axis=-1)))


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


def judged(picture: HeldOutPicture, results: dict[str, NDArray[np.float32]], everything: bool) -> dict[str, Figures]:
    """Figures of each method's result."""
    masks = masks_of(picture)
    return {name: figures_of(result, picture, masks, everything) for name, result in results.items()}


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
    for key in ("pu sum", "aligned sum"):
        if any(key in each for each in after):
            plain, other = (sum(each.get(key, 0) for each in side) for side in (before, after))
            values[key.replace(" sum", " gain")] = 10 * float(np.log10(plain / max(other, 1e-12)))
    if any("itp" in each for each in after):
        itp = [np.mean([each["itp"] for each in side if "itp" in each]) for side in (before, after)]
        values |= {"itp plain": float(itp[0]), "itp": float(itp[1])}
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


def by_engine(model: Path, backend: str, scale: str) -> Predict:
    """What ``run`` does, by an engine, at its working scale or at one given."""
    from dcdr_deploy.engines import load_engine
    from dcdr_deploy.run.restore import restore
    from dcdr_deploy.run.runner import Runner
    from dcdr_deploy.run.working_scale import parse_scale

    runner, parsed = Runner(load_engine(model, backend), tile=None), parse_scale(scale)
    return lambda ldr: restore(ldr, runner, parsed).linear


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
            tasks.append((picture.name, pool.submit(judged, picture, results, everything)))
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


SLOW_COLUMNS = (
    ("pu gain", "{:+.2f}"),
    ("aligned gain", "{:+.2f}"),
    ("itp", "{:.1f}"),
    ("itp plain", "{:.1f}"),
)
"""What --everything adds."""


def table(rows: list[dict[str, object]]) -> str:
    """Markdown of summaries with their kind, size, camera and method."""
    columns = [*COLUMNS, *(each for each in SLOW_COLUMNS if each[0] in rows[0])]
    names = [name for name, _ in columns]
    lines = ["| pictures | size | camera | method | " + " | ".join(names) + " |"]
    lines.append("|---" * (4 + len(names)) + "|")
    for row in rows:
        cells = [form.format(row[name]) for name, form in columns]
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
    parser.add_argument("--scale", default="auto", help="working scale of an engine, as of run")
    parser.add_argument("--everything", action="store_true", help="baselines and slow metrics too")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--json", type=Path, help="file for all figures, of single pictures too")
    options = parser.parse_args()
    models = options.model or [DEMO.with_suffix(".safetensors") if options.device else DEMO]
    predictors = {
        (NETWORK if len(models) == 1 else f"{model.parent.name}/{model.stem}"): (
            by_torch(model, options.device) if options.device else by_engine(model, options.backend, options.scale)
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
