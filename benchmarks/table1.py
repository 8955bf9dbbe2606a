"""The paper's Table 1 again: every network of it, trained with one budget on the same data and judged alike.

    python benchmarks/table1.py                      the whole table, three seeds, on a GPU where there is one
    python benchmarks/table1.py --minutes 50         as much of it as fits into 50 minutes
    python benchmarks/table1.py --minutes 50 --resume    go on where the last call stopped

Networks are trained one after the other, seed by seed, from their own start, by the losses of their own publications
(DCDR-UNet: L1 of hyperbolic tangents and the perceptual loss that --perceptual names). Networks of one seed see the
same patches in the same order: views of the training panoramas and drawn scenes (data/splits). They are judged on
held-out views and scenes, on all of them (as Test Set 1) and on those that the paper's rule calls overexposed (as Test
Set 2), as they are and behind a tone curve that is fitted where nothing clips: a network that errs in the curve alone
is not one that restores nothing. Speed and memory at 1920x1080 are those of `dcdr-deploy benchmark` for the checkpoint
on the same device. Finished runs are kept and not repeated; after each the table so far is written to OUTPUT/table.md.

What the paper's training data and steps are is not at hand; figures compare networks at this budget, not with its own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ablation import PEAK, spread, test_pairs
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from dcdr_deploy.engines.base import EngineOptions
from dcdr_deploy.engines.registry import get_backend
from dcdr_deploy.evaluation.align import CannotAlignError, by_curve
from dcdr_deploy.evaluation.regions import is_overexposed
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.metrics.psnr import clipped_region, psnr_l, psnr_mu
from dcdr_deploy.metrics.ssim import ssim_map
from dcdr_deploy.models import architecture_of, build_network, count_parameters, find_preset
from dcdr_deploy.run.benchmark import Contender, Wishes, benchmark
from dcdr_deploy.scenes.camera import LDR_MAX, TARGET_MAX
from dcdr_deploy.system.files import atomic_path
from dcdr_deploy.training.assembly import predictor, run_training
from dcdr_deploy.training.heldout import HeldOutPair
from dcdr_deploy.training.loop import CHECKPOINT_NAME, LoopOptions, create_state, evaluation_network
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.request import PERCEPTUAL_CHOICES
from dcdr_deploy.training.sources import SyntheticSource

ROOT = Path(__file__).parents[1]
RESULT, SPEED, TABLE = "result.json", "speed.json", "table.md"

BUDGET = ("patch", "batch", "steps", "learning_rate", "scenes", "perceptual", "precision", "crops")
"""Options that make up a budget; runs of different ones are kept apart."""

FIGURES = ("psnr_l", "psnr_mu", "ssim")
HEADS = {"psnr_l": "PSNR-L", "psnr_mu": "PSNR-mu", "ssim": "SSIM"}

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Row:
    """A network of the paper's Table 1.

    Attributes:
        title: as the paper names it.
        paper: PSNR-L, PSNR-mu and SSIM on Test Set 1, then on Test Set 2.
        parameters: as the paper counts them.
    """

    title: str
    paper: tuple[float, ...]
    parameters: str


ROWS: Mapping[str, Row] = {
    "hdrcnn": Row("HDRCNN", (47.69, 48.15, 0.9973, 40.64, 43.40, 0.9930), "27.8M"),
    "singlehdr": Row("SingleHDR", (39.97, 39.57, 0.9937, 34.63, 37.36, 0.9890), "61.0M"),
    "fhdr": Row("FHDR", (46.54, 46.84, 0.9963, 37.96, 40.57, 0.9905), "0.6M"),
    "hdrtvnet": Row("HDRTV", (49.36, 50.77, 0.9975, 39.74, 43.16, 0.9935), "37.2M"),
    "kunet": Row("KUNet", (48.03, 49.43, 0.9975, 38.87, 42.11, 0.9935), "1.1M"),
    "hdrunet": Row("HDRUNET", (50.41, 52.00, 0.9980, 40.78, 44.29, 0.9945), "1.7M"),
    "paper": Row("DCDR-UNet", (52.47, 54.71, 0.9985, 43.25, 47.09, 0.9959), "1.5M"),
}
"""Rows by preset, in the paper's order."""

Figures = dict[str, float]
"""By the name of a figure, of a set (``all``, ``over``) before it and ``curve`` behind it where a curve was fitted."""


def macs_per_pixel(preset: str) -> float:
    """Multiplications of one forward pass for each pixel of the picture; offsets count, sampling does not."""
    with torch.device("meta"):
        network = build_network(find_preset(preset)).eval()
    network.set_deform_mode("gather")
    picture = torch.empty(1, 3, 256, 256, device="meta")
    with FlopCounterMode(display=False) as counter:
        network(picture)
    return float(counter.get_total_flops()) / 2 / (256 * 256)


