"""Which model runs when none, or a name only, is given: the project's one file name rule.

``--model``, then ``$DCDR_MODEL``, then the model in the working directory (an engine that fits this GPU before an ONNX
file), then the demo weights. The choice is always told to the user with its reason; several candidates at one stage are
an error, never a guess.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcdr_deploy.engines.tensorrt import trt_api
from dcdr_deploy.errors import DcdrError, ModelError
from dcdr_deploy.modelfile.names import ENGINE_SUFFIX, ONNX_SUFFIX, SAFETENSORS_SUFFIX
from dcdr_deploy.modelfile.onnx_file import read_model
from dcdr_deploy.modelfile.sidecar import REBUILD, Sidecar, check_fit, read_sidecar
from dcdr_deploy.system import hardware
from dcdr_deploy.system.files import files_in

ENVIRONMENT_VARIABLE = "DCDR_MODEL"

_WEIGHTS = Path(__file__).parents[1] / "weights"

DEMO_MODEL = _WEIGHTS / "dcdr-unet-demo.onnx"
"""The weights that come with the package."""

NAMED_MODELS: Mapping[str, Path] = {"demo": DEMO_MODEL, "demo-lite": _WEIGHTS / "dcdr-unet-demo-lite.onnx"}
"""Models of the package that can be asked for by name; a file of that name goes first."""

_NAMES = f"; by name there are {' and '.join(NAMED_MODELS)}"

DEMO_SUFFIXES = (ONNX_SUFFIX, SAFETENSORS_SUFFIX)
"""Forms in which they come, best first."""


@dataclass(frozen=True)
class ModelStage:
    """A kind of model that is looked for in the working directory.

    Attributes:
        suffix: lower case, with the dot.
        check: raises ``DcdrError`` for a file that is none of ours or does not fit the GPU of this number.
        fitting: completes "the only .onnx model ... in the working directory" for those that pass the check.
        replaceable: the next kind does the same, only slower; see :class:`ModelChoice`.
    """

    suffix: str
    check: Callable[[Path, int], object]
    fitting: str = ""
    replaceable: bool = False


def read_fitting_sidecar(engine: Path, device_index: int) -> Sidecar:
    """Read the sidecar of an engine and check that the engine can run on a GPU of this machine.

    Args:
        engine: the engine file.
        device_index: the GPU in CUDA's counting.

    Raises:
        ModelError: as :func:`read_sidecar` and :func:`check_fit`; or it carries no metadata of this project.
    """
    sidecar = read_sidecar(engine)
    sidecar.model_metadata(str(engine))
    if sidecar.package not in trt_api.PACKAGES:
        raise ModelError(f"{engine} was built with {sidecar.package}, which this dcdr-deploy does not know; {REBUILD}")
    present = hardware.compute_capabilities()
    sm = present[device_index] if device_index < len(present) else None
    check_fit(engine, sidecar, sm, trt_api.version(sidecar.package))
    return sidecar


_ONNX = ModelStage(ONNX_SUFFIX, lambda path, device_index: read_model(path))

STAGES: tuple[ModelStage, ...] = (ModelStage(ENGINE_SUFFIX, read_fitting_sidecar, " that fits this GPU", True), _ONNX)
"""Kinds of models in the working directory, best first. A backend with files of its own adds a line."""


@dataclass(frozen=True)
class ModelChoice:
    """A model file, and why it was taken.

    Attributes:
        path: the file.
        reason: completes "this model, because it is ...".
        notes: sentences about files that were looked at and left out.
        replaceable: found, not asked for by name, and another kind of model may be taken should it not load.
        found: not named by the caller; users are always told of it.
    """

    path: Path
    reason: str
    notes: tuple[str, ...] = ()
    replaceable: bool = False
    found: bool = True

    def __str__(self) -> str:
        return f"{self.path} ({self.reason})"


def choose_model(
    requested: str | os.PathLike[str] | None = None,
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    suffixes: Collection[str] | None = None,
    device_index: int = 0,
) -> ModelChoice:
    """Apply the file name rule.

    Args:
        requested: what the user named, a file or one of :data:`NAMED_MODELS`; wins over everything.
        directory: where to look for models; the working directory by default.
        environment: variables; those of the process by default.
        suffixes: kinds of files that the backend asked for takes; others in the directory, and other forms of the
            package's models, are passed over. All by default.
        device_index: the GPU that an engine in the directory has to fit, in CUDA's counting.

    Raises:
        ModelError: the file named does not exist, several models lie in the directory, or there is none at all.
    """
    named = _named(requested, environment, suffixes)
    if named is not None:
        return named
    stages = [stage for stage in STAGES if suffixes is None or stage.suffix in suffixes]
    folder = Path() if directory is None else directory
    return _choose_here(stages, folder, "`model` or $" + ENVIRONMENT_VARIABLE, suffixes, device_index)


def require_named(requested: str | os.PathLike[str] | None, *, environment: Mapping[str, str] | None = None) -> None:
    """Refuse a model that is named and not there, as :func:`choose_model` does, before anything else is done.

    Raises:
        ModelError: so it is.
    """
    _named(requested, environment, None)


def choose_onnx(requested: str | os.PathLike[str] | None = None, *, directory: Path | None = None) -> ModelChoice:
    """Choose the ONNX file to build an engine from: the one named, the only one in the directory, the demo weights.

    Raises:
        ModelError: the file named does not exist, or several lie in the directory.
    """
    if requested is not None:
        return ModelChoice(_existing(requested, "", {ONNX_SUFFIX}), "as asked for", found=False)
    return _choose_here([_ONNX], Path() if directory is None else directory, "its path", {ONNX_SUFFIX})


def _named(
    requested: str | os.PathLike[str] | None,
    environment: Mapping[str, str] | None,
    suffixes: Collection[str] | None,
) -> ModelChoice | None:
    """Return the model that the user or a variable names; arguments as of :func:`choose_model`."""
    if requested is not None:
        return ModelChoice(_existing(requested, "", suffixes), "as asked for", found=False)
    named = (os.environ if environment is None else environment).get(ENVIRONMENT_VARIABLE)
    if named:
        path = _existing(named, f" (from ${ENVIRONMENT_VARIABLE})", suffixes)
        return ModelChoice(path, f"from ${ENVIRONMENT_VARIABLE}")
    return None


def _choose_here(
    stages: Sequence[ModelStage], folder: Path, naming: str, suffixes: Collection[str] | None, device_index: int = 0
) -> ModelChoice:
    """Return the model in the folder, or the demo weights in a form that the backend takes.

    ``naming`` is how a user names another; the rest as of :func:`choose_model`.
    """
    notes: list[str] = []
    for stage in stages:
        candidates = _candidates(folder, stage, device_index, notes)
        if len(candidates) > 1:
            names = ", ".join(path.name for path in candidates)
            raise ModelError(f"{len(candidates)} models lie in {folder.absolute()}: {names}; choose one with {naming}")
        if candidates:
            reason = f"the only {stage.suffix} model{stage.fitting} in the working directory"
            return ModelChoice(candidates[0], reason, tuple(notes), stage.replaceable)
    forms = _forms(DEMO_MODEL, suffixes)
    if not forms:
        raise ModelError(
            f"no model found: the backend asked for takes {', '.join(sorted(suffixes or ()))}, and none was named or "
            f"lies in {folder.absolute()}; name one with {naming}, build one with `dcdr-deploy build-engine`, or "
            "leave `backend` out"
        )
    for demo in forms:
        if demo.is_file():
            return ModelChoice(demo, "the demo weights that come with dcdr-deploy", tuple(notes))
    raise ModelError(
        f"no model found: none named, none in {folder.absolute()}, and this installation lacks the demo weights "
        f"({forms[0].name}); name one with {naming}"
    )


def by_name(name: str | os.PathLike[str], suffixes: Collection[str] | None = None) -> Path:
    """Return the file of a model of the package by its name in :data:`NAMED_MODELS`; anything else is a path.

    Args:
        name: what the user wrote; a file of that name goes first.
        suffixes: kinds of files to choose from; all by default.

    Raises:
        ModelError: the model comes in none of these kinds.
    """
    model = NAMED_MODELS.get(os.fspath(name))
    if model is None or Path(name).is_file():
        return Path(name)
    present = [form for form in _forms(model, None) if form.is_file()]
    fitting = [form for form in present if suffixes is None or form.suffix in suffixes]
    if not fitting:
        kinds = ", ".join(form.suffix for form in present) or "no file of this installation"
        raise ModelError(f"model {name} comes as {kinds}, not as {', '.join(sorted(suffixes or DEMO_SUFFIXES))}")
    return fitting[0]


def _forms(packaged: Path, suffixes: Collection[str] | None) -> list[Path]:
    """Return the forms of a model of the package that are in question, best first."""
    return [packaged.with_suffix(suffix) for suffix in DEMO_SUFFIXES if suffixes is None or suffix in suffixes]


def _existing(name: str | os.PathLike[str], origin: str, suffixes: Collection[str] | None) -> Path:
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for users that there are not
    if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for names that are too long
        return path
    packaged = by_name(name, suffixes)
    if packaged != Path(name):
        return packaged
    absent = f"does not exist, check the path{'' if path.suffix else _NAMES}"
    what = "is a folder, name a file in it" if os.path.isdir(path) else absent  # noqa: PTH112
    raise ModelError(f"model {path}{origin} {what}")


def _candidates(folder: Path, stage: ModelStage, device_index: int, notes: list[str]) -> list[Path]:
    """Return the models of one kind that fit; a note on each that does not: a stray file must not break a run."""
    try:
        files = files_in(folder, (stage.suffix,))
    except OSError:  # a working directory that was removed or may not be listed holds nothing for us
        return []
    fitting = []
    for path in files:
        try:
            stage.check(path, device_index)
        except DcdrError as error:
            notes.append(f"not taken: {error}")
        else:
            fitting.append(path)
    return fitting
