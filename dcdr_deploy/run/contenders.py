"""Who takes part in a benchmark: backends with the model files that they take, and what loading them came to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import DEVICE_CPU, DEVICE_CUDA, Engine, EngineOptions
from dcdr_deploy.engines.registry import BACKENDS, Backend
from dcdr_deploy.errors import DcdrError, EngineError, InputError
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.selection import DEMO_MODEL, DEMO_SUFFIXES
from dcdr_deploy.run.timings import Result
from dcdr_deploy.system import hardware
from dcdr_deploy.system.progress import Event, Listener

ALL = "all"


@dataclass(frozen=True)
class Contender:
    """A backend and the model file that it is to run; ``None`` where it takes none of those that there are."""

    backend: Backend
    model: Path | None


def contenders(backends: str, models: Sequence[Path]) -> list[Contender]:
    """Return who takes part.

    Args:
        backends: names, separated by commas, or ``"all"``.
        models: model files; each backend runs those that it takes. None stands for the demo weights, as ONNX file and
            as checkpoint.

    Raises:
        EngineError: a backend is not known.
        InputError: a backend that was named takes none of the files, or a file is taken by none.
    """
    names = list(BACKENDS) if backends == ALL else list(dict.fromkeys(name.strip() for name in backends.split(",")))
    unknown = [name for name in names if name not in BACKENDS]
    if unknown:
        raise EngineError(f"backend {unknown[0]!r} is not known; choose {ALL}, or some of: {','.join(BACKENDS)}")
    demo = (DEMO_MODEL.with_suffix(suffix) for suffix in DEMO_SUFFIXES)
    given = list(models) or [path for path in demo if path.is_file()]
    found = []
    for backend in (BACKENDS[name] for name in names):
        fitting = [path for path in given if path.suffix.lower() in backend.suffixes]
        if not fitting and backends != ALL:
            files = ", ".join(path.name for path in given)
            raise InputError(f"backend {backend.name} takes {', '.join(backend.suffixes)}, and none of: {files}")
        # A backend that takes several kinds runs the same network with each.
        found.append(Contender(backend, next(iter(fitting), None)))
    idle = [path for path in models if path not in {each.model for each in found}]
    if idle:
        raise InputError(
            f"{idle[0]}: no backend that was asked for takes it, or it is the second of its kind; leave it out"
        )
    return found


class LoadedContender:
    """A contender that was loaded, or why it was not."""

    def __init__(self, contender: Contender, stack: ExitStack, options: EngineOptions, listener: Listener) -> None:
        self.contender, self.options = contender, options
        self.result = Result(contender.backend.name, contender.model)
        self.runner: Runner | None = None
        self._held = 0  # bytes that it keeps
        listener(Event(f"loading {contender.backend.name}"))
        before = self._memory()
        started = time.perf_counter()
        try:
            engine = stack.enter_context(self._load())
        except DcdrError as error:
            self.result.note = str(error)
            return
        self.result.load_seconds = time.perf_counter() - started
        self.runner = Runner(engine)
        info = engine.info
        self.result.device, self.result.device_kind = info.device, info.device_kind
        self.result.precision = info.precision
        self._add_memory(before)

    def _load(self) -> Engine:
        backend, model, options = self.contender.backend, self.contender.model, self.options
        if model is None:
            raise EngineError(f"it takes {', '.join(backend.suffixes)} files; name one with `models`")
        state = backend.state_for(model, options)
        if not state.ok:
            raise EngineError(state.reason)
        if options.kind is not None and not state.has(options.kind):
            raise EngineError(f"it has no {options.kind} device")
        return backend.import_module().load(model, options)

    def run(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run a frame."""
        assert self.runner is not None
        return self.runner.run(frame)

    def seconds(self, frame: NDArray[np.uint8]) -> float:
        """Run a frame and return how many seconds it took."""
        started = time.perf_counter()
        self.run(frame)
        return time.perf_counter() - started

    def first_seconds(self, frame: NDArray[np.uint8]) -> float:
        """Run the first frame of a size, and note what memory it took."""
        before = self._memory()
        seconds = self.seconds(frame)
        self._add_memory(before)
        return seconds

    def _memory(self) -> dict[str, int | None]:
        """Bytes in use by kind of device; of a GPU only the change means something."""
        hardware.return_freed_memory()  # of those before it: what it takes of that would not be seen
        self._tells_peak = hardware.restart_peak_memory()
        free = hardware.gpu_free_memory(self.options.device_index)
        return {DEVICE_CUDA: None if free is None else -free, DEVICE_CPU: hardware.resident_memory()}

    def _add_memory(self, before: Mapping[str, int | None]) -> None:
        """Note the most that it has taken by now of its device: beside what it held ``before``, all that came since.

        On a GPU backends keep what they take, so that what the device has less is the most; of the processor's memory
        much is given back before a frame is done.
        """
        kind = self.result.device_kind
        peak = hardware.peak_memory() if kind == DEVICE_CPU and self._tells_peak else None
        then, now = before[kind], self._memory()[kind]
        if now is not None and then is not None:
            most = self._held + max(now - then, (peak or now) - then, 0)
            self.result.memory = max(self.result.memory or 0, most)
            self._held += max(now - then, 0)
