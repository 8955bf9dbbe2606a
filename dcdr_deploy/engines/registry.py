"""The list of inference backends; choice.py chooses among them.

The list is data: a backend is one module and one line in :data:`BACKENDS`. The module is imported when the backend is
first asked for and offers three functions:

- ``availability(*, deep: bool = False) -> Availability``: whether it can be used here. Takes well under a second; only
  with ``deep`` may it load a package that takes longer.
- ``load(path: Path, options: EngineOptions) -> Engine``: a ready engine.

- ``refusal(path: Path, options: EngineOptions) -> str``: why the backend is not the one for this very file or wish (an
  engine that another package built, a precision that it has not), so that the automatic choice passes it over; mostly
  empty.

A module that serves several packages gives what has these three by ``for_package(name)``; the line names the package.

A backend that cannot be used stays in the list with its reason.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

from dcdr_deploy.engines.base import DEFAULT_OPTIONS, DEVICE_CPU, DEVICE_CUDA, Availability, Engine, EngineOptions
from dcdr_deploy.errors import EngineError
from dcdr_deploy.modelfile.names import CHECKPOINT_SUFFIXES, ENGINE_SUFFIX, ONNX_SUFFIX

AUTO = "auto"


class BackendModule(Protocol):
    """What a backend's module offers."""

    def availability(self, *, deep: bool = False) -> Availability:
        """Tell whether the backend can be used here."""
        ...

    def load(self, path: Path, options: EngineOptions) -> Engine:
        """Load a model."""
        ...

    def refusal(self, path: Path, options: EngineOptions) -> str:
        """Tell why the backend is not the one for a file or wish; empty if it is."""
        ...


@dataclass(frozen=True)
class Backend:
    """One line of the registry.

    Attributes:
        name: what a user types.
        module: dotted path of the module behind it; imported when first needed.
        role: what it is for, in a few words.
        suffixes: model files it takes.
        ranks: its place in the automatic choice for each kind of device; the lowest rank that is available is taken. A
            kind that is missing is never chosen automatically.
        package: what its module's ``for_package`` is called with; empty for a module of one backend.
    """

    name: str
    module: str
    role: str
    suffixes: tuple[str, ...]
    ranks: Mapping[str, int]
    package: str = ""

    def import_module(self) -> BackendModule:
        """Import the module behind the backend."""
        module = importlib.import_module(self.module)
        return cast(BackendModule, module.for_package(self.package) if self.package else module)

    def availability(self, *, deep: bool = False) -> Availability:
        """Ask the module whether the backend can be used here; a module that cannot even be imported says why not."""
        try:
            return self.import_module().availability(deep=deep)
        except (ImportError, OSError) as error:
            return Availability(ok=False, reason=f"cannot be loaded: {error}")

    def state_for(self, model: Path, options: EngineOptions = DEFAULT_OPTIONS) -> Availability:
        """Return the availability; not available if the module refuses the file or what is asked of it.

        Raises:
            ModelError: the file is damaged, which the module tells without loading it.
        """
        state = self.availability()
        if not state.ok and not state.install:
            return state
        reason = self.import_module().refusal(model, options)
        return Availability(ok=False, reason=reason, refused=state.ok) if reason else state


_ENGINES = "dcdr_deploy.engines."
_TENSORRT = _ENGINES + "tensorrt.engine"
_ANYWHERE = {DEVICE_CUDA: 50, DEVICE_CPU: 50}
_NETWORKS = (ONNX_SUFFIX, *CHECKPOINT_SUFFIXES)

# One line a backend; the ranks leave gaps for those to come.
BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend("onnxruntime", _ENGINES + "onnxruntime", "CUDA; CPUs too", (ONNX_SUFFIX,), _ANYWHERE),
        Backend("cuda", _ENGINES + "cuda.engine", "NVIDIA GPUs, own kernels", _NETWORKS, {DEVICE_CUDA: 5}),
        Backend("openvino", _ENGINES + "openvino", "default on x86-64 CPUs", (ONNX_SUFFIX,), {DEVICE_CPU: 10}),
        Backend("tensorrt", _TENSORRT, "NVIDIA GPUs, engines", (ENGINE_SUFFIX,), {DEVICE_CUDA: 10}, "tensorrt"),
        Backend("tensorrt-rtx", _TENSORRT, "RTX GPUs, engines", (ENGINE_SUFFIX,), {DEVICE_CUDA: 20}, "tensorrt-rtx"),
        Backend("torch", _ENGINES + "torch.engine", "reference, checkpoints", CHECKPOINT_SUFFIXES, _ANYWHERE),
    )
}


def backend_names() -> list[str]:
    """Return the names of all backends, usable here or not."""
    return list(BACKENDS)


def get_backend(name: str) -> Backend:
    """Return the backend called ``name``.

    Raises:
        EngineError: no backend has this name; the message lists those that exist.
    """
    try:
        return BACKENDS[name]
    except KeyError:
        raise EngineError(f"backend {name!r} is not known; choose one of: {AUTO}, {', '.join(BACKENDS)}") from None


def availabilities(*, deep: bool = False) -> Mapping[str, Availability]:
    """Return the state of every backend by name."""
    return MappingProxyType({name: backend.availability(deep=deep) for name, backend in BACKENDS.items()})
