"""Which model runs when none, or a name only, is given: the project's one file name rule.

``--model``, then ``$DCDR_MODEL``, then the model in the working directory, then the demo weights. The choice is always
told to the user with its reason; several candidates at one stage are an error, never a guess.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dcdr_deploy.engines.metadata import read_model
from dcdr_deploy.errors import ModelError

ENVIRONMENT_VARIABLE = "DCDR_MODEL"

DEMO_MODEL = Path(__file__).parent / "weights" / "dcdr-unet-demo.onnx"
"""The weights that come with the package."""


@dataclass(frozen=True)
class ModelStage:
    """A kind of model that is looked for in the working directory.

    Attributes:
        suffix: lower case, with the dot.
        check: raises ``ModelError`` for a file that is none of ours or does not fit this machine.
    """

    suffix: str
    check: Callable[[Path], object]


STAGES: tuple[ModelStage, ...] = (ModelStage(".onnx", read_model),)
"""Kinds of models in the working directory, best first. A backend with files of its own adds a line."""


@dataclass(frozen=True)
class ModelChoice:
    """A model file, and why it was taken.

    Attributes:
        path: the file.
        reason: completes "this model, because it is ...".
        notes: sentences about files that were looked at and left out.
    """

    path: Path
    reason: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.path} ({self.reason})"


def choose_model(
    requested: str | os.PathLike[str] | None = None,
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> ModelChoice:
    """Apply the file name rule.

    Args:
        requested: what the user named; wins over everything.
        directory: where to look for models; the working directory by default.
        environment: variables; those of the process by default.

    Raises:
        ModelError: the file named does not exist, several models lie in the directory, or there is none at all.
    """
    if requested is not None:
        return ModelChoice(_existing(requested, ""), "as asked for")
    named = (os.environ if environment is None else environment).get(ENVIRONMENT_VARIABLE)
    if named:
        return ModelChoice(_existing(named, f" (from ${ENVIRONMENT_VARIABLE})"), f"from ${ENVIRONMENT_VARIABLE}")
    folder = Path() if directory is None else directory
    notes: list[str] = []
    for stage in STAGES:
        candidates = _candidates(folder, stage, notes)
        if len(candidates) > 1:
            names = ", ".join(path.name for path in candidates)
            raise ModelError(
                f"{len(candidates)} models lie in {folder.absolute()}: {names}; choose one with --model "
                f"or ${ENVIRONMENT_VARIABLE}"
            )
        if candidates:
            return ModelChoice(candidates[0], f"the only {stage.suffix} model in the working directory", tuple(notes))
    if not DEMO_MODEL.is_file():
        raise ModelError(
            f"no model found: none named, none in {folder.absolute()}, and this installation lacks the demo weights "
            f"({DEMO_MODEL.name}); name one with --model"
        )
    return ModelChoice(DEMO_MODEL, "the demo weights that come with dcdr-deploy", tuple(notes))


def _existing(name: str | os.PathLike[str], origin: str) -> Path:
    path = Path(name).expanduser()
    if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for names that are too long
        return path
    what = "is a folder, name a file in it" if os.path.isdir(path) else "does not exist, check the path"  # noqa: PTH112
    raise ModelError(f"model {path}{origin} {what}")


def _candidates(folder: Path, stage: ModelStage, notes: list[str]) -> list[Path]:
    """Return the models of one kind that fit; a note on each that does not: a stray file must not break a run."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() == stage.suffix and path.is_file())
    except OSError:  # a working directory that was removed or may not be listed holds nothing for us
        return []
    fitting = []
    for path in files:
        if path.name.startswith("."):
            continue
        try:
            stage.check(path)
        except ModelError as error:
            notes.append(f"not taken: {error}")
        else:
            fitting.append(path)
    return fitting
