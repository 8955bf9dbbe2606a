"""Whether data loading starves training: steps per second with real and with cached data, side by side.

    python benchmarks/training.py                                           # the demo recipe, on a GPU if there is one
    python benchmarks/training.py --at 0.7                                  # its later part, with other patches
    python benchmarks/training.py --recipe paper --batch 16 --patch 256     # what a data-centre GPU would be given
    torchrun --nproc-per-node 2 benchmarks/training.py --device cpu         # shares of each batch; the first one prints
    python benchmarks/training.py --ldr sdr/ --hdr hdr/                     # folders of pairs instead

"Real" steps take batches from the loader of ``train``, with the workers that it would start. "Cached" steps take the
same batches, prepared beforehand and held on the device, so their data costs nothing. Both take turns in one run, and
who goes first changes every time. Steps before each timed span are not counted: they use up what workers had ready.

What the ratio means depends on the device. On a GPU the workers have cores of their own: a ratio near 1 says that they
keep up, and how far they are from the limit is in the second table. On a CPU steps and data share the cores, so a ratio
of 1 cannot be had; it says what share of the cores the data takes.

The second table gives the samples per second that one worker prepares on one core, at this patch size and at those of
GPUs, and the steps per second that it could feed. The synthetic source's scenes are rendered on the first call.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import torch
from command_line import Parser, existing_folder, start, whole_number
from text_tables import markdown
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.training.asked import TrainingRequest
from dcdr_deploy.training.batches import BATCHES_AHEAD, MOST_WORKERS, automatic_workers, load_batches
from dcdr_deploy.training.compilation import compiled
from dcdr_deploy.training.devices import choose_device
from dcdr_deploy.training.distributed import ProcessGroup, join_processes
from dcdr_deploy.training.loop import create_state
from dcdr_deploy.training.losses import WeightedLoss
from dcdr_deploy.training.recipe import RECIPES, Recipe
from dcdr_deploy.training.request import build_recipe, open_data
from dcdr_deploy.training.sources import SyntheticSource
from dcdr_deploy.training.step import compute_type, train_step
from dcdr_deploy.training.synthetic import SyntheticPairs

HDRI = Path(__file__).parents[1] / "data" / "hdri"
SAMPLES = Path(__file__).parents[1] / "samples"
PEAK = 8.0
GPU_PATCHES = (256, 512)
MOST_CACHED = 16
"""Batches held on the device; more would only fill its memory."""
FEWEST_SAMPLES = 8
"""Samples whose preparation is timed at least."""

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Setting:
    """What is measured, the same in all processes."""

    data: Dataset[Batch]
    recipe: Recipe
    device: torch.device
    workers: int
    steps: int
    repeats: int
    first_step: int
    group: ProcessGroup


class Stepper:
    """Training steps from a fresh start; those of a recipe's later part need not have the weights of that part."""

    def __init__(self, setting: Setting, compile_network: bool) -> None:
        self.setting = setting
        self.state = create_state(setting.recipe, PEAK, setting.device)
        self.loss = WeightedLoss(setting.recipe.losses, peak=PEAK).to(setting.device)
        self.forward = compiled(self.state.network) if compile_network else self.state.network

    def take(self, batches: Iterable[Batch]) -> None:
        """Take a step with each batch, all of them as the first one in the recipe."""
        for x, truth in batches:
            self.state.step = self.setting.first_step
            train_step(self.state, self.loss, x, truth, self.setting.group, self.forward)

    def finish(self) -> None:
        """Wait for the device."""
        if self.setting.device.type == "cuda":
            torch.cuda.synchronize(self.setting.device)

    def rate(self, batches: Iterator[Batch], uncounted: int) -> float:
        """Steps per second; nothing is left running on a GPU."""
        self.take(itertools.islice(batches, uncounted))
        self.setting.group.any(False)
        self.finish()
        started = time.perf_counter()
        self.take(itertools.islice(batches, self.setting.steps))
        self.finish()
        return self.setting.steps / (time.perf_counter() - started)


