"""Check and time training steps recorded as CUDA graphs against the same steps one kernel at a time, on one GPU.

    python benchmarks/gpu_recorded_step.py [--recipe demo] [--steps 6]

Two runs start at the same weights and see the same random batches of every patch size of the recipe. Their losses and
weights have to stay together; atomic sums and bf16 leave differences of a few per cent of what the steps change. Then
both are timed. Exit code: 0 alike, 1 not, 2 no GPU.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from dcdr_deploy.training.distributed import SINGLE
from dcdr_deploy.training.loop import (
    compute_step,
    create_state,
    finish_step,
    prepare_step,
    step_loss,
    train_step,
    training_forward,
)
from dcdr_deploy.training.losses import WeightedLoss
from dcdr_deploy.training.perceptual import PERCEPTUAL
from dcdr_deploy.training.recipe import RECIPES, Recipe
from dcdr_deploy.training.recording import STEPS_BEFORE, StepRecorder, can_record
from dcdr_deploy.training.state import TrainingState

PEAK = 8.0
LARGEST_DIFFERENCE = 0.5
"""Of the weights, relative to how far the steps moved them. Adam's first steps have the size of the rate whatever the
gradient's, so that rounding turns some of them around."""
LARGEST_LOSS_DIFFERENCE = 0.05


def random_batch(recipe: Recipe, patch: int, number: int) -> tuple[Tensor, Tensor]:
    """SDR and truth of smooth random light, with some unknown pixels."""
    generator = torch.Generator().manual_seed(number)
    coarse = torch.rand(recipe.batch_of(patch), 3, 8, 8, generator=generator) ** 3 * 3
    light = torch.nn.functional.interpolate(coarse, size=(patch, patch), mode="bicubic").clamp(min=0)
    x = light.clamp(max=1) ** (1 / 2.2)
    truth = (light / PEAK).masked_fill(
        torch.rand(light.shape[0], 1, patch, patch, generator=generator) < 0.02, torch.nan
    )
    return tuple(each.cuda().to(memory_format=torch.channels_last) for each in (x, truth))  # type: ignore[return-value]


def recorder_of(state: TrainingState, loss: WeightedLoss) -> StepRecorder:
    """As the training loop makes it."""
    forward = training_forward(state.network, state.recipe, state.peak)
    return StepRecorder(
        state,
        prepare=partial(prepare_step, state, torch.device("cuda")),
        compute=partial(compute_step, state, loss, forward=forward),
        finish=partial(finish_step, state),
        loss=partial(step_loss, state, loss, forward=forward),
    )


def milliseconds(step: Callable[[], object], steps: int) -> float:
    """Of a step, queued one behind the other."""
    step()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - started) / steps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="demo", choices=list(RECIPES))
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if not torch.cuda.is_available():
        print("no GPU")
        return 2
    device = torch.device("cuda")
    recipe = RECIPES[options.recipe]
    losses = {name: weight for name, weight in recipe.losses.items() if name not in PERCEPTUAL}
    recipe = replace(recipe, losses=losses, warmup=0)
    states = [create_state(recipe, PEAK, device) for _ in range(2)]
    loss = WeightedLoss(recipe.losses, peak=PEAK).to(device)
    if not can_record(states[0], device, SINGLE):
        print("this recipe's steps are not recorded")
        return 2
    recorder = recorder_of(states[0], loss)
    forward = training_forward(states[1].network, recipe, PEAK)
    start = [value.clone() for value in states[0].network.parameters()]
    patches = sorted({recipe.patch, *(int(patch) for _, patch in recipe.patches_from)})
    alike = True
    for patch in patches:
        for number in range(STEPS_BEFORE + options.steps):
            batch = random_batch(recipe, patch, number)
            found = float(recorder.step(*batch)[0])
            expected = float(train_step(states[1], loss, *batch, forward=forward)[0])
            alike = alike and abs(found - expected) <= LARGEST_LOSS_DIFFERENCE * max(abs(expected), 0.5)
        print(f"{patch} px: loss recorded {found:.5f}, one by one {expected:.5f}", flush=True)
    weights = [list(state.network.parameters()) for state in states]
    moved = sum(float((a - b).square().sum()) for a, b in zip(weights[1], start, strict=True)) ** 0.5
    apart = sum(float((a - b).square().sum()) for a, b in zip(*weights, strict=True)) ** 0.5
    alike = alike and recorder.works and apart <= LARGEST_DIFFERENCE * moved
    print(f"weights moved by {moved:.4f}, apart by {apart:.4f}; recorded: {len(recorder.recorded)} of {len(patches)}")
    for patch in patches if alike else ():
        batch = random_batch(recipe, patch, 0)
        recorded = milliseconds(partial(recorder.step, *batch), 10)
        single = milliseconds(partial(train_step, states[1], loss, *batch, forward=forward), 10)
        print(
            f"{recipe.batch_of(patch)} x {patch} px: recorded {recorded:.1f} ms, one by one {single:.1f} ms", flush=True
        )
    print("alike" if alike else "NOT alike")
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())
