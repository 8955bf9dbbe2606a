"""Train the demo weights in a given number of seconds: `dcdr-deploy train --recipe demo` with a clock.

    python benchmarks/train_by_clock.py --photos photos/ --panoramas data/hdri --panoramas hdri2/ \\
        --weights dcdr_deploy/weights/dcdr-unet-demo.safetensors --seconds 420 -o runs/demo

A machine that is lent by the minute may be faster or slower than the one a number of steps was chosen on, and a run cut
off before its learning rate has fallen is worth little. So the first part of the time measures the pace, the number of
steps is set to what fits the rest, and the same run goes on with it. Every minute or so ``-o`` receives a checkpoint
without the optimiser's moments (``weights.pth``), which `dcdr-deploy export` and ``pack_demo.py`` take. The number of
steps is printed and stored in it: with that as --steps, `dcdr-deploy train` does the same work.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dcdr_deploy.errors import DcdrError
from dcdr_deploy.models import HdrNetwork
from dcdr_deploy.system.files import atomic_path
from dcdr_deploy.system.progress import Event
from dcdr_deploy.training.assembly import open_run
from dcdr_deploy.training.batches import automatic_workers
from dcdr_deploy.training.events import StepDone
from dcdr_deploy.training.loop import CHECKPOINT_NAME, LoopOptions, train
from dcdr_deploy.training.losses import WeightedLoss
from dcdr_deploy.training.recipe import RECIPES, Recipe
from dcdr_deploy.training.request import SPLIT_LISTS, choose_device
from dcdr_deploy.training.sources import SyntheticSource
from dcdr_deploy.training.state import TrainingState
from dcdr_deploy.training.synthetic import SyntheticPairs

MEASURED_SHARE = 0.12
"""Share of the time after which the pace is known; what comes before its last part is warm-up."""
PACE_FROM = 0.6
MARGIN = 0.03
SLIM_NAME = "weights.pth"


class Clock:
    """What is printed of a run, and the pace of its steps."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.marks: list[tuple[float, int]] = []
        self.told = 0.0

    @property
    def seconds(self) -> float:
        """Since the program started."""
        return time.monotonic() - self.started

    def listen(self, event: Event) -> None:
        """Take in a step."""
        if not isinstance(event, StepDone):
            return
        now = self.seconds
        self.marks.append((now, event.done))
        if now - self.told > 15:
            self.told = now
            self.say(
                f"step {event.done}/{event.total} loss {event.loss:.5f} PSNR-mu {event.psnr_mu:.2f} dB, "
                f"{1000 * self.pace():.1f} ms a step"
            )

    def pace(self) -> float:
        """Seconds a step over the later part of what was seen."""
        late = self.marks[int(len(self.marks) * PACE_FROM) :]
        (first, a), (last, b) = late[0], late[-1]
        return (last - first) / max(b - a, 1)

    def say(self, text: str) -> None:
        """A line with the time."""
        print(f"{self.seconds:6.1f} s  {text}", flush=True)


def save_slim(run: Path, output: Path) -> None:
    """Copy a run's checkpoint without what only --resume needs."""
    content: dict[str, Any] = torch.load(run / CHECKPOINT_NAME, map_location="cpu", weights_only=True)
    for name in ("optimizer", "torch_rng", "cuda_rng", "scaler"):
        content.pop(name, None)
    output.mkdir(parents=True, exist_ok=True)
    with atomic_path(output / SLIM_NAME) as temporary:
        torch.save(content, temporary)


@dataclass
class Run:
    """A run with what it needs."""

    state: TrainingState
    data: SyntheticPairs
    loss: WeightedLoss
    folder: Path
    output: Path
    clock: Clock

    def go_on(self, seconds: float, options: LoopOptions) -> bool:
        """Train for some seconds; ``True`` when the last step is done."""
        options = replace(options, minutes=max(seconds, 1) / 60)
        return train(self.state, self.data, self.loss, self.folder, options, self._keep, self.clock.listen)

    def set_steps(self, steps: int) -> None:
        """Change the length of the run."""
        self.state.recipe = self.data.recipe = replace(self.state.recipe, steps=steps)

    def _keep(self, _network: HdrNetwork) -> dict[str, float]:
        self.state.save(self.folder / CHECKPOINT_NAME)
        save_slim(self.folder, self.output)
        return {}


def main() -> int:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="demo", choices=list(RECIPES))
    parser.add_argument("--set", default="{}", help="fields of the recipe to replace, as JSON")
    parser.add_argument("--photos", type=Path, action="append", default=[])
    parser.add_argument("--panoramas", type=Path, action="append", default=[])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--squeezenet-weights", type=Path)
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=420, help="of the whole program")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--run", type=Path, default=Path("/tmp/run"), help="folder of the run itself")
    parser.add_argument("-o", "--output", type=Path, required=True)
    chosen = parser.parse_args()
    clock = Clock(started)
    device = choose_device(chosen.device)
    logging.basicConfig(level=logging.WARNING)
    recipe: Recipe = replace(RECIPES[chosen.recipe], **json.loads(chosen.set))
    try:
        source = SyntheticSource(chosen.panoramas, chosen.photos, SPLIT_LISTS, chosen.scenes)
        data = source.training_set(recipe)
        clock.say(f"data: {len(data.photographs or ())} photographs, {len(data.panoramas)} panoramas")
        state = open_run(recipe, chosen.run, source.peak, device, False, chosen.weights)
        files = {"perceptual_squeezenet": chosen.squeezenet_weights} if chosen.squeezenet_weights else {}
        loss = WeightedLoss(recipe.losses, files, state.peak).to(device)
        workers = automatic_workers(torch.device(device)) if chosen.workers is None else chosen.workers
        options = LoopOptions(10**9, 10**9, workers=workers, device=device, compile=chosen.compile)
        clock.say(f"start on {device} with {workers} workers")
        run = Run(state, data, loss, chosen.run, chosen.output, clock)
        run.go_on(MEASURED_SHARE * chosen.seconds, options)
        pace = clock.pace()
        left = chosen.seconds - clock.seconds - 3
        steps = state.step + max(int(left * (1 - MARGIN) / pace), 1)
        clock.say(f"{state.step} steps done, {1000 * pace:.1f} ms a step: {steps} steps in all")
        run.set_steps(steps)
        options = replace(options, validate_every=max(steps // 7, 1))
        clock.marks = []
        done = run.go_on(left, options)
        save_slim(chosen.run, chosen.output)
        (chosen.output / "metrics.jsonl").write_bytes((chosen.run / "metrics.jsonl").read_bytes())
    except DcdrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    clock.say(f"{'all' if done else 'time is up after'} {state.step} steps of {steps}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
