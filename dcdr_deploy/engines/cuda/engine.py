"""The backend ``cuda``: DCDR-UNet in our own kernels, compiled for the GPU at hand; neither torch nor TensorRT.

It takes exported ONNX files and, where torch is installed, checkpoints, and computes in FP16 with FP32 sums and FP32
coordinates, whatever the precision of the file. Pictures go up as they lie in memory; results come down as the runner
wants them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
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
from dcdr_deploy.engines.cuda import weights as weight_files
from dcdr_deploy.engines.cuda.memory import Device
from dcdr_deploy.engines.cuda.tiled import TiledEngine, sm_of
from dcdr_deploy.engines.cuda.tiles import CHANNELS, TilesInFlight
from dcdr_deploy.engines.cuda.weights import Weights
from dcdr_deploy.errors import EngineError, MissingDependency
from dcdr_deploy.modelfile.names import ONNX_SUFFIX
from dcdr_deploy.system import hardware, packages

NAME = "cuda"
PRECISION = "fp16"
EXTRA = "cuda-kernels"

OLDEST_SM = 75
"""Turing: the first with tensor cores that multiply the way the kernels do (``mma.m16n8k8``)."""

TILES_TOGETHER = 2
"""Tiles that are computed as one batch: enough to fill the GPU with small tiles, while others are copied."""

LARGEST_AREA = 200_000_000
"""Pixels of the largest tile: the kernels count bytes with 64 bits, so that memory is what bounds it."""

_DISTRIBUTIONS = ("cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-cuda-runtime")
_TYPICAL = (1, 1080, 1920)
_SLOTS = 2


def availability(*, deep: bool = False) -> Availability:
    """Tell whether the kernels can be compiled and run here: packages, driver, and GPUs that are new enough."""
    versions = packages.versions(_DISTRIBUTIONS)
    missing = [name for name in _DISTRIBUTIONS if name not in versions]
    if missing:
        return Availability(
            ok=False,
            reason=f"{' and '.join(missing)} not installed",
            versions=versions,
            install=packages.install_line(EXTRA),
        )
    present = hardware.compute_capabilities()
    if not present:
        return Availability(ok=False, reason="no NVIDIA GPU or driver found", versions=versions)
    problem = _old_driver(versions["nvidia-cuda-nvrtc"])
    fitting = tuple(f"{DEVICE_CUDA}:{number}" for number, sm in enumerate(present) if sm >= OLDEST_SM)
    if not problem and not fitting:
        found = ", ".join(f"SM{sm}" for sm in present)
        problem = f"the GPU is too old ({found}): the kernels take SM{OLDEST_SM} (Turing) or later"
    if problem:
        return Availability(ok=False, reason=problem, versions=versions)
    return Availability(ok=True, reason=f"computes in {PRECISION}", versions=versions, devices=fitting)


def _old_driver(compiler: str) -> str:
    """Return why the driver cannot run what the installed compiler makes; empty if it can, or is not known."""
    supported = hardware.cuda_driver_version()
    major = int(compiler.partition(".")[0])
    if supported is None or supported[0] >= major:
        return ""
    return (
        f"the driver knows CUDA {supported[0]}.{supported[1]}, and the kernels are compiled by CUDA {major}: "
        "update the driver of the GPU"
    )


def refusal(path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> str:
    """Return why the engine is not the one for a model file or for what is asked; empty if it is.

    Of an ONNX file the header alone is read; what a checkpoint holds shows when it is loaded.

    Raises:
        ModelError: the file is damaged.
    """
    if options.precision not in ("auto", PRECISION):
        return f"it computes in {PRECISION} only"
    if path.suffix.lower() != ONNX_SUFFIX:
        return "" if packages.installed("torch") else "checkpoints are read by torch, which is not installed"
    return weight_files.onnx_refusal(path)


def load(path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> Engine:
    """Load a model onto a GPU; compiles the kernels, unless that was done before.

    Raises:
        ModelError: the file is damaged.
        CheckpointError: a checkpoint is unsafe, damaged, or of no known architecture.
        MissingDependency: a package is not installed.
        EngineError: there is no such GPU, it or its driver is too old, the engine does not know the network, or another
            precision than FP16 was asked for.
        EngineOutOfMemory: the GPU has no room for the weights.
    """
    if options.kind == DEVICE_CPU:
        raise EngineError(f"backend {NAME} runs on NVIDIA GPUs only; use `backend` onnxruntime on the CPU")
    problem = refusal(path, options)
    if problem:
        raise EngineError(f"backend {NAME} does not run {path}: {problem}")
    index = _new_enough(options.device_index)
    read = weight_files.read_onnx if path.suffix.lower() == ONNX_SUFFIX else weight_files.read_checkpoint
    return CudaEngine(path, read(path), index)


def _new_enough(index: int) -> int:
    sm = sm_of(index)
    if sm is not None and sm < OLDEST_SM:
        raise EngineError(f"GPU {index} (SM{sm}) is too old: backend {NAME} takes SM{OLDEST_SM} or later; use another")
    return index


def gpu_of_device(device: str) -> int:
    """Return the number of a GPU, in CUDA's counting, on which the kernels can run.

    Args:
        device: as :class:`EngineOptions` has it.

    Raises:
        MissingDependency: a package is not installed.
        EngineError: there is no such GPU, or it or its driver is too old.
    """
    options = EngineOptions(device)
    if options.kind == DEVICE_CPU:
        raise EngineError(f"backend {NAME} has kernels for NVIDIA GPUs only; `device` takes cuda, cuda:1 and so on")
    state = availability()
    if state.install:
        raise MissingDependency(f"backend {NAME} does not run here: {state.reason}; {state.install}")
    if not state.ok:
        raise EngineError(f"backend {NAME} does not run here: {state.reason}; dcdr-deploy doctor shows what does")
    return _new_enough(options.device_index)


class CudaEngine(TiledEngine):
    """A DCDR-UNet on one GPU."""

    def __init__(self, path: Path | None, weights: Weights, device_index: int = 0) -> None:
        """Load a network.

        Args:
            path: where it came from, for messages.
            weights: the network.
            device_index: the GPU in CUDA's counting.

        Raises:
            MissingDependency: a package is not installed.
            EngineOutOfMemory: the GPU has no room for the weights.
            EngineError: the GPU failed.
        """
        from dcdr_deploy.engines.cuda.measures import by_table
        from dcdr_deploy.engines.cuda.network import CudaNetwork, compile_kernels

        with ExitStack() as resources:
            self._device = Device(device_index)
            resources.callback(self._device.close)
            kernels = compile_kernels(self._device)
            self._network = CudaNetwork(self._device, weights, kernels)
            resources.callback(self._network.close)
            self._tiles = TilesInFlight(self._device, self._network, (1, TILES_TOGETHER))
            resources.callback(self._tiles.close)
            pixels = int(np.prod(_TYPICAL))
            measured = "" if kernels.measures == by_table(kernels.measures.sm) else ", kernels measured here"
            copies = _SLOTS * CHANNELS * (np.dtype(np.float32).itemsize + self._network.outgoing.itemsize)
            self.info = EngineInfo(
                backend=NAME,
                device=f"CUDA (GPU {device_index}, {self._device.name}, SM{self._device.sm}), {PRECISION}{measured}",
                precision=PRECISION,
                model=path,
                metadata=weights.metadata,
                group=TILES_TOGETHER,
                bytes_per_pixel=-(-self._network.memory(_TYPICAL) // pixels) + copies,
                device_kind=DEVICE_CUDA,
                largest_area=LARGEST_AREA,
                checks_results=True,
                overlaps=True,
            )
            self._resources = resources.pop_all()

    def _start_codes(self, batch: NDArray[np.uint8] | NDArray[np.uint16]) -> Callable[[], NDArray[np.float32]]:
        self._device.activate()
        return self._tiles.start(batch)

    def empty_codes(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return an array in page-locked memory, which goes up as it is."""
        self._device.activate()
        return self._tiles.empty(shape, dtype)

    def _close(self) -> None:
        super()._close()
        del self._network