def step_rates(setting: Setting, compile_network: bool) -> dict[str, list[float]]:
    """Steps per second of every repeat, by kind of data."""
    uncounted = 1 + BATCHES_AHEAD * setting.workers
    # More than are taken, so that the workers are as busy at the end as before.
    length = setting.first_step + 2 * uncounted + setting.steps
    recipe = replace(setting.recipe, steps=max(length, setting.recipe.steps))

    def real(workers: int = setting.workers) -> Iterator[Batch]:
        return load_batches(setting.data, recipe, setting.first_step, workers, setting.device, setting.group)

    with closing(real(0)) as batches:
        cached = list(itertools.islice(batches, min(setting.steps, MOST_CACHED)))
    stepper = Stepper(setting, compile_network)
    stepper.take(cached[:3])  # compilation, choice of algorithms, memory
    rates: dict[str, list[float]] = {"cached": [], "real": []}
    for number in range(setting.repeats):
        for kind in ("cached", "real") if number % 2 else ("real", "cached"):
            with closing(real() if kind == "real" else _again_and_again(cached)) as batches:
                rates[kind].append(stepper.rate(batches, uncounted))
    return rates


def _again_and_again(batches: list[Batch]) -> Iterator[Batch]:
    while True:
        yield from batches


def feed_rates(setting: Setting, seconds: float) -> list[dict[str, float]]:
    """What one worker prepares on one core, alone: one entry a patch size."""
    sources = {setting.recipe.patch: setting.data}
    if isinstance(data := setting.data, SyntheticPairs):
        for patch in GPU_PATCHES:
            recipe = replace(data.recipe, patch=patch, patches=[])
            other = SyntheticPairs(data.panoramas, data.scenes, data.camera, recipe, data.photographs)
            sources.setdefault(patch, other)
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    results = []
    for patch, source in sorted(sources.items()):
        source[0]
        started, samples = time.perf_counter(), 0
        while samples < FEWEST_SAMPLES or time.perf_counter() - started < seconds:
            samples += 1
            source[samples]
        rate = samples / (time.perf_counter() - started)
        steps = rate / setting.group.share_of(setting.recipe.batch)
        results.append({"patch": patch, "samples_per_second": rate, "steps_per_second": steps})
    torch.set_num_threads(threads)
    cv2.setNumThreads(cv_threads)
    return results


def open_source(request: TrainingRequest, recipe: Recipe) -> Dataset[Batch]:
    """The data source of ``train``, without its validation."""
    if request.ldr is None and request.hdr is None:
        return SyntheticSource(request.panoramas, request.photos, scenes=request.scenes).training_set(recipe)
    return open_data(request, recipe)[0]


def measure(options: argparse.Namespace, group: ProcessGroup) -> dict[str, Any]:
    """All figures and what they are of, as one dictionary fit for JSON."""
    changes = {"preset": options.preset, "batch": options.batch, "patch": options.patch, "precision": options.precision}
    request = TrainingRequest(
        Path("unused"),
        options.recipe,
        {name: value for name, value in changes.items() if value is not None},
        ldr=options.ldr,
        hdr=options.hdr,
        panoramas=tuple(options.panoramas or [HDRI]),
        photos=tuple(options.photos or [SAMPLES]),
        scenes=options.scenes,
        perceptual=options.perceptual,
    )
    recipe = build_recipe(request)
    group.share_of(recipe.batch)
    device = torch.device(choose_device(options.device, group))
    workers = automatic_workers(device, group) if options.workers is None else options.workers
    first_step = int(options.at * (recipe.steps - 1))
    with group.first_on_machine_leads():
        data = open_source(request, recipe)
    setting = Setting(data, recipe, device, workers, options.steps, options.repeats, first_step, group)
    rates = step_rates(setting, options.compile)
    medians = {kind: statistics.median(values) for kind, values in rates.items()}
    offsets = "held at zero" if recipe.offsets_frozen(first_step) else "learnt"
    precision = torch.float32 if recipe.full_precision(first_step) else compute_type(recipe, device)
    return {
        "recipe": options.recipe,
        "preset": recipe.preset,
        "batch": recipe.batch,
        "patch": recipe.patch,
        "offsets": offsets,
        "precision": str(precision).removeprefix("torch."),
        "compile": options.compile,
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "processes": group.size,
        "workers": workers,
        "steps": options.steps,
        "steps_per_second": medians,
        "repeats": rates,
        "real_over_cached": medians["real"] / medians["cached"],
        "feed": feed_rates(setting, options.feed_seconds) if group.is_first else [],
    }


