"""PyTorch: the reference backend, which runs checkpoints as they are.

Loading torch takes seconds, so that whether it works is only looked into when asked (``deep``); otherwise the installed
package's version has to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines import hardware, packages
from dcdr_deploy.engines.base import (
    DEFAULT_OPTIONS,
    DEVICE_CPU,
    DEVICE_CUDA,
    Availability,
    Engine,
    EngineInfo,
    EngineOptions,
)
from dcdr_deploy.engines.faults import engine_error, one_line
from dcdr_deploy.errors import EngineError, MissingDependency

NAME = "torch"
INSTALL = 'pip install "dcdr-deploy[export]"'
_MODULES = ("torch", "torchvision")

BYTES_PER_PIXEL = {DEVICE_CPU: 4000, DEVICE_CUDA: 4000}
"""Working memory per input pixel with the ``paper`` preset; an estimate on the safe side."""


def availability(*, deep: bool = False) -> Availability:
    """Tell whether torch and torchvision are installed; imports them only when ``deep``."""
    missing = [name for name in _MODULES if not packages.installed(name)]
    if missing:
        return Availability(ok=False, reason=f"{' and '.join(missing)} not installed", install=INSTALL)
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


def load(path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> Engine:
    """Load a checkpoint; on the GPU if torch finds one and the options leave the choice.

    Raises:
        CheckpointError: the checkpoint is unsafe, damaged, or of another architecture.
        MissingDependency: torch is not installed.
        EngineError: CUDA was asked for and torch finds no such GPU.
    """
    try:
        import torch

        from dcdr_deploy.models import load_checkpoint
    except (ImportError, OSError) as error:
        raise MissingDependency(f"torch cannot be imported ({one_line(error)}); {INSTALL}") from error
    count = torch.cuda.device_count() if torch.cuda.is_available() and options.kind != DEVICE_CPU else 0
    if options.kind == DEVICE_CUDA and options.device_index >= count:
        raise EngineError(f"torch finds no GPU {options.device_index} here; see `dcdr-deploy doctor`")
    loaded = load_checkpoint(path)
    return TorchEngine(loaded.network, loaded.metadata, path, DEVICE_CUDA if count else DEVICE_CPU, options)


class TorchEngine(Engine):
    """A network in eval mode on one device, in FP32."""

    def __init__(self, network: Any, metadata: Any, path: Path | None, kind: str, options: EngineOptions) -> None:
        """Take over a network.

        Args:
            network: torch.nn.Module, (N, 3, H, W) -> (N, 3, H, W), float32.
            metadata: its :class:`~dcdr_deploy.engines.base.ModelMetadata`.
            path: where it came from, for messages.
            kind: ``"cuda"`` or ``"cpu"``.
            options: number of the GPU; threads, which torch knows for the whole process only.

        Raises:
            EngineError: the device refused the weights.
        """
        import torch

        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self._torch = torch
        self._device = torch.device(kind, options.device_index) if kind == DEVICE_CUDA else torch.device(kind)
        try:
            self._network = network.eval().to(self._device)
        except RuntimeError as error:
            raise engine_error(NAME, error) from error
        self._gpu = options.device_index if kind == DEVICE_CUDA else None
        self.info = EngineInfo(
            backend=NAME,
            device=f"CPU ({torch.get_num_threads()} threads)" if self._gpu is None else f"CUDA (GPU {self._gpu})",
            precision="fp32",
            model=path,
            metadata=metadata,
            bytes_per_pixel=BYTES_PER_PIXEL[kind],
            device_kind=kind,
        )

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        torch = self._torch
        # A reference must not lose bits: cuDNN would multiply in TF32 by default.
        exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)
        try:
            with torch.inference_mode(), exact:
                output = self._network(torch.from_numpy(batch).to(self._device))
                result: NDArray[np.float32] = output.to("cpu", torch.float32).numpy()
        except (RuntimeError, MemoryError) as error:
            translated = engine_error(NAME, error)
        else:
            return result
        # Raised out here, without its cause: a traceback would keep the failed call's tensors, and their memory, alive.
        if self._gpu is not None:
            torch.cuda.empty_cache()  # blocks kept for the failed size would be in the way of a smaller one
        raise translated

    def _close(self) -> None:
        del self._network

    def available_memory(self) -> int | None:
        """Return the free bytes of the GPU, or of the machine for a network on the CPU."""
        if self._gpu is None:
            return super().available_memory()
        return int(self._torch.cuda.mem_get_info(self._device)[0])
