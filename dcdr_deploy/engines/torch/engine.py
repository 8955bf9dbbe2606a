"""PyTorch: the reference backend, which runs checkpoints as they are, and the fast path for GPUs without TensorRT.

In FP32 it computes with torch's own operators and is what other backends are measured against. In FP16 (CUDA only) the
deformable blocks run in the fused kernel (fused.py), features lie channels-last, and shapes that come back are replayed
as CUDA graphs (graphs.py).

Loading torch takes seconds, so that whether it works is only looked into when asked (``deep``); otherwise the installed
package's version has to do.
"""

from __future__ import annotations

import logging
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
from dcdr_deploy.errors import DcdrError, EngineError, EngineOutOfMemory, MissingDependency
from dcdr_deploy.system import hardware, packages
from dcdr_deploy.system.faults import engine_error, one_line
from dcdr_deploy.system.words import number_of

NAME = "torch"
EXTRA = "export"
FP32, FP16 = "fp32", "fp16"
_MODULES = ("torch", "torchvision")

BYTES_PER_PIXEL = {(DEVICE_CPU, FP32): 4000, (DEVICE_CUDA, FP32): 4000, (DEVICE_CUDA, FP16): 2000}
"""Working memory per input pixel with the ``paper`` preset; estimates on the safe side."""

_logger = logging.getLogger(__name__)


def availability(*, deep: bool = False) -> Availability:
    """Tell whether torch and torchvision are installed; imports them only when ``deep``."""
    missing = [name for name in _MODULES if not packages.installed(name)]
    if missing:
        return Availability(
            ok=False, reason=f"{' and '.join(missing)} not installed", install=packages.install_line(EXTRA)
        )
    versions = packages.versions(_MODULES)
    count, reason = hardware.cuda_device_count(), "not probed"
    if deep:
        try:
            import torch
            import torchvision  # noqa: F401
        except (ImportError, OSError, RuntimeError) as error:
            return Availability(ok=False, reason=f"cannot be imported: {one_line(error)}", versions=versions)
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        reason = "" if count else "no CUDA: this torch finds no GPU it can use"
    gpus = tuple(f"{DEVICE_CUDA}:{index}" for index in range(count))
    return Availability(ok=True, reason=reason, versions=versions, devices=(*gpus, DEVICE_CPU))


