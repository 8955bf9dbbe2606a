"""A training run as a user asks for it: options to recipe and data source, progress on the terminal, Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.errors import InputError
from dcdr_deploy.models import HdrNetwork, architecture_of, find_preset
from dcdr_deploy.scenes.camera import CameraModel
from dcdr_deploy.training.assembly import open_run, run_training, validator
from dcdr_deploy.training.batches import automatic_workers
from dcdr_deploy.training.distributed import SINGLE, ProcessGroup, join_processes
from dcdr_deploy.training.loop import LoopOptions, Progress
from dcdr_deploy.training.pairs import PairedFolder, find_cityscapes, find_pairs, is_cityscapes
from dcdr_deploy.training.perceptual import PERCEPTUAL
from dcdr_deploy.training.recipe import RECIPES, SQUEEZENET_WEIGHT, Recipe
from dcdr_deploy.training.sources import SyntheticSource

Validate = Callable[[HdrNetwork], dict[str, float]]


PERCEPTUAL_CHOICES: dict[str, dict[str, float]] = {
    "vgg19": {"perceptual": RECIPES["paper"].losses["perceptual"]},
    "squeezenet": {"perceptual_squeezenet": SQUEEZENET_WEIGHT},
    "none": {},
}
"""Perceptual loss and its weight, by the name that ``--perceptual`` takes."""


@dataclass(frozen=True)
class TrainingRequest:
    """Options of ``dcdr-deploy train``; see its ``--help`` for their meaning.

    ``overrides`` replaces fields of the recipe; ``perceptual`` is a name of :data:`PERCEPTUAL_CHOICES`, or ``None`` for
    the recipe's; ``start_weights`` is a checkpoint whose weights a new run starts at; ``workers`` of ``None`` leaves
    their number to the device.
    """

    output: Path
    recipe: str = "paper"
    overrides: dict[str, Any] = field(default_factory=dict)
    data: Path | None = None
    split: str = "train"
    ldr: Path | None = None
    hdr: Path | None = None
    panoramas: Path = Path("data/hdri")
    scenes: int = 3000
    resume: bool = False
    perceptual: str | None = None
    vgg19_weights: Path | None = None
    squeezenet_weights: Path | None = None
    start_weights: Path | None = None
    peak: float = 8.0
    device: str = "auto"
    threads: int | None = None
    workers: int | None = None
    compile: bool = False
    checkpoint_every: int = 500
    validate_every: int = 1000
    minutes: float | None = None


def run_request(request: TrainingRequest) -> bool:
    """Run or go on with a training run, with a progress bar on stderr.

    Under torch's launcher every process calls this, and they share each batch.

    Returns:
        Whether the recipe is complete; ``False`` after Ctrl-C or at the time limit.

    Raises:
        InputError: options that do not go together, or data that cannot be used.
        CheckpointError: nothing to resume.
        ProcessLost: another process of the run is gone.
        SystemExit: another process of the run failed and says why.
    """
    with join_processes() as group:
        return _run_share(request, group)


def _run_share(request: TrainingRequest, group: ProcessGroup) -> bool:
    recipe = build_recipe(request)
    group.share_of(recipe.batch)
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    device = choose_device(request.device, group)
    with group.first_on_machine_leads():
        data, validate = open_data(request, recipe)
    state = open_run(recipe, request.output, request.peak, device, request.resume, request.start_weights)
    workers = automatic_workers(torch.device(device), group) if request.workers is None else request.workers
    options = LoopOptions(
        request.checkpoint_every,
        request.validate_every,
        minutes=request.minutes,
        workers=workers,
        device=device,
        compile=request.compile,
    )
    show = progress_bar(recipe.steps, state.step) if group.is_first else nullcontext()
    with stop_on_interrupt() as stop, show as listen:
        return run_training(
            state, data, request.output, options, perceptual_files(request), validate, listen, stop, group=group
        )


def build_recipe(request: TrainingRequest) -> Recipe:
    """The named recipe with the user's changes.

    Raises:
        InputError: unknown recipe or preset, or values out of range.
    """
    if request.recipe not in RECIPES:
        raise InputError(f"unknown recipe {request.recipe!r}; known: {', '.join(RECIPES)}")
    recipe = replace(RECIPES[request.recipe], **request.overrides)
    multiple = architecture_of(find_preset(recipe.preset)).size_multiple
    if recipe.patch % multiple:
        raise InputError(f"--patch {recipe.patch}: preset {recipe.preset} takes multiples of {multiple}")
    if request.perceptual is not None:
        others = {name: weight for name, weight in recipe.losses.items() if name not in PERCEPTUAL}
        recipe = replace(recipe, losses=others | PERCEPTUAL_CHOICES[request.perceptual])
    smallest = max((PERCEPTUAL[name].smallest for name in recipe.losses if name in PERCEPTUAL), default=0)
    if recipe.patch < smallest:
        raise InputError(f"--patch {recipe.patch} is too small for the perceptual loss, which needs {smallest} pixels")
    return recipe


def perceptual_files(request: TrainingRequest) -> dict[str, Path]:
    """Weights files that the user named, by the names of the losses that read them."""
    named = {"perceptual": request.vgg19_weights, "perceptual_squeezenet": request.squeezenet_weights}
    return {name: path for name, path in named.items() if path is not None}


def choose_device(name: str, group: ProcessGroup = SINGLE) -> str:
    """torch's name of a device; ``auto`` is the first GPU, or the CPU.

    Each of several processes takes the GPU of its number on its machine.

    Raises:
        InputError: no such device here.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if available else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda" and (not available or (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"no GPU for {name!r} here; see `dcdr-deploy doctor`, or train with --device cpu")
    return name if group.size == 1 or device.type != "cuda" else _own_gpu(device, group)


