"""The paper's Table 1 again: every network of it, trained with one budget on the same data and judged alike.

    python benchmarks/table1.py                          the whole table, three seeds, on a GPU where there is one
    python benchmarks/table1.py --seconds 3000           as many of its steps as fit into 50 minutes
    python benchmarks/table1.py --seconds 3000 --resume  go on where the last call stopped
    python benchmarks/table1.py --steps 0 --seconds 150 --seeds 0 --photos photos/ --panoramas hdri2/
                                                         as many steps as fit: the clock is the budget

The budget is a number of samples, the same for all: networks of one seed see the same patches in the same order, in as
many steps. (With the same seconds for each, which share a machine, no two would see the same.) --jobs of them are
trained at a time, step by step together (side_by_side.py), each from its own start by the losses of its own publication
(DCDR-UNet: L1 of hyperbolic tangents and the perceptual loss that --perceptual names). Samples are drawn once, beside
the training.

They are judged on held-out pictures of the frozen split (data/splits): views of panoramas, and photographs where there
are any; on all of them (as Test Set 1) and on those that the paper's rule calls overexposed (as Test Set 2); as they
are and behind a tone curve that is fitted where nothing clips: a network that errs in the curve alone is not one that
restores nothing. Speed and memory at 1920x1080 are those of `dcdr-deploy benchmark` for the checkpoint on the same
device. Finished runs are kept and not repeated. --figures receives table.md and table.json, which is all of the result.

What the paper's training data and steps are is not at hand; figures compare networks at this budget, not with its own.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from budget import BUDGET, add_budget, key_of, papers_losses, recipe_of, words_of
from command_line import Parser, above_zero, existing_folder, height_and_width, new_folder, start, whole_number
from held_out import LISTS, PEAK
from shared_samples import draw, lay_out
from side_by_side import NEVER, OUTCOME, PREDICTIONS, Board, Job, train_together
from table1_judging import PAPERS, computed, held_out, judge, save, spare_processes
from table1_runs import PLAN, RESULT, Figures, failures, outcome_of, planned_steps, rounds, wanted
from table1_speed import speeds_of
from table1_tables import HEADS, ROWS, tables
from text_files import write_text

from dcdr_deploy.engines.base import EngineOptions
from dcdr_deploy.models import architecture_of, find_preset
from dcdr_deploy.run.benchmark import BenchmarkOptions
from dcdr_deploy.training.asked import perceptual_files
from dcdr_deploy.training.devices import choose_device
from dcdr_deploy.training.recipe import DEMO_SOURCES, Recipe
from dcdr_deploy.training.sources import SyntheticSource

ROOT = Path(__file__).parents[1]
TABLE, FIGURES = "table.md", "table.json"
PICTURES = "pictures.npz"
TRIVIAL = "inverse sRGB"

TABLE1_BUDGET = (*BUDGET, "seconds", "size", "split", "samples")
"""Options that make up a budget here; runs of different ones are kept apart."""

JUDGING_SHARE, SPEED_SHARE = 0.35, 0.15
"""Shares of --seconds that are left for judging and timing when training ends, and for timing when judging does."""
PATIENCE_SHARE = 0.12
"""Share of --seconds in which runs write checkpoints and predictions."""


class Clock:
    """What is left of ``--seconds``, and lines with the time."""

    def __init__(self, seconds: float | None) -> None:
        self.started = time.monotonic()
        self.seconds = math.inf if seconds is None else seconds

    def left(self, reserve: float = 0.0) -> float:
        """Seconds until time is up, but for a share of them that is kept."""
        used = time.monotonic() - self.started
        return self.seconds - used if math.isinf(self.seconds) else self.seconds * (1 - reserve) - used

    def say(self, text: str) -> None:
        """A line with the time."""
        print(f"{time.monotonic() - self.started:6.1f} s  {text}", flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--networks", default=",".join(ROWS), help="presets with commas between them")
    parser.add_argument(
        "--photos", type=existing_folder, action="append", default=[], help="photographs, for both splits"
    )
    parser.add_argument("--panoramas", type=existing_folder, action="append", help="data/hdri unless others are named")
    parser.add_argument("--split", choices=("validation", "test"), default="validation", help="what is judged by")
    parser.add_argument("--size", type=whole_number, default=256, help="long side of held-out pictures")
    parser.add_argument(
        "--samples", type=whole_number, default=50_000, help="most samples that are drawn; then they repeat"
    )
    parser.add_argument("--seconds", type=above_zero, help="of the whole program; --resume goes on")
    parser.add_argument("--resume", action="store_true", help="go on with the runs in the output folder")
    parser.add_argument(
        "--frame", type=height_and_width, default="1080x1920", metavar="HxW", help="size of the frames that are timed"
    )
    parser.add_argument("--frame-seconds", type=float, default=10.0, help="time for timing each network; 0: not timed")
    parser.add_argument(
        "--scratch", type=new_folder, default=Path(tempfile.gettempdir()), help="folder for drawn samples"
    )
    parser.add_argument(
        "--figures", type=new_folder, help=f"folder for {TABLE} and {FIGURES}; that of the runs by default"
    )
    add_budget(parser, ROOT / "runs" / "table1", crops=96)
    parser.set_defaults(jobs=None, workers=None)
    options = parser.parse_args(arguments)
    unknown = set(options.networks.split(",")) - ROWS.keys()
    if unknown:
        parser.error(f"unknown networks {sorted(unknown)}; known: {', '.join(ROWS)}")
    if options.steps <= 0 and options.seconds is None:
        parser.error("--steps 0 takes as many steps as fit into --seconds: say how many those are")
    options.panoramas = options.panoramas or [ROOT / "data" / "hdri"]
    options.device = choose_device(options.device)
    on_gpu = options.device.startswith("cuda")
    options.jobs = options.jobs or (len(options.networks.split(",")) if on_gpu else 1)
    options.workers = (1 if on_gpu else 0) if options.workers is None else options.workers
    budget = TABLE1_BUDGET if options.steps <= 0 else [name for name in TABLE1_BUDGET if name != "seconds"]
    options.budget = budget
    options.folder = options.output / key_of(options, budget)
    options.figures = options.figures or options.folder
    if options.folder.exists() and not options.resume:
        parser.error(f"{options.folder} holds runs of this budget: go on with --resume, or name another --output")
    return options


def own_recipe(preset: str, seed: int, options: argparse.Namespace) -> Recipe:
    """The common budget, with the network's own losses."""
    losses = dict(architecture_of(find_preset(preset)).losses) or papers_losses(options)
    shares = DEMO_SOURCES if options.photos else {}
    return recipe_of(options, seed, losses, preset=preset, steps=max(options.steps, 1), source_shares=dict(shares))


