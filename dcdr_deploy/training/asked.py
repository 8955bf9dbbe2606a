"""What ``dcdr-deploy train`` is asked for, and whether its files are there; without torch, which loads for seconds."""

from __future__ import annotations

import math
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from dcdr_deploy.errors import CheckpointError, InputError
from dcdr_deploy.modelfile.checkpoint_file import require_checkpoint
from dcdr_deploy.modelfile.metadata import check_peak
from dcdr_deploy.scenes.splits import PANORAMA_SUFFIXES, PHOTOGRAPH_SUFFIXES, files_for
from dcdr_deploy.system.files import check_folder, refuse_no_path
from dcdr_deploy.training.pair_files import TrainingFiles, find_cityscapes, find_training_files, is_cityscapes
from dcdr_deploy.training.recipe import named_recipe
from dcdr_deploy.training.resuming import SOURCES

CHECKPOINT_NAME = "last.pth"
"""What a run leaves behind in its folder, and goes on from."""

SPLIT_LISTS = (Path("data/splits/photographs.tsv"), Path("data/splits/panoramas.tsv"))
"""The repository's lists of what belongs to which split; where they are not, every file is for training."""


@dataclass(frozen=True)
class TrainingRequest:
    """Options of ``dcdr-deploy train``; see its ``--help`` for their meaning.

    ``overrides`` replaces fields of the recipe; ``perceptual`` is a name that `--perceptual` takes, or ``None`` for
    the recipe's; ``start_weights`` is a checkpoint whose weights a new run starts at, and whose network and peak it has
    unless a preset and a peak are named; ``workers`` of ``None`` leaves their number to the device. ``given`` names the
    options that the user gave, which a resumed run checks against its own; ``None`` stands for those that differ from
    the defaults.
    """

    output: Path
    recipe: str = "paper"
    overrides: dict[str, Any] = field(default_factory=dict)
    data: Path | None = None
    split: str = "train"
    ldr: Path | None = None
    hdr: Path | None = None
    panoramas: tuple[Path, ...] = (Path("data/hdri"),)
    photos: tuple[Path, ...] = ()
    lists: tuple[Path, ...] = SPLIT_LISTS
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
    given: frozenset[str] | None = None

    def stated(self) -> frozenset[str]:
        """Names of the settings that the user gave, as :func:`~dcdr_deploy.training.resuming.settle` calls them."""
        given = self.given
        if given is None:
            given = frozenset(each.name for each in fields(self) if getattr(self, each.name) != _default(each))
        return given | self.overrides.keys() | ({"losses"} if self.perceptual is not None else set())

    def sources(self) -> dict[str, Any]:
        """What the samples are drawn from."""
        return {name: getattr(self, name) for name in SOURCES}

    def present_lists(self) -> list[Path]:
        """Tables of the split; of the repository's own those that are there."""
        return [path for path in self.lists if path.is_file() or path not in SPLIT_LISTS]


def _default(entry: Field[Any]) -> Any:
    return entry.default_factory() if entry.default_factory is not MISSING else entry.default


def check_request(request: TrainingRequest) -> None:
    """Refuse what cannot work, before anything is made: names, numbers, then files and folders that are not there.

    Raises:
        InputError: a number out of range, an unknown recipe, an output folder that is a file or holds a run already,
            data that cannot be used, or weights of a loss that are missing.
        CheckpointError: no run to go on with, or no weights to start at.
        OutputError: the output folder cannot be written.
    """
    named_recipe(request.recipe)
    check_peak(request.peak)
    minutes = request.minutes
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise InputError(f"`minutes` {minutes:g}: a slice takes a positive number of minutes")
    least = {"threads": 1, "workers": 0, "checkpoint_every": 1, "validate_every": 1, "scenes": 1}
    for name, smallest in least.items():
        value = getattr(request, name)
        if value is not None and value < smallest:
            raise InputError(f"`{name}` {value}: it must be at least {smallest}")
    seed, rate = request.overrides.get("seed", 0), request.overrides.get("learning_rate", 1.0)
    if not 0 <= seed < 2**63:
        raise InputError(f"`seed` {seed}: it must lie in 0 to 2^63 - 1")
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(f"`learning_rate` {rate:g}: it must be a positive number")
    refuse_no_path(request.output, InputError)
    if request.output.exists() and not request.output.is_dir():
        raise InputError(f"{request.output} is a file; name a folder for the run")
    _check_files(request)


def _check_files(request: TrainingRequest) -> None:
    checkpoint = request.output / CHECKPOINT_NAME
    check_folder(request.output)
    for name, path in perceptual_files(request.vgg19_weights, request.squeezenet_weights).items():
        if not path.is_file():
            raise InputError(f"{path}: no such file; the weights of the loss {name} are read from it")
    if request.resume:  # with the run's own data
        require_run(checkpoint)
        return
    refuse_second_run(request.output)
    if request.start_weights is not None:
        require_checkpoint(request.start_weights)
    if find_pairs(request) is None:
        for split in ("train", "validation"):
            files_for(request.panoramas, PANORAMA_SUFFIXES, request.present_lists(), split)
        if request.photos:
            files_for(request.photos, PHOTOGRAPH_SUFFIXES, request.present_lists(), "train")


def require_run(checkpoint: Path) -> None:
    """Refuse to go on with a run that is not there.

    Raises:
        CheckpointError: so it is.
    """
    if not checkpoint.is_file():
        raise CheckpointError(f"no checkpoint at {checkpoint}; start a new run without `resume`")


def refuse_second_run(folder: Path) -> None:
    """Refuse to begin a run in the folder of another.

    Raises:
        InputError: there is one.
    """
    if (folder / CHECKPOINT_NAME).exists():
        raise InputError(f"{folder} holds a run already: go on with `resume`, or choose another folder by `output`")


def find_pairs(request: TrainingRequest) -> list[TrainingFiles] | None:
    """The pairs that a request names, ``None`` for the synthetic source.

    Raises:
        InputError: contradicting options or unusable folders.
    """
    if (request.ldr is None) != (request.hdr is None):
        raise InputError("`ldr` and `hdr` name the two folders of pairs: give both")
    if request.data is not None and request.ldr is not None:
        raise InputError("give either `data` or `ldr` with `hdr`, not both")
    if request.ldr is not None and request.hdr is not None:
        return find_training_files(request.ldr, request.hdr)
    if request.data is None:
        return None
    if not request.data.is_dir():
        raise InputError(f"{request.data}: no such folder; check the path")
    if not is_cityscapes(request.data):
        raise InputError(
            f"{request.data} has no folders leftImg8bit and leftImg16bit; name two folders of pairs by `ldr` and `hdr`"
        )
    return find_cityscapes(request.data, request.split)


def perceptual_files(vgg19: Path | None, squeezenet: Path | None) -> dict[str, Path]:
    """Weights files that the user named, by the names of the losses that read them."""
    named = {"perceptual": vgg19, "perceptual_squeezenet": squeezenet}
    return {name: path for name, path in named.items() if path is not None}
