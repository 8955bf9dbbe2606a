"""ONNX Runtime: on NVIDIA GPUs, and on CPUs where OpenVINO is not at hand.

The package onnxruntime-gpu runs on CPUs too, so one distribution serves both; whether its CUDA provider works is found
out by trying. The CUDA and cuDNN libraries come from pip (extra ``cuda``) and are loaded before the first session.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import (
    DEFAULT_OPTIONS,
    DEVICE_CPU,
    DEVICE_CUDA,
    Availability,
    Engine,
    EngineInfo,
    EngineOptions,
)
from dcdr_deploy.engines.precision import require_precision_of_onnx
from dcdr_deploy.errors import EngineError, MissingDependency, ModelError
from dcdr_deploy.modelfile.onnx_file import OnnxModel, read_model
from dcdr_deploy.system import hardware, packages
from dcdr_deploy.system.faults import engine_error, import_fault, one_line
from dcdr_deploy.system.words import number_of

NAME = "onnxruntime"
EXTRA = "onnxruntime"
EXTRA_CUDA = "cuda"
_DISTRIBUTIONS = ("onnxruntime-gpu", "onnxruntime")
_CUDA_PROVIDER = "CUDAExecutionProvider"
_CPU_PROVIDER = "CPUExecutionProvider"
_SILENT, _ERRORS_ONLY = 4, 3

BYTES_PER_PIXEL = {DEVICE_CPU: 2400, DEVICE_CUDA: 4000}
"""Working memory per input pixel with the ``paper`` preset. CPU: measured 2215 at 512 x 512 with the settings below
(3651 with the memory pattern on). CUDA: an estimate with room for cuDNN's workspaces."""

_IDENTITY_MODEL = base64.b64decode(
    "CAgSADo3ChAKAXgSAXkiCElkZW50aXR5EgFwWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUIECgAQDQ=="
)
"""The smallest ONNX model (y = Identity(x), opset 13): what a provider is tried with."""


def availability(*, deep: bool = False) -> Availability:
    """Tell whether ONNX Runtime can be used, and whether on a GPU; imports it (a fraction of a second)."""
    del deep  # nothing here takes long
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        return Availability(ok=False, reason=import_fault("onnxruntime", error), install=packages.install_line(EXTRA))
    versions = packages.versions(_DISTRIBUTIONS) or {"onnxruntime": onnxruntime.__version__}
    problem = cuda_problem()
    if problem is not None:
        return Availability(ok=True, reason=f"no CUDA: {problem}", versions=versions, devices=(DEVICE_CPU,))
    gpus = tuple(f"{DEVICE_CUDA}:{index}" for index in range(hardware.cuda_device_count()))
    return Availability(ok=True, versions=versions, devices=(*gpus, DEVICE_CPU))