def refusal(path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> str:
    """Return why the backend is not the one for a file: never, it takes all of its suffixes."""
    return ""


def load(path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> Engine:
    """Load a checkpoint; on the GPU if torch finds one and the options leave the choice.

    Raises:
        CheckpointError: the checkpoint is unsafe, damaged, or of another architecture.
        MissingDependency: torch is not installed.
        EngineError: CUDA was asked for and torch finds no such GPU, or FP16 was asked for and cannot be had.
    """
    try:
        import torch

        from dcdr_deploy.models import load_checkpoint
    except (ImportError, OSError) as error:
        raise MissingDependency(
            f"torch cannot be imported ({one_line(error)}); {packages.install_line(EXTRA)}"
        ) from error
    count = torch.cuda.device_count() if torch.cuda.is_available() and options.kind != DEVICE_CPU else 0
    if options.kind == DEVICE_CUDA and options.device_index >= count:
        raise EngineError(f"torch finds no GPU {options.device_index} here; see `dcdr-deploy doctor`")
    loaded = load_checkpoint(path)
    kind = DEVICE_CUDA if count else DEVICE_CPU
    precision = choose_precision(loaded.network, path, kind, options)
    return TorchEngine(loaded.network, loaded.metadata, path, kind, options, precision)


def choose_precision(network: Any, path: Path, kind: str, options: EngineOptions) -> str:
    """Return ``"fp16"`` where the fused kernel can run the network and nobody asked for FP32, else ``"fp32"``.

    Raises:
        EngineError: FP16 was asked for, and this device or this network cannot do it.
    """
    if options.precision == FP32:
        return FP32
    problem = "it takes an NVIDIA GPU" if kind != DEVICE_CUDA else _fused_problem(network, options.device_index)
    if problem is None:
        return FP16
    if options.precision == FP16:
        raise EngineError(f"torch cannot run {path} in fp16: {problem}; use `precision` fp32")
    if kind == DEVICE_CUDA:
        _logger.warning("running in fp32: %s", problem)
    return FP32


def _fused_problem(network: Any, device: int) -> str | None:
    """Return why the fused kernel cannot run a network on a GPU; compiles the kernel to find out."""
    try:
        from dcdr_deploy.engines.torch import fused

        problem = fused.obstacle(network)
        if problem is None:
            fused.prepare(device)
    except (DcdrError, ImportError, RuntimeError) as error:  # RuntimeError: torch's own words for a refusing GPU
        return one_line(error)
    return problem


class TorchEngine(Engine):
    """A network in eval mode on one device."""

    def __init__(
        self,
        network: Any,
        metadata: Any,
        path: Path | None,
        kind: str,
        options: EngineOptions,
        precision: str = FP32,
    ) -> None:
        """Take over a network.

        Args:
            network: torch.nn.Module, (N, 3, H, W) -> (N, 3, H, W), float32.
            metadata: its :class:`~dcdr_deploy.modelfile.metadata.ModelMetadata`.
            path: where it came from, for messages.
            kind: ``"cuda"`` or ``"cpu"``.
            options: number of the GPU; threads, which torch knows for the whole process only.
            precision: ``"fp32"``, or ``"fp16"`` where :func:`choose_precision` says so.

        Raises:
            EngineError: the device refused the weights.
        """
        import torch

        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self._torch = torch
        self._device = torch.device(kind, options.device_index) if kind == DEVICE_CUDA else torch.device(kind)
        self._gpu = options.device_index if kind == DEVICE_CUDA else None
        try:
            self._network = network.eval().to(self._device)
            self._forward = self._chosen_forward(precision)
        except RuntimeError as error:
            raise engine_error(NAME, error) from error
        place = (
            f"CPU ({number_of(torch.get_num_threads(), 'thread')})" if self._gpu is None else f"CUDA (GPU {self._gpu})"
        )
        self.info = EngineInfo(
            backend=NAME,
            device=f"{place}, {precision}" if precision == FP16 else place,
            precision=precision,
            model=path,
            metadata=metadata,
            bytes_per_pixel=BYTES_PER_PIXEL[kind, precision],
            device_kind=kind,
        )

    def _chosen_forward(self, precision: str) -> Any:
        if precision == FP16:
            return graphed_fp16(self._network)
        if self._gpu is None and hasattr(self._network, "set_deform_mode"):
            # A third of the time of torchvision's operator, which takes no part of a CPU's vector units.
            self._network.set_deform_mode("gather").to(memory_format=self._torch.channels_last)
            _logger.warning(
                "a checkpoint runs in torch, with deformable convolutions as gathers; `dcdr-deploy export` makes an "
                ".onnx file of it, which CPUs run in two thirds of the time"
            )
        return self._network

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        torch = self._torch
        # A reference must not lose bits: cuDNN would multiply in TF32 by default.
        exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)
        try:
            with torch.inference_mode(), exact:
                output = self._forward(torch.from_numpy(batch).to(self._device))
                result: NDArray[np.float32] = output.to("cpu", torch.float32).numpy()
        except (RuntimeError, MemoryError) as error:
            translated = engine_error(NAME, error)
        except EngineOutOfMemory as error:  # of the kernel's launch, which is no call of torch
            translated = EngineOutOfMemory(str(error))
        else:
            return result
        # Raised out here, without its cause: a traceback would keep the failed call's tensors, and their memory, alive.
        if self._gpu is not None:
            if self.info.precision == FP16:
                self._forward.clear()
            torch.cuda.empty_cache()  # blocks kept for the failed size would be in the way of a smaller one
        raise translated

    def _close(self) -> None:
        del self._network, self._forward

    def available_memory(self) -> int | None:
        """Return the free bytes of the GPU, or of the machine for a network on the CPU."""
        if self._gpu is None:
            return super().available_memory()
        return int(self._torch.cuda.mem_get_info(self._device)[0])


def fp16_forward(network: Any) -> Any:
    """Turn a network into FP16, channels-last, with whole blocks as operators, for the fused kernel.

    Args:
        network: a DCDRUNet; changed in place.

    Returns:
        A function (N, 3, H, W) float32 -> (N, 3, H, W) float32, contiguous.
    """
    import torch

    from dcdr_deploy.models.opaque import make_opaque

    network = make_opaque(network.half().to(memory_format=torch.channels_last))

    def forward(batch: torch.Tensor) -> torch.Tensor:
        picture = batch.to(torch.float16, memory_format=torch.channels_last)
        return network(picture).to(torch.float32, memory_format=torch.contiguous_format)

    return forward


def graphed_fp16(network: Any) -> Any:
    """Return :func:`fp16_forward` of a network on the GPU, with CUDA graphs for shapes that come back."""
    from dcdr_deploy.engines.torch import fused  # noqa: F401 - registers the kernel
    from dcdr_deploy.engines.torch.graphs import CudaRecorder, ShapeGraphs

    return ShapeGraphs(fp16_forward(network), CudaRecorder())