def _own_gpu(device: torch.device, group: ProcessGroup) -> str:
    if device.index is not None:
        raise InputError(f"--device {device}: each of {group.size} processes takes a GPU of its own; use --device cuda")
    gpus = torch.cuda.device_count()
    if group.local_size > gpus:
        raise InputError(f"{group.local_size} processes for {gpus} GPUs here: start torchrun --nproc-per-node {gpus}")
    torch.cuda.set_device(group.local_rank)
    return f"cuda:{group.local_rank}"


def open_data(request: TrainingRequest, recipe: Recipe) -> tuple[Dataset[tuple[Tensor, Tensor]], Validate | None]:
    """The data source that the options name, and a validation for it where there is one.

    Raises:
        InputError: contradicting options or unusable folders.
    """
    if (request.ldr is None) != (request.hdr is None):
        raise InputError("--ldr and --hdr name the two folders of pairs: give both")
    if request.data is not None and request.ldr is not None:
        raise InputError("give either --data or --ldr with --hdr, not both")
    if request.data is None and request.ldr is None:
        source = SyntheticSource(request.panoramas, request.scenes, camera=CameraModel(peak=request.peak))
        return source.training_set(recipe), validator(source.validation_pairs(), request.peak)
    if request.ldr is not None and request.hdr is not None:
        pairs = find_pairs(request.ldr, request.hdr)
    elif request.data is not None and is_cityscapes(request.data):
        pairs = find_cityscapes(request.data, request.split)
    else:
        raise InputError(
            f"{request.data} has no folders leftImg8bit and leftImg16bit; name two folders of pairs by --ldr and --hdr"
        )
    return PairedFolder(pairs, recipe.patch, recipe.seed, recipe.steps * recipe.batch, request.peak), None


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Give a function that turns true after Ctrl-C or SIGTERM, so that a step is never torn."""
    asked: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda signum, frame: asked.append(signum)) for number in numbers}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress_bar(steps: int, first: int) -> Iterator[Callable[[Progress], None]]:
    """Progress with loss, PSNR and ETA on stderr; plain lines now and then where it is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.5f}  PSNR-mu {task.fields[psnr]:.2f} dB"),
        TimeRemainingColumn(),
    )
    every = max(1, steps // 100)
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=steps, completed=first, loss=0.0, psnr=0.0)

        def listen(progress: Progress) -> None:
            bar.update(task, completed=progress.step, loss=progress.loss, psnr=progress.psnr_mu)
            if not console.is_terminal and progress.step % every == 0:
                done = progress.step / progress.steps
                left = progress.seconds * (1 / done - 1) / 60
                console.print(
                    f"step {progress.step}/{progress.steps}  loss {progress.loss:.5f}  "
                    f"PSNR-mu {progress.psnr_mu:.2f} dB  ETA {left:.0f} min"
                )

        yield listen
