"""TensorRT: runs engines that ``dcdr-deploy build-engine`` made, on the GPU they were made for.

The implementation serves the package ``tensorrt`` and, under the backend name ``tensorrt-rtx``, the package
``tensorrt_rtx`` alike: their API is one. What an engine is, where it runs and what its numbers mean is read from the
sidecar beside it before anything is loaded.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace
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
    normalise,
)
from dcdr_deploy.engines.cuda.frames import FrameKernels, load_frame_kernels
from dcdr_deploy.engines.cuda.memory import Device
from dcdr_deploy.engines.cuda.tiled import TiledEngine, sm_of
from dcdr_deploy.engines.cuda.tiles import TilesInFlight
from dcdr_deploy.engines.precision import require_precision
from dcdr_deploy.engines.tensorrt import trt_api
from dcdr_deploy.engines.tensorrt.contexts import Contexts, LibraryLog
from dcdr_deploy.engines.tensorrt.planar import PlanarNetwork
from dcdr_deploy.errors import EngineError, MissingDependency, ModelError
from dcdr_deploy.modelfile.sidecar import REBUILD, Sidecar, check_fit, read_sidecar
from dcdr_deploy.system import hardware, packages
from dcdr_deploy.system.words import number_of

_BINDINGS = "cuda-bindings"
_STAGING_BYTES = 96
"""Bytes a pixel beside the library's own memory: input and output in float32, and two slots of copies of both."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackageBackend:
    """The backend of one of the two packages: what the registry asks for and loads by."""

    package: str

    def availability(self, *, deep: bool = False) -> Availability:
        """Tell whether engines of the package can be run here; imports it only when ``deep``."""
        package = trt_api.get_package(self.package)
        version = trt_api.version(self.package)
        if version is None:
            return Availability(ok=False, reason=f"{self.package} is not installed", install=package.install)
        versions = {self.package: version, **packages.versions((_BINDINGS,))}
        if _BINDINGS not in versions:
            reason = f"{_BINDINGS} is not installed"
            return Availability(ok=False, reason=reason, versions=versions, install=package.install)
        if deep:
            try:
                trt_api.load_api(self.package)
            except (MissingDependency, EngineError) as error:
                return Availability(ok=False, reason=str(error), versions=versions)
        gpus = tuple(f"{DEVICE_CUDA}:{index}" for index in range(hardware.cuda_device_count()))
        if not gpus:
            building = "; engines can be built, not run" if package.targets_sms else ""
            return Availability(ok=False, reason=f"no NVIDIA GPU or driver found{building}", versions=versions)
        return Availability(ok=True, versions=versions, devices=gpus)

    def load(self, path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> Engine:
        """Load an engine of this package; see :func:`open_engine`.

        Raises:
            ModelError: also where another package built the engine.
        """
        stated = read_sidecar(path).package
        if stated != self.package:
            raise ModelError(
                f"{path} was built with {stated}, not {self.package}; run it with `backend` {stated}, or "
                f"{REBUILD} --backend {self.package}"
            )
        return open_engine(path, options)

    def refusal(self, path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> str:
        """Return why the package is not the one for an engine, by the sidecar; empty if it is.

        Raises:
            ModelError: as :func:`read_sidecar`. A damaged pair is to be told, also where no package could run it.
        """
        stated = read_sidecar(path).package
        return "" if stated == self.package else f"{path.name} was built with {stated}"


def for_package(package: str) -> PackageBackend:
    """Return the backend of a package, ``"tensorrt"`` or ``"tensorrt-rtx"``."""
    return PackageBackend(package)


def open_engine(path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> TensorRTEngine:
    """Load an engine with the package that its sidecar names. What it computes is not judged here (``run/gate.py``).

    Args:
        path: the engine file; its sidecar lies beside it.
        options: the GPU.

    Raises:
        ModelError: sidecar or engine is missing, damaged, edited, or for another package's version or GPU. The message
            says which, and how to build it again.
        MissingDependency: a package is not installed.
        EngineError: there is no such GPU, another precision was asked for, or the GPU failed.
    """
    sidecar = read_sidecar(path)
    metadata = sidecar.model_metadata(str(path))
    if options.kind == DEVICE_CPU:
        raise EngineError(f"{path} runs on NVIDIA GPUs only; name an ONNX file with `model` to run on the CPU")
    other = "with" if sidecar.precision == "fp32" else "without"
    require_precision(options, sidecar.precision, path, f"{REBUILD} {other} --fp16")
    sm = sm_of(options.device_index)
    check_fit(path, sidecar, sm, trt_api.version(sidecar.package))
    return TensorRTEngine(
        path,
        sidecar,
        EngineInfo(
            backend=sidecar.package,
            device=f"CUDA (GPU {options.device_index}, SM{sm})",
            precision=sidecar.precision,
            model=path,
            metadata=metadata,
            fixed_size=sidecar.fixed_size,
            smallest_size=sidecar.min_shape[1:],
            largest_size=sidecar.max_shape[1:],
            group=sidecar.max_batch,
            device_kind=DEVICE_CUDA,
        ),
        options.device_index,
    )


class TensorRTEngine(TiledEngine):
    """An engine on one GPU: codes go there as they are, are normalised there, and halves come back."""

    def __init__(self, path: Path, sidecar: Sidecar, info: EngineInfo, device_index: int) -> None:
        """Load an engine that fits this machine.

        Args:
            path: the engine file.
            sidecar: what stands beside it, checked.
            info: what is known of it so far.
            device_index: the GPU in CUDA's counting.

        Raises:
            ModelError: the package refuses the file.
            MissingDependency: a package is not installed.
            EngineError: the GPU failed or has no room.
        """
        self._resources = ExitStack()
        try:
            self._load(path, sidecar, info, device_index)
        except BaseException:
            self._resources.close()
            raise

    def _load(self, path: Path, sidecar: Sidecar, info: EngineInfo, device_index: int) -> None:
        trt = trt_api.load_api(sidecar.package)
        if sidecar.plugin is not None:
            _register_plugin(trt, path, sidecar)
        self._device = Device(device_index)
        self._resources.callback(self._device.close)
        log = LibraryLog(sidecar.package)
        logger = trt_api.shared_logger(trt)
        logger.sink = log
        runtime = trt.Runtime(logger)
        try:
            engine = runtime.deserialize_cuda_engine(path.read_bytes())
        except OSError as error:
            raise ModelError(f"engine {path} cannot be read: {error.strerror or error}") from None
        if engine is None:
            raise ModelError(f"{sidecar.package} cannot load {path}: {log.take()}; {REBUILD}")
        self._runtime = runtime  # must live as long as the engine
        contexts = Contexts(trt, engine, _ends(trt, engine, path), self._device, log)
        self._resources.callback(contexts.close)
        self._frames = _frame_kernels(self._device)
        images = sidecar.min_shape[0], sidecar.max_batch
        network = PlanarNetwork(contexts, self._frames, half=sidecar.precision == "fp16")
        self._tiles = TilesInFlight(self._device, network, images)
        self._resources.callback(self._tiles.close)
        largest = int(np.prod(sidecar.max_shape, dtype=np.int64))
        scratch = int(engine.device_memory_size_v2)
        self.info = replace(info, bytes_per_pixel=-(-scratch // largest) + _STAGING_BYTES)

    def _infer_codes(self, batch: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
        return self._run(normalise(batch)) if self._frames is None else self._run(batch)

    def _close(self) -> None:
        super()._close()
        del self._runtime


def _register_plugin(trt: Any, path: Path, sidecar: Sidecar) -> None:
    from dcdr_deploy.engines.tensorrt import plugin
    from dcdr_deploy.engines.tensorrt.plugin_forms import FORMS

    if sidecar.plugin_version not in FORMS:
        known = " and ".join(FORMS)
        raise ModelError(
            f"{path} holds version {sidecar.plugin_version} of the plugin {sidecar.plugin}, this dcdr-deploy has "
            f"versions {known}; {REBUILD}"
        )
    plugin.register(trt)


def _ends(trt: Any, engine: Any, path: Path) -> tuple[str, str]:
    """Return the names of an engine's input and output.

    Raises:
        ModelError: it has others than one float32 input and one float32 output.
    """
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    outputs = [name for name in names if name not in inputs]
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"{path} has {number_of(len(inputs), 'input')} and {number_of(len(outputs), 'output')}, not one each; "
            f"{REBUILD}"
        )
    for name in names:
        if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
            raise ModelError(f"{path}: {name} is not float32; {REBUILD}")
    return inputs[0], outputs[0]


def _frame_kernels(device: Device) -> FrameKernels | None:
    """Return the kernels that take codes; ``None`` where they cannot be had, which costs time and nothing else."""
    try:
        return load_frame_kernels(device)
    except (MissingDependency, EngineError) as error:
        _logger.warning("pictures are normalised on the processor, which is slower: %s", error)
        return None