def refusal(path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> str:
    """Return why the backend is not the one for a file: never, it takes all of its suffixes."""
    return ""


def load(path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> Engine:
    """Load an ONNX model; on the GPU if one works and the options leave the choice.

    Raises:
        ModelError: the model does not fit or ONNX Runtime refuses it.
        MissingDependency: onnxruntime is not installed.
        EngineError: CUDA was asked for and does not work, or another precision than the file's.
    """
    model = read_model(path)
    require_precision_of_onnx(options, model)
    _import()
    problem = cuda_problem() if options.kind != DEVICE_CPU else "not wanted"
    if options.kind == DEVICE_CUDA and problem is not None:
        raise EngineError(f"onnxruntime cannot use CUDA here: {problem}")
    if problem is None and options.device_index >= hardware.cuda_device_count():
        raise EngineError(f"there is no GPU {options.device_index}; this machine has {hardware.cuda_device_count()}")
    return OnnxRuntimeEngine(model, DEVICE_CUDA if problem is None else DEVICE_CPU, options)


class OnnxRuntimeEngine(Engine):
    """An ONNX Runtime session on one device."""

    def __init__(self, model: OnnxModel, kind: str, options: EngineOptions) -> None:
        """Open the session.

        Args:
            model: the file, already read and checked.
            kind: ``"cuda"`` or ``"cpu"``.
            options: threads and number of the GPU.

        Raises:
            ModelError: ONNX Runtime refuses the model.
            EngineError: memory ran out, or the GPU refused.
        """
        ort = _import()
        settings = ort.SessionOptions()
        settings.log_severity_level = _ERRORS_ONLY
        # The pattern saves calls to the allocator by one block for a whole run: 65 % more memory for no time here.
        settings.enable_mem_pattern = False
        if options.threads is not None:
            settings.intra_op_num_threads = options.threads
        try:
            self._session = ort.InferenceSession(
                str(model.path), settings, providers=_providers(kind, options.device_index)
            )
        except Exception as error:  # the library's errors have no common base of their own
            translated = engine_error(NAME, error)
            if type(translated) is EngineError:
                raise ModelError(f"onnxruntime cannot load {model.path}: {one_line(error)}") from error
            raise translated from error
        if kind == DEVICE_CUDA and _CUDA_PROVIDER not in self._session.get_providers():
            raise EngineError(f"onnxruntime cannot use GPU {options.device_index}; see `dcdr-deploy doctor`")
        self._input = model.input_name
        self._gpu = options.device_index if kind == DEVICE_CUDA else None
        threads = options.threads or hardware.cpu_threads()
        self.info = EngineInfo(
            backend=NAME,
            device=f"CPU ({number_of(threads, 'thread')})" if self._gpu is None else f"CUDA (GPU {self._gpu})",
            precision=model.precision,
            model=model.path,
            metadata=model.metadata,
            max_batch=model.max_batch,
            fixed_size=model.fixed_size,
            bytes_per_pixel=BYTES_PER_PIXEL[kind],
            device_kind=kind,
        )

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            output: NDArray[np.float32] = self._session.run(None, {self._input: batch})[0]
        except Exception as error:  # RuntimeError, RuntimeException, Fail, ...: no common base of their own
            raise engine_error(NAME, error) from error
        return output

    def _close(self) -> None:
        del self._session

    def available_memory(self) -> int | None:
        """Return the free bytes of the GPU, or of the machine for a session on the CPU."""
        return super().available_memory() if self._gpu is None else hardware.gpu_free_memory(self._gpu)


def _providers(kind: str, device_index: int) -> list[Any]:
    if kind == DEVICE_CPU:
        return [_CPU_PROVIDER]
    options = {
        "device_id": str(device_index),
        # Grow by what is needed: doubling, the default, takes memory that a larger tile could use.
        "arena_extend_strategy": "kSameAsRequested",
        # TF32 keeps ten bits of a product; a 16-bit picture needs more. Who wants speed exports with --fp16.
        "use_tf32": "0",
    }
    return [(_CUDA_PROVIDER, options), _CPU_PROVIDER]


@functools.cache
def cuda_problem() -> str | None:
    """Return why the CUDA provider cannot be used here, ``None`` if it works; found out once."""
    if hardware.cuda_device_count() == 0:
        return "no NVIDIA GPU or driver found"
    ort = _import()
    if _CUDA_PROVIDER not in ort.get_available_providers():
        return f"this build of onnxruntime has no CUDA provider; {packages.install_line(EXTRA_CUDA)}"
    with _quiet(ort) as words:
        ort.preload_dlls()
        try:
            session = ort.InferenceSession(_IDENTITY_MODEL, providers=_providers(DEVICE_CUDA, 0))
        except Exception as error:  # the library's errors have no common base of their own
            return f"{one_line(error)}; {packages.install_line(EXTRA_CUDA)}"
    if _CUDA_PROVIDER in session.get_providers():
        return None
    details = " ".join(words.getvalue().split())
    return f"its CUDA or cuDNN libraries are missing or do not fit; {packages.install_line(EXTRA_CUDA)}" + (
        f" ({details})" if details else ""
    )


@contextlib.contextmanager
def _quiet(ort: Any) -> Iterator[io.StringIO]:
    """Keep the library from printing while it is tried; yields what it would have printed."""
    words = io.StringIO()
    ort.set_default_logger_severity(_SILENT)
    try:
        with contextlib.redirect_stdout(words):
            yield words
    finally:
        ort.set_default_logger_severity(_ERRORS_ONLY)


def _import() -> Any:
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise MissingDependency(f"{import_fault('onnxruntime', error)}; {packages.install_line(EXTRA)}") from error
    return onnxruntime