def source_of(options: argparse.Namespace, recipe: Recipe) -> Any:
    """What samples are drawn from; called by the process that draws."""
    return SyntheticSource(options.panoramas, options.photos, LISTS, options.scenes, peak=PEAK).training_set(recipe)


@contextmanager
def drawn_samples(seed: int, options: argparse.Namespace) -> Iterator[Path]:
    """A folder into which the samples of a seed are being drawn."""
    recipe = own_recipe("paper", seed, options)
    count = options.samples if options.steps <= 0 else min(options.samples, options.steps * options.batch)
    folder = Path(tempfile.mkdtemp(prefix="samples-", dir=options.scratch)) / "drawn"
    lay_out(folder, count, options.patch, spare_processes())
    drawing = multiprocessing.get_context("spawn").Process(
        target=draw, args=(folder, partial(source_of, options, replace(recipe, steps=NEVER)))
    )
    drawing.start()
    try:
        yield folder
    finally:
        drawing.terminate()
        drawing.join()
        shutil.rmtree(folder.parent, ignore_errors=True)


def train_round(seed: int, presets: list[str], share: float, options: argparse.Namespace, clock: Clock) -> None:
    """Train some networks of a seed together, for a share of the time that is left."""
    steps = planned_steps(options)
    board = Board(len(presets))
    board.plan = steps
    left = clock.left(JUDGING_SHARE)
    end = time.monotonic() + left * share
    with drawn_samples(seed, options) as samples:
        jobs = [
            Job(
                name=preset,
                recipe=replace(own_recipe(preset, seed, options), steps=steps or NEVER),
                folder=options.folder / f"{preset}-{seed}",
                samples=samples,
                pictures=options.folder / PICTURES,
                peak=PEAK,
                device=options.device,
                threads=max(1, spare_processes(0) // len(presets)),
                workers=options.workers,
                files=perceptual_files(options.vgg19_weights, options.squeezenet_weights),
            )
            for preset in presets
        ]
        for job in jobs:
            (job.folder / OUTCOME).unlink(missing_ok=True)
        patience = math.inf if math.isinf(clock.seconds) else clock.seconds * PATIENCE_SHARE
        train_together(jobs, board, end, patience, lambda text: clock.say(f"seed {seed}: {text}"))
    if board.plan:
        write_text(options.folder / PLAN, json.dumps({"steps": board.plan}))


def judge_runs(options: argparse.Namespace, clock: Clock, names: list[str], count: int) -> tuple[Figures, Figures]:
    """Figures of all runs that have left predictions, by preset and seed, and those of the baseline.

    The figures of complete runs over all pictures are kept in their folders.
    """
    found: dict[tuple[str, int], Figures] = {}
    waiting: dict[str, Path | None] = {}
    keys = {f"{preset}-{seed}": (preset, seed, folder) for seed, preset, folder in wanted(options)}
    for run, (preset, seed, folder) in keys.items():
        if (folder / RESULT).is_file():
            found[preset, seed] = dict(json.loads((folder / RESULT).read_text(encoding="utf-8")))
        elif (folder / PREDICTIONS).is_file() and "step" in outcome_of(folder):
            waiting[run] = folder / PREDICTIONS
    end = time.monotonic() + clock.left(SPEED_SHARE)
    judged, seen = judge(
        {TRIVIAL: None, **waiting}, options.folder / PICTURES, count, names, spare_processes(), end, clock.say
    )
    clock.say(f"judged {len(waiting)} runs on {seen} of {count} pictures")
    for run in waiting.keys() & judged.keys():
        preset, seed, folder = keys[run]
        found[preset, seed] = judged[run] | outcome_of(folder) | {"pictures": seen}
        if seen == count and found[preset, seed]["complete"]:
            write_text(folder / RESULT, json.dumps(found[preset, seed]))
    runs: dict[str, dict[int, Figures]] = {}
    for seed, preset, _ in wanted(options):
        if (preset, seed) in found:
            runs.setdefault(preset, {})[seed] = found[preset, seed]
    return runs, judged.get(TRIVIAL, {})


def report(
    options: argparse.Namespace, runs: Figures, speeds: Mapping[str, Any], baseline: Figures, names: list[str]
) -> None:
    """Write the table so far, with its budget, and print it."""
    failed = failures(options)
    devices = sorted({str(each["device"]) for each in speeds.values() if each.get("device")}) or [options.device]
    if options.device.startswith("cuda"):
        devices = [torch.cuda.get_device_name(options.device)]
    left_out = [name for name in PAPERS if name not in names]
    budget = [name for name in options.budget if name != "steps" or options.steps > 0]
    height, width = options.frame
    words = [
        f"Budget of every run: {words_of(options, budget)}; on {', '.join(devices)}.",
        f"Judged on {baseline['all_pictures']} pictures, {baseline['over_pictures']} of them overexposed.",
        "Mean ± standard deviation over seeds. PU21 and delta ITP: full scale is 1,000 cd/m2.",
        f"ms and GiB (of a GPU): a {width}x{height} frame with torch, from host to host.",
        *(f"Left out, since package or weights are not on this machine: {HEADS[name]}." for name in left_out),
        *(f"Failed: {name}: {note}." for name, note in failed.items()),
    ]
    text = "\n".join([*words, "", tables(runs, speeds, baseline, names), ""])
    write_text(options.figures / TABLE, text)
    content = {"budget": {name: str(getattr(options, name)) for name in options.budget}, "devices": devices}
    content |= {"torch": torch.__version__, "baseline": baseline, "runs": runs, "speeds": speeds, "failed": failed}
    write_text(options.figures / FIGURES, json.dumps(content, indent=1))
    print(text)


def main() -> None:
    options = parse()
    clock = Clock(options.seconds)
    names = computed()
    options.folder.mkdir(parents=True, exist_ok=True)

    pictures = held_out(options.photos, options.panoramas, options.split, options.size, options.crops)
    save(pictures, options.folder / PICTURES)
    left = rounds(options)
    for number, (seed, presets) in enumerate(left):
        if clock.left(JUDGING_SHARE) > 0:
            clock.say(f"seed {seed}: {', '.join(presets)}")
            train_round(seed, presets, 1 / (len(left) - number), options, clock)
    runs, baseline = judge_runs(options, clock, names, len(pictures))
    folders = {preset: options.folder / f"{preset}-{min(seeds)}" for preset, seeds in runs.items()}
    timed = BenchmarkOptions((options.frame,), options.frame_seconds, engine=EngineOptions(device=options.device))
    speeds = speeds_of(folders, timed, clock.left, clock.say)
    if baseline:
        report(options, runs, speeds, baseline, names)
    done = sum((folder / RESULT).is_file() for _, _, folder in wanted(options))
    if done < len(list(wanted(options))):
        print(f"{done} of {len(list(wanted(options)))} runs are finished; go on with --resume")


if __name__ == "__main__":
    start(main)
