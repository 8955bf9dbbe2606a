"""A training run as a user asks for it: options to recipe and data source, Ctrl-C."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.errors import InputError
from dcdr_deploy.models import HdrNetwork, LoadedModel, architecture_of, find_preset, load_checkpoint, preset_names
from dcdr_deploy.models.encodings import Encoding
from dcdr_deploy.system import hardware
from dcdr_deploy.system.interrupts import SIGNALS
from dcdr_deploy.system.progress import Listener, silent
from dcdr_deploy.training.asked import (
    CHECKPOINT_NAME,
    TrainingRequest,
    check_request,
    find_pairs,
    perceptual_files,
)
from dcdr_deploy.training.assembly import open_run, run_training, validator
from dcdr_deploy.training.batches import automatic_workers
from dcdr_deploy.training.devices import choose_device
from dcdr_deploy.training.distributed import ProcessGroup, join_processes
from dcdr_deploy.training.loop import LoopOptions
from dcdr_deploy.training.pairs import PairedFolder
from dcdr_deploy.training.perceptual import PERCEPTUAL
from dcdr_deploy.training.recipe import RECIPES, SQUEEZENET_WEIGHT, Recipe, named_recipe
from dcdr_deploy.training.resuming import RunSettings, settle
from dcdr_deploy.training.sources import SyntheticSource
from dcdr_deploy.training.state import read_run_settings

_logger = logging.getLogger(__name__)

Validate = Callable[[HdrNetwork], dict[str, float]]


PERCEPTUAL_CHOICES: dict[str, dict[str, float]] = {
    "vgg19": {"perceptual": RECIPES["paper"].losses["perceptual"]},
    "squeezenet": {"perceptual_squeezenet": SQUEEZENET_WEIGHT},
    "none": {},
}
"""Perceptual loss and its weight, by the name that ``--perceptual`` takes."""


PUBLISHED = "paper"
"""The recipe in which every network is trained by the losses of its own publication."""


def run_request(request: TrainingRequest, listener: Listener = silent) -> bool:
    """Run or go on with a training run.

    Under torch's launcher every process calls this, and they share each batch; the first one tells of progress
    (:func:`dcdr_deploy.training.loop.train`).

    Returns:
        Whether the recipe is complete; ``False`` after Ctrl-C or at the time limit.

    Raises:
        InputError: options that do not go together, or data that cannot be used.
        CheckpointError: nothing to resume.
        ProcessLost: another process of the run is gone.
        SystemExit: another process of the run failed and says why.
    """
    with join_processes() as group:
        return _run_share(request, group, listener)


def _run_share(request: TrainingRequest, group: ProcessGroup, listener: Listener) -> bool:
    check_request(request)
    start = load_checkpoint(request.start_weights) if request.start_weights and not request.resume else None
    request = at_the_peak_of_its_weights(request, start)
    recipe = build_recipe(request, start)
    if request.resume:
        request, recipe = _as_begun(request, recipe)
    for batch in recipe.batches.values():
        group.share_of(batch)
    if request.threads is not None:
        torch.set_num_threads(min(request.threads, hardware.cpu_threads()))
    device = choose_device(request.device, group)
    with group.first_on_machine_leads():
        data, validate = open_data(request, recipe)
    state = open_run(recipe, request.output, request.peak, device, request.resume, start)
    state.data = request.sources()
    workers = automatic_workers(torch.device(device), group) if request.workers is None else request.workers
    options = LoopOptions(
        request.checkpoint_every,
        request.validate_every,
        minutes=request.minutes,
        workers=workers,
        device=device,
        compile=request.compile,
    )
    files = perceptual_files(request.vgg19_weights, request.squeezenet_weights)
    with stop_on_interrupt() as stop:
        return run_training(state, data, request.output, options, files, validate, listener, stop, group=group)


def _as_begun(request: TrainingRequest, recipe: Recipe) -> tuple[TrainingRequest, Recipe]:
    """The request and recipe of the run in the output folder, with what may change taken from the ones given.

    Raises:
        CheckpointError: there is no run.
        InputError: a setting was given that is not the run's.
    """
    own = read_run_settings(request.output / CHECKPOINT_NAME)
    wanted = RunSettings(recipe, request.peak, request.sources())
    settled, notes = settle(own, wanted, request.stated(), request.output)
    for note in notes:
        _logger.warning("%s", note)
    return replace(request, peak=settled.peak, **settled.data), settled.recipe


def at_the_peak_of_its_weights(request: TrainingRequest, start: LoadedModel | None) -> TrainingRequest:
    """The request with the full scale of the weights that a new run starts at, unless the user gave one."""
    if start is None or not start.has_metadata or "peak" in request.stated():
        return request
    return replace(request, peak=start.metadata.peak)


def build_recipe(request: TrainingRequest, start: LoadedModel | None = None) -> Recipe:
    """The named recipe with the user's changes.

    Args:
        request: says both.
        start: what a new run starts at, whose network it has unless the user names a preset.

    Raises:
        InputError: unknown recipe or preset, or values out of range.
    """
    named = named_recipe(request.recipe)
    overrides = dict(request.overrides)
    if "patch" in overrides:
        overrides["patches"] = []  # the user's size holds for the whole run
    if start is not None and "preset" not in overrides:
        overrides["preset"] = preset_of(start)
    recipe = replace(named, **overrides)
    config = find_preset(recipe.preset)
    architecture = architecture_of(config)
    multiple = architecture.size_multiple
    if odd := [patch for patch in recipe.batches if patch % multiple]:
        raise InputError(f"`patch` {odd[0]}: preset {recipe.preset} takes multiples of {multiple}")
    peak = Encoding.parse(config.output).peak
    if peak is not None and peak != request.peak:
        raise InputError(f"`peak` {request.peak:g}: preset {recipe.preset} gives light with a peak of {peak:g}")
    if request.recipe == PUBLISHED and "losses" not in overrides and architecture.losses:
        recipe = replace(recipe, losses=dict(architecture.losses))
    if request.perceptual is not None:
        others = {name: weight for name, weight in recipe.losses.items() if name not in PERCEPTUAL}
        recipe = replace(recipe, losses=others | PERCEPTUAL_CHOICES[request.perceptual])
    smallest = max((PERCEPTUAL[name].smallest for name in recipe.losses if name in PERCEPTUAL), default=0)
    if (least := min(recipe.batches)) < smallest:
        raise InputError(f"`patch` {least} is too small for the perceptual loss, which needs {smallest} pixels")
    return recipe


def preset_of(model: LoadedModel) -> str:
    """Name of the preset whose network a checkpoint holds.

    Raises:
        InputError: its network is none of a preset.
    """
    for name in preset_names():
        if find_preset(name) == model.network.config:
            return name
    raise InputError(
        f"{model.source} holds a network of no preset ({', '.join(preset_names())}); it cannot be trained here"
    )


def open_data(request: TrainingRequest, recipe: Recipe) -> tuple[Dataset[tuple[Tensor, Tensor]], Validate | None]:
    """The data source that the options name, and a validation for it where there is one.

    Raises:
        InputError: as :func:`~dcdr_deploy.training.asked.find_pairs`, or pictures that cannot be used.
    """
    pairs = find_pairs(request)
    if pairs is None:
        source = SyntheticSource(
            request.panoramas, request.photos, request.present_lists(), request.scenes, peak=request.peak
        )
        return source.training_set(recipe), validator(source.validation_pairs(), request.peak)
    if recipe.patches:
        raise InputError("regions of pairs are of one size: name it by `patch`, which replaces the recipe's patches")
    return PairedFolder(pairs, recipe.patch, recipe.seed, recipe.steps * recipe.batch, request.peak), None


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Give a function that turns true after Ctrl-C or another of :data:`SIGNALS`, so that a step is never torn.

    A signal that is ignored stays so, as that of a terminal's end is under nohup; threads other than the main one meet
    none.
    """
    asked: list[int] = []
    heard = SIGNALS if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in heard}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, lambda signum, frame: asked.append(signum))
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