def show(result: dict[str, Any]) -> None:
    """Print both tables."""
    print(
        f"\n{result['recipe']}: preset {result['preset']}, {result['batch']} x {result['patch']} px, "
        f"{result['precision']}, offsets {result['offsets']}, {'' if result['compile'] else 'not '}compiled; "
        f"{result['device']}, {result['processes']} process(es), {result['workers']} worker(s) each"
    )
    rows = [["data", "steps/s, median", f"each repeat of {result['steps']} steps"]]
    for kind, values in result["repeats"].items():
        rows.append([kind, f"{result['steps_per_second'][kind]:.2f}", ", ".join(f"{value:.2f}" for value in values)])
    print(f"\n{markdown(rows)}")
    print(f"\nreal / cached: {result['real_over_cached']:.3f} ({result['real_over_cached'] - 1:+.1%})")
    share = result["batch"] // result["processes"]
    rows = [["patch", "samples/s of one worker", f"feeds steps/s of {share} samples", f"{MOST_WORKERS} workers feed"]]
    for row in result["feed"]:
        steps = row["steps_per_second"]
        rows.append(
            [str(row["patch"]), f"{row['samples_per_second']:.0f}", f"{steps:.1f}", f"{steps * MOST_WORKERS:.0f}"]
        )
    print(f"\n{markdown(rows)}")


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--recipe", default="demo", help=", ".join(RECIPES))
    parser.add_argument("--preset", help="network, instead of the recipe's")
    parser.add_argument("--batch", type=whole_number, help="patches a step over all processes, instead of the recipe's")
    parser.add_argument("--patch", type=whole_number, help="pixels a side, instead of the recipe's")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16", "fp16"], help="instead of the recipe's")
    parser.add_argument("--at", type=float, default=0.0, help="share of the recipe that is done: which part is timed")
    parser.add_argument("--perceptual", default="none", help="as of train; without one, steps are shortest")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--workers", type=int, help="processes that prepare data; train's own choice by default")
    parser.add_argument("--threads", type=whole_number, help="CPU threads of each process")
    parser.add_argument("--compile", action="store_true", help="run the network through torch.compile")
    parser.add_argument("--steps", type=whole_number, default=20, help="steps of a timed span")
    parser.add_argument("--repeats", type=whole_number, default=5, help="timed spans of each kind of data")
    parser.add_argument("--feed-seconds", type=float, default=2.0, help="time for each row of the second table")
    parser.add_argument("--panoramas", type=existing_folder, action="append", help="may be repeated [data/hdri]")
    parser.add_argument("--photos", type=existing_folder, action="append", help="may be repeated [samples]")
    parser.add_argument("--scenes", type=whole_number, default=256, help="procedural scenes in the pool (train: 3000)")
    parser.add_argument(
        "--ldr", type=existing_folder, help="folder of SDR pictures, with --hdr instead of the synthetic source"
    )
    parser.add_argument("--hdr", type=existing_folder)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    with join_processes() as group:
        result = measure(options, group)
    if group.is_first:
        print(json.dumps(result)) if options.json else show(result)


if __name__ == "__main__":
    start(main)