def judged(predict: Predict, pairs: list[HeldOutPair]) -> Figures:
    """Mean figures over the held-out pictures, and over the overexposed ones among them."""
    rows: list[Figures] = []
    for pair in pairs:
        sdr = pair.ldr.astype(np.float32) / LDR_MAX
        truth = (pair.target / TARGET_MAX).astype(np.float32)
        found = predict(sdr)
        try:
            curved = by_curve(found, truth, ~clipped_region(pair.ldr))
        except CannotAlignError:  # next to nothing is unclipped
            curved = found
        rows.append({**_figures(found, truth), **{f"{k}_curve": v for k, v in _figures(curved, truth).items()}})
    over = [row for row, pair in zip(rows, pairs, strict=True) if is_overexposed(pair.ldr)]
    sets = {"all": rows, "over": over}
    return {f"{name}_{key}": _mean(chosen, key) for name, chosen in sets.items() for key in rows[0]}


def _mean(rows: list[Figures], key: str) -> float:
    return round(float(np.mean([row[key] for row in rows])), 4) if rows else float("nan")


def _figures(found: NDArray[np.float32], truth: NDArray[np.float32]) -> Figures:
    picture = np.clip(found, 0, 1)
    ssim = float(np.nanmean(ssim_map(picture, truth, 1.0)))
    return {"psnr_l": psnr_l(picture, truth), "psnr_mu": psnr_mu(picture, truth), "ssim": ssim}


def trivial(sdr: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse sRGB / peak: what no network has to be asked for."""
    return (srgb_to_linear(sdr) / PEAK).astype(np.float32)


def recipe_of(preset: str, seed: int, options: argparse.Namespace) -> Recipe:
    """The common budget, with the network's own losses."""
    own = dict(architecture_of(find_preset(preset)).losses)
    return Recipe(
        preset=preset,
        steps=options.steps,
        batch=options.batch,
        patch=options.patch,
        learning_rate=options.learning_rate,
        tail_start=0.5,
        losses=own or {"tanh_l1": 1.0, **PERCEPTUAL_CHOICES[options.perceptual]},
        average=0.998,
        gradient_clip=1.0,
        precision=options.precision,
        seed=seed,
    )


def run(preset: str, seed: int, folder: Path, options: argparse.Namespace, minutes: float | None) -> Figures | None:
    """Train and judge, or go on, or take what an earlier call found; ``None`` where the minutes did not suffice."""
    result = folder / RESULT
    if result.is_file():
        return dict(json.loads(result.read_text()))
    recipe, device = recipe_of(preset, seed, options), torch.device(options.device)
    state = create_state(recipe, PEAK, device)
    if (folder / CHECKPOINT_NAME).exists():
        state.restore(folder / CHECKPOINT_NAME, device)
    data = SyntheticSource([ROOT / "data" / "hdri"], scenes=options.scenes).training_set(recipe)
    files = {"perceptual": options.vgg19_weights} if options.vgg19_weights else {}
    loop = LoopOptions(device=options.device, workers=options.workers, minutes=minutes)
    if not run_training(state, data, folder, loop, files):
        return None
    with evaluation_network(state) as network:
        figures = judged(predictor(network), test_pairs(options.crops))
    figures |= {"parameters": count_parameters(state.network), "seconds": round(state.seconds, 1)}
    _write(result, json.dumps(figures))
    return figures


def speed(preset: str, folder: Path, options: argparse.Namespace) -> dict[str, float | str]:
    """Milliseconds and bytes of a 1920x1080 frame with the checkpoint of a finished run, measured once a device."""
    place = folder / SPEED
    if place.is_file():
        return dict(json.loads(place.read_text()))
    wishes = Wishes((options.frame,), options.frame_seconds, EngineOptions(device=options.device))
    (entry,) = benchmark([Contender(get_backend("torch"), folder / CHECKPOINT_NAME)], wishes)
    (timing,) = entry.timings or [None]
    found: dict[str, float | str] = {"device": entry.device, "note": entry.note}
    if timing is not None and timing.seconds:
        found |= {"milliseconds": round(timing.median * 1000, 1), "tiles": timing.tiles}
    elif timing is not None:
        found["note"] = timing.note
    if entry.memory is not None:
        found["memory"] = entry.memory
    _write(place, json.dumps(found))
    return found


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


SETS = {"all": "all held-out crops (the paper: Test Set 1)", "over": "overexposed crops (the paper: Test Set 2)"}


def tables(
    found: Mapping[str, Mapping[int, Figures]], speeds: Mapping[str, Mapping[str, float | str]], baseline: Figures
) -> str:
    """Markdown: ours beside the paper's for both sets, then what each network costs."""
    parts = [_quality(name, found, baseline) for name in SETS]
    return "\n\n".join([*parts, _costs(found, speeds)])


def _quality(name: str, found: Mapping[str, Mapping[int, Figures]], baseline: Figures) -> str:
    """One set's figures, mean and standard deviation over seeds, with the paper's in the last columns."""
    shown = [f"{name}_{figure}{curve}" for curve in ("", "_curve") for figure in FIGURES]
    titles = [HEADS[figure] + curve for curve in ("", ", curve") for figure in FIGURES]
    head = [SETS[name], "seeds", *titles, *(f"paper {HEADS[figure]}" for figure in FIGURES)]
    trivial_cells = [f"{baseline[key]:.{_digits(key)}f}" for key in shown]
    rows = [head, ["---"] * len(head), ["inverse sRGB", "", *trivial_cells, "", "", ""]]
    for preset, runs in found.items():
        ours = [_spread([run[key] for run in runs.values()], _digits(key)) for key in shown]
        half = len(FIGURES)
        paper = ROWS[preset].paper[:half] if name == "all" else ROWS[preset].paper[half:]
        theirs = [f"{value:.{_digits(figure)}f}" for value, figure in zip(paper, FIGURES, strict=True)]
        rows.append([ROWS[preset].title, str(len(runs)), *ours, *theirs])
    return _markdown(rows)


def _costs(found: Mapping[str, Mapping[int, Figures]], speeds: Mapping[str, Mapping[str, float | str]]) -> str:
    head = ["network", "parameters", "paper's count", "MAC a pixel", "s of training", "ms a frame", "GiB", "note"]
    rows = [head, ["---"] * len(head)]
    for preset, runs in found.items():
        measured = speeds.get(preset, {})
        memory = measured.get("memory")
        cells = [ROWS[preset].title, f"{next(iter(runs.values()))['parameters']:,.0f}", ROWS[preset].parameters]
        cells += [f"{macs_per_pixel(preset):,.0f}", spread([run["seconds"] for run in runs.values()])]
        cells += [str(measured.get("milliseconds", "")), "" if memory is None else f"{float(memory) / 2**30:.2f}"]
        rows.append([*cells, str(measured.get("note", ""))])
    return _markdown(rows)


def _markdown(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _digits(key: str) -> int:
    return 4 if "ssim" in key else 2


def _spread(values: list[float], digits: int) -> str:
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(ROWS), help="presets with commas between them")
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--scenes", type=int, default=3000)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--crops", type=int, default=96, help="held-out crops to judge by")
    parser.add_argument("--perceptual", choices=PERCEPTUAL_CHOICES, default="squeezenet")
    parser.add_argument("--vgg19-weights", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="stop after so many; --resume goes on")
    parser.add_argument("--resume", action="store_true", help="go on with the runs in the output folder")
    parser.add_argument("--frame", default="1080x1920", metavar="HxW", help="size of the frames that are timed")
    parser.add_argument("--frame-seconds", type=float, default=10.0, help="time for timing each network; 0: not timed")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "table1")
    options = parser.parse_args(arguments)
    unknown = set(options.networks.split(",")) - ROWS.keys()
    if unknown:
        parser.error(f"unknown networks {sorted(unknown)}; known: {', '.join(ROWS)}")
    try:
        height, width = map(int, options.frame.split("x"))
    except ValueError:
        parser.error(f"--frame {options.frame}: give height and width, as 1080x1920")
    options.frame = (height, width)
    options.folder = options.output / "-".join(str(getattr(options, name)) for name in BUDGET)
    if options.folder.exists() and not options.resume:
        parser.error(f"{options.folder} holds runs of this budget: go on with --resume, or name another --output")
    return options


