"""What comparisons of trained networks share: options of a budget, the recipe that follows from them, and its words."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from command_line import existing_file, new_folder, several, whole_number

from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.request import PERCEPTUAL_CHOICES

BUDGET = ("patch", "batch", "steps", "learning_rate", "scenes", "perceptual", "precision", "crops")
"""Options of :func:`add_budget` that make up a budget; runs of different ones are kept apart."""


def add_budget(parser: argparse.ArgumentParser, output: Path, **defaults: Any) -> None:
    """Add the options of a budget, and those that say where it is spent, to a parser.

    Args:
        parser: changed.
        output: folder of the runs by default.
        defaults: other values than the usual ones, by the names of options.
    """
    parser.add_argument("--patch", type=whole_number, default=128, help="pixels a side of what is trained on")
    parser.add_argument("--batch", type=whole_number, default=4, help="patches a step")
    parser.add_argument("--steps", type=int, default=8000, help="of every run")
    parser.add_argument("--learning-rate", type=float, default=2e-4, help="before it falls")
    parser.add_argument("--seeds", type=several(int), default="0,1,2", help="of which every variant is trained once")
    parser.add_argument(
        "--scenes", type=whole_number, default=3000, help="procedural scenes that are drawn for training"
    )
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--crops", type=whole_number, default=96, help="held-out pictures to judge by")
    parser.add_argument(
        "--perceptual", choices=PERCEPTUAL_CHOICES, default="squeezenet", help="network of the perceptual loss"
    )
    parser.add_argument("--vgg19-weights", type=existing_file, help="as of train [those of torchvision]")
    parser.add_argument("--squeezenet-weights", type=existing_file, help="as of train [those of the package ndf]")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="auto, cpu, cuda, cuda:1"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare data for each run")
    parser.add_argument("--jobs", type=whole_number, default=1, help="runs at a time")
    parser.add_argument("--output", type=new_folder, default=output, help="folder of the runs")
    parser.set_defaults(**defaults)


def recipe_of(options: argparse.Namespace, seed: int, losses: Mapping[str, float], **changes: Any) -> Recipe:
    """The recipe of a budget: constant rate for half of the steps, then a straight fall; averaged weights."""
    fields = {
        "steps": options.steps,
        "batch": options.batch,
        "patch": options.patch,
        "learning_rate": options.learning_rate,
        "tail_start": 0.5,
        "losses": dict(losses),
        "average": 0.998,
        "gradient_clip": 1.0,
        "precision": options.precision,
        "seed": seed,
    }
    return Recipe(**(fields | changes))


def papers_losses(options: argparse.Namespace, perceptual: bool = True) -> dict[str, float]:
    """DCDR-UNet's: L1 of hyperbolic tangents, and the perceptual loss that ``--perceptual`` names."""
    return {"tanh_l1": 1.0, **(PERCEPTUAL_CHOICES[options.perceptual] if perceptual else {})}


def key_of(options: argparse.Namespace, names: Sequence[str]) -> str:
    """Name of the folder for runs of this budget."""
    return "-".join(str(getattr(options, name)) for name in names)


def words_of(options: argparse.Namespace, names: Sequence[str]) -> str:
    """A budget for people."""
    return ", ".join(f"{name.replace('_', ' ')} {getattr(options, name)}" for name in names)
