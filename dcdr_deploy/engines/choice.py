"""Which backend runs a model: the one that was named, or the best that works here; and loading with it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from dcdr_deploy.engines.base import DEFAULT_OPTIONS, DEVICE_CPU, DEVICE_CUDA, Availability, Engine, EngineOptions
from dcdr_deploy.engines.registry import AUTO, BACKENDS, Backend, get_backend
from dcdr_deploy.errors import DcdrError, EngineError, MissingDependency, ModelError
from dcdr_deploy.modelfile.names import ONNX_SUFFIX
from dcdr_deploy.modelfile.onnx_file import read_model
from dcdr_deploy.system import hardware
from dcdr_deploy.system.files import refuse_no_path

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """A backend for a model, why it was taken, and why better ones were not where that is worth a word, by name.

    That is so where they refuse the file, and where a GPU is here that the best of them would use.
    """

    backend: Backend
    reason: str
    passed_over: Mapping[str, str] = field(default_factory=dict)


def model_suffixes(name: str = AUTO, options: EngineOptions = DEFAULT_OPTIONS) -> frozenset[str]:
    """Return the suffixes of the model files that a backend, or any for the device asked for, takes.

    Raises:
        EngineError: no backend has this name, or the one that has does not run on the kind of device asked for.
    """
    takers = list(BACKENDS.values()) if name == AUTO else [get_backend(name)]
    if name != AUTO and options.kind is not None and options.kind not in takers[0].ranks:
        raise EngineError(f"backend {name} does not run on {options.kind}{_remedy(name, options)}")
    return frozenset(
        suffix for each in takers if options.kind is None or options.kind in each.ranks for suffix in each.suffixes
    )


def choose_backend(
    model: Path,
    name: str = AUTO,
    options: EngineOptions = DEFAULT_OPTIONS,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> Choice:
    """Decide which backend runs a model; loads nothing.

    Args:
        model: the model file; its suffix counts, and for engines what its sidecar says.
        name: a backend's name, or ``"auto"``: the lowest rank among the backends that take the suffix and are usable
            here, GPUs before CPUs.
        options: a device asked for limits the choice.
        failed: backends that the automatic choice must pass over, and why.

    Raises:
        ModelError: no backend takes this suffix, or the one named does not; or an engine and its sidecar are damaged.
        MissingDependency: a package is not installed; the message holds the line that installs it.
        EngineError: unknown name, or nothing usable for the device asked for.
    """
    suffix = model.suffix.lower()
    if name != AUTO:
        return _named(get_backend(name), suffix, options)
    takers = [backend for backend in BACKENDS.values() if suffix in backend.suffixes]
    if not takers:
        known = sorted({known for backend in BACKENDS.values() for known in backend.suffixes})
        raise ModelError(f"{model} has a suffix that no backend takes; models end in {', '.join(known)}")
    kinds = (DEVICE_CUDA, DEVICE_CPU) if options.kind is None else (options.kind,)
    takers = [backend for backend in takers if any(kind in backend.ranks for kind in kinds)]
    if not takers:
        raise EngineError(f"no backend runs {suffix} models on {' or '.join(kinds)}; choose another device or model")
    states = {name: Availability(ok=False, reason=reason) for name, reason in failed.items()}
    for kind in kinds:
        for backend in sorted((b for b in takers if kind in b.ranks), key=lambda b: b.ranks[kind]):
            if backend.name not in states:
                states[backend.name] = backend.state_for(model, options)
            state = states[backend.name]
            if state.ok and state.has(kind):
                refused = {name: state.reason for name, state in states.items() if state.refused}
                asked = {name: state for name, state in states.items() if name not in failed}
                missed = _missed(asked, kind) if DEVICE_CUDA in kinds else {}
                return Choice(backend, f"first usable backend for {suffix} on {kind}", missed | refused)
    reasons = "; ".join(f"{n}: {_why_not(state, options.kind or DEVICE_CPU)}" for n, state in states.items())
    where = "here" if options.kind is None else f"on {options.device} here"
    sentence = f"no backend can run {suffix} models {where} ({reasons})"
    raise _unavailable(sentence, _remedy(name, options), *states.values())


def _missed(asked: Mapping[str, Availability], kind: str) -> dict[str, str]:
    """Return why the best backend on GPUs is not used though one is here, by its name; empty where nothing is missed.

    Args:
        asked: states of backends, in the order of the choice.
        kind: of device that was chosen.
    """
    best, state = next(iter(asked.items()))
    if DEVICE_CUDA not in BACKENDS[best].ranks or state.ok or not (state.install or kind == DEVICE_CPU):
        return {}
    if not hardware.cuda_device_count():
        return {}
    return {best: f"{state.reason}; install: {state.install}" if state.install else state.reason}


def _named(backend: Backend, suffix: str, options: EngineOptions) -> Choice:
    if suffix not in backend.suffixes:
        kinds = ", ".join(backend.suffixes)
        raise ModelError(
            f"backend {backend.name} takes {kinds}, not {suffix or 'no suffix'}; name such a file with `model`, or "
            "leave `backend` out"
        )
    state = backend.availability()
    if not state.ok or (options.kind is not None and not state.has(options.kind)):
        sentence = f"backend {backend.name} cannot be used here: {_why_not(state, options.kind or DEVICE_CPU)}"
        raise _unavailable(sentence, _remedy(backend.name, options), state)
    return Choice(backend, "asked for")


def _why_not(state: Availability, kind: str) -> str:
    if state.ok and not state.has(kind):
        return f"it has no {kind} device" + (f" ({state.reason})" if state.reason else "")
    return state.reason


def _remedy(name: str, options: EngineOptions) -> str:
    """Return what to leave out so that anything that works here may be taken; empty where nothing was asked for."""
    asked = [field for field, given in (("device", options.kind is not None), ("backend", name != AUTO)) if given]
    if not asked:
        return ""
    return f"; leave {' and '.join(f'`{field}`' for field in asked)} out to take the best that works here"


def _unavailable(sentence: str, remedy: str, *states: Availability) -> DcdrError:
    """Return the error for backends that cannot be used: with an install line if that is what is missing."""
    installs = list(dict.fromkeys(state.install for state in states if state.install))
    if installs:
        return MissingDependency(f"{sentence}; install: {' or '.join(installs)}")
    return EngineError(sentence + remedy)


def load_engine(model: Path | str, backend: str = AUTO, options: EngineOptions = DEFAULT_OPTIONS) -> Engine:
    """Load a model with the backend named, or with the best one here that can: what a better one said is logged.

    Args:
        model: an .onnx file, an engine or a checkpoint.
        backend: a name from :func:`dcdr_deploy.engines.registry.backend_names`, or ``"auto"`` (see
            :func:`choose_backend`).
        options: device and threads.

    Returns:
        An engine ready to run; close it, or use it as a context manager.

    Raises:
        ModelError: the model is missing, damaged, or does not fit.
        CheckpointError: a checkpoint is unsafe, damaged, or of another architecture.
        MissingDependency: a package is not installed.
        EngineError: unknown or unusable backend or device, or the backend failed to load the model.
    """
    refuse_no_path(model, ModelError)
    path = Path(model)
    if not path.is_file():
        raise ModelError(f"model {path} does not exist" if not path.exists() else f"model {path} is no file")
    refusals: tuple[type[DcdrError], ...] = (EngineError, MissingDependency)
    if path.suffix.lower() == ONNX_SUFFIX:
        read_model(path)  # what is wrong with the file itself is no reason to try one backend after the other
        refusals = (*refusals, ModelError)  # what is left is what one library makes of it
    failed: dict[str, str] = {}
    while True:
        choice = choose_backend(path, backend, options, failed)
        chosen = choice.backend
        for name, reason in choice.passed_over.items():
            if BACKENDS[name].suffixes == chosen.suffixes:
                continue  # a twin: the file says which of them it is for
            _logger.warning("%s is used instead of %s: %s", chosen.name, name, reason)
        try:
            return chosen.import_module().load(path, options)
        except refusals as error:
            if backend != AUTO:
                raise
            failed[chosen.name] = str(error)
            try:
                instead = choose_backend(path, backend, options, failed).backend
            except DcdrError:
                raise error from None
            _logger.warning("%s is used instead of %s: %s", instead.name, chosen.name, error)
