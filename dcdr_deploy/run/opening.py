"""From a user's wishes to a runner: choose the model, load it, close it at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from dcdr_deploy.engines.base import Engine, EngineOptions
from dcdr_deploy.engines.choice import load_engine, model_suffixes
from dcdr_deploy.engines.registry import AUTO
from dcdr_deploy.errors import DcdrError
from dcdr_deploy.modelfile.names import ENGINE_SUFFIX
from dcdr_deploy.modelfile.sidecar import read_sidecar
from dcdr_deploy.run.events import EngineReady, ModelChosen
from dcdr_deploy.run.gate import verify_first_run
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.selection import choose_model
from dcdr_deploy.system.progress import Event, Listener, silent


@dataclass(frozen=True)
class RunnerSettings:
    """How a model runs; the defaults work on every machine.

    Attributes:
        backend: a backend's name, or ``"auto"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        threads: processor threads; ``None`` leaves the choice to the backend.
        tile: largest tile edge in pixels; ``None`` for whole frames; ``"auto"`` depends on free memory.
        overlap: context in pixels on each side of a tile; ``"auto"`` is the value stored in the model.
        batch: tiles per call of the engine; ``"auto"`` depends on device and memory.
        precision: ``"auto"``, ``"fp32"`` or ``"fp16"``; see :class:`~dcdr_deploy.engines.base.EngineOptions`.
    """

    backend: str = AUTO
    device: str = "auto"
    threads: int | None = None
    tile: int | Literal["auto"] | None = "auto"
    overlap: int | Literal["auto"] = "auto"
    batch: int | Literal["auto"] = "auto"
    precision: str = "auto"

    @property
    def engine_options(self) -> EngineOptions:
        """What of it is asked of a backend."""
        return EngineOptions(self.device, self.threads, self.precision)


DEFAULT_SETTINGS = RunnerSettings()


@contextmanager
def open_runner(
    model: str | os.PathLike[str] | None = None,
    settings: RunnerSettings = DEFAULT_SETTINGS,
    listener: Listener = silent,
) -> Iterator[Runner]:
    """Choose and load a model, and yield a runner for it; the engine is closed at the end of the block.

    Args:
        model: an .onnx file, an engine or a checkpoint; ``None`` chooses one by the rule of
            :mod:`dcdr_deploy.run.selection`.
        settings: backend, device, tiles.
        listener: is told which model was chosen and what it runs on.

    Raises:
        DcdrError: as :func:`choose_model`, :func:`load_engine` and :class:`Runner`.
    """
    with _load(model, settings.backend, settings.engine_options, listener) as engine:
        runner = Runner(engine, settings.tile, settings.overlap, settings.batch)
        listener(EngineReady(info=engine.info))
        yield runner


def _load(model: str | os.PathLike[str] | None, backend: str, options: EngineOptions, listener: Listener) -> Engine:
    """Choose a model and load it; an engine file that was found, not asked for, is replaced where it does not load."""
    suffixes = model_suffixes(backend, options)
    while True:
        choice = choose_model(model, suffixes=suffixes, device_index=options.device_index)
        for note in choice.notes:
            listener(Event(note=note))
        listener(ModelChosen(f"loading {choice.path.name}", choice=choice))
        try:
            return _judged(load_engine(choice.path, backend, options))
        except DcdrError as error:
            if not choice.replaceable or suffixes == {choice.path.suffix.lower()}:
                raise
            listener(Event(note=f"{choice.path.name} is not used: {error}"))
            suffixes = suffixes - {choice.path.suffix.lower()}


def _judged(engine: Engine) -> Engine:
    """Return an engine whose results were compared: those of an engine file are with its first run on a GPU.

    Raises:
        ModelError, EngineError: as :func:`verify_first_run`; the engine is closed then.
    """
    path = engine.info.model
    if path is not None and path.suffix.lower() == ENGINE_SUFFIX:
        try:
            verify_first_run(engine, path, read_sidecar(path))
        except BaseException:
            engine.close()
            raise
    return engine