def jobs(options: argparse.Namespace) -> Iterator[tuple[int, str, Path]]:
    """Seed by seed, so that an interrupted table has whole rounds."""
    for seed in map(int, options.seeds.split(",")):
        for preset in options.networks.split(","):
            yield seed, preset, options.folder / f"{preset}-{seed}"


def report(found: Mapping[str, Mapping[int, Figures]], options: argparse.Namespace, baseline: Figures) -> str:
    """The table so far, with its budget."""
    speeds = {}
    for preset, runs in found.items():
        place = options.folder / f"{preset}-{min(runs)}"
        speeds[preset] = speed(preset, place, options) if options.frame_seconds > 0 else {}
    budget = ", ".join(f"{name.replace('_', ' ')} {getattr(options, name)}" for name in BUDGET)
    devices = sorted({str(each["device"]) for each in speeds.values() if each.get("device")}) or [options.device]
    height, width = options.frame
    words = [
        f"Budget of every run: {budget}; on {', '.join(devices)}.",
        "PSNR in dB, mean ± standard deviation over seeds; 'curve': behind a tone curve fitted where nothing clips;",
        f"ms and GiB of a {width}x{height} frame with torch.",
    ]
    return "\n".join([*words, "", tables(found, speeds, baseline), ""])


def main() -> None:
    options = parse()
    end = None if options.minutes is None else time.monotonic() + options.minutes * 60
    baseline = judged(trivial, test_pairs(options.crops))
    found: dict[str, dict[int, Figures]] = {}
    for seed, preset, folder in jobs(options):
        left = None if end is None else (end - time.monotonic()) / 60
        if left is not None and left <= 0 and not (folder / RESULT).is_file():
            break
        figures = run(preset, seed, folder, options, left)
        if figures is None:
            break
        found.setdefault(preset, {})[seed] = figures
        print(f"seed {seed} {preset}: {json.dumps(figures)}", flush=True)
        _write(options.folder / TABLE, report(found, options, baseline))
    if found:
        print((options.folder / TABLE).read_text(encoding="utf-8"))
    done = sum(map(len, found.values()))
    wanted = len(list(jobs(options)))
    if done < wanted:
        print(f"{done} of {wanted} runs are finished; go on with --resume")


if __name__ == "__main__":
    main()
