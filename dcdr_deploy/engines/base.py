"""What every inference backend has in common.

The public method :meth:`Engine.infer` checks what goes in and what comes out; a backend implements ``_infer`` and
``_close`` only. The pattern follows the idea that the checks belong to the interface, not to each backend.
"""

from __future__ import annotations

import abc
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines import hardware
from dcdr_deploy.errors import EngineError

DEVICE_CPU = "cpu"
DEVICE_CUDA = "cuda"


@dataclass(frozen=True)
class ModelMetadata:
    """What a runner has to know of a network; travels inside the ONNX file and in an engine's sidecar.

    Attributes:
        peak: linear value of a network output of 1.0, in units of SDR diffuse white (> 0).
        size_multiple: height and width of an input must be multiples of this.
        overlap: context in pixels that an output pixel needs on each side, from the receptive field and the offsets
            measured on real pictures with these weights. Neighbouring tiles share at least twice as much (tiling.py).
        name: what the model calls itself, for logs.
        extra: everything else that was stored, by short name: ``"architecture"`` and ``"training"`` (JSON),
            ``"weights_sha256"``, ``"tool_version"`` (see metadata.py).
    """

    peak: float = 1.0
    size_multiple: int = 4
    overlap: int = 84
    name: str = "DCDR-UNet"
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineInfo:
    """What an engine says of itself.

    Attributes:
        backend: registry name, e.g. ``"onnxruntime"``.
        device: where it runs, in words, e.g. ``"CPU (2 threads)"``.
        precision: precision of the arithmetic, e.g. ``"fp32"``.
        model: path of the model file, ``None`` for engines built in memory.
        metadata: the network's :class:`ModelMetadata`.
        max_batch: most tiles that one call takes; ``None`` where any number goes.
        fixed_size: (height, width) that every input must have; ``None`` for dynamic models.
        bytes_per_pixel: working memory the backend needs per input pixel, for the automatic tile; ``None`` if unknown.
        device_kind: ``"cpu"`` or ``"cuda"``; decides whether batches pay.
    """

    backend: str
    device: str
    precision: str
    model: Path | None
    metadata: ModelMetadata
    max_batch: int | None = None
    fixed_size: tuple[int, int] | None = None
    bytes_per_pixel: int | None = None
    device_kind: str = DEVICE_CPU


@dataclass(frozen=True)
class EngineOptions:
    """What a user may ask of any backend.

    Attributes:
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` (the first GPU) or ``"cuda:1"``.
        threads: processor threads; ``None`` leaves the choice to the backend.

    Raises:
        EngineError: a device of another form, or fewer than one thread.
    """

    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise EngineError(f"device {self.device!r} is not known; use auto, cpu, cuda or cuda:1")
        if self.threads is not None and self.threads < 1:
            raise EngineError(f"threads must be at least 1, not {self.threads}")

    @property
    def kind(self) -> str | None:
        """``"cpu"`` or ``"cuda"``; ``None`` where the choice is left open."""
        return None if self.device == "auto" else self.device.partition(":")[0]

    @property
    def device_index(self) -> int:
        """Number of the GPU in CUDA's counting; 0 unless the device names another."""
        return int(self.device.partition(":")[2] or 0)


DEFAULT_OPTIONS = EngineOptions()


@dataclass(frozen=True)
class Availability:
    """Whether a backend can be used here, in the words that ``dcdr-deploy doctor`` prints.

    Attributes:
        ok: the backend can be loaded.
        reason: why not; or, of a usable backend, what is worth knowing (may be empty).
        versions: versions of the packages behind it, by distribution name.
        devices: what it can run on, best first: ``"cpu"``, ``"cuda:0"``, ...
        install: the command that installs what is missing; empty where nothing is.
    """

    ok: bool
    reason: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    install: str = ""

    def has(self, kind: str) -> bool:
        """Tell whether a device of this kind (``"cpu"`` or ``"cuda"``) is among the devices."""
        return any(device.partition(":")[0] == kind for device in self.devices)


class Engine(abc.ABC):
    """A loaded network: a context manager with ``info`` and :meth:`infer`."""

    info: EngineInfo
    _closed = False

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on a batch of tiles.

        Args:
            batch: (N, 3, H, W) float32, sRGB-encoded SDR in [0, 1]; H and W are multiples of
                ``info.metadata.size_multiple``.

        Returns:
            (N, 3, H, W) float32, linear light; 1.0 is ``info.metadata.peak`` x SDR white. Values may leave [0, 1].

        Raises:
            EngineError: shape or type do not fit, or the input holds NaN or infinity, or the backend failed, or the
                engine was closed before.
            EngineOutOfMemory: the backend ran out of memory.
        """
        if self._closed:
            raise EngineError(f"this {self.info.backend} engine has been closed")
        self._check_input(batch)
        output = self._infer(np.ascontiguousarray(batch))
        if output.shape != batch.shape:
            raise EngineError(f"{self.info.backend} returned shape {output.shape} for an input of shape {batch.shape}")
        return output.astype(np.float32, copy=False)

    def _check_input(self, batch: NDArray[np.float32]) -> None:
        multiple = self.info.metadata.size_multiple
        if batch.dtype != np.float32 or batch.ndim != 4 or batch.shape[1] != 3:
            raise EngineError(f"an engine takes float32 (N, 3, H, W), not {batch.dtype} {batch.shape}")
        height, width = batch.shape[2:]
        if min(batch.shape) == 0 or height % multiple or width % multiple:
            raise EngineError(f"height and width must be positive multiples of {multiple}, not {height} x {width}")
        fixed = self.info.fixed_size
        if fixed is not None and fixed != (height, width):
            raise EngineError(f"this model was exported for {fixed[0]} x {fixed[1]} only, not {height} x {width}")
        if self.info.max_batch is not None and batch.shape[0] > self.info.max_batch:
            raise EngineError(f"this engine takes at most {self.info.max_batch} tiles a call, not {batch.shape[0]}")
        if not np.isfinite(batch).all():
            raise EngineError("the input holds NaN or infinity")

    @abc.abstractmethod
    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network; the input is contiguous and has been checked."""

    def _close(self) -> None:  # noqa: B027 - most backends have nothing to release
        """Release what the backend holds."""

    def close(self) -> None:
        """Release the engine; it cannot be used afterwards. Closing twice does no harm."""
        if not self._closed:
            self._closed = True
            self._close()

    def available_memory(self) -> int | None:
        """Return how many bytes the engine's device has left, ``None`` if unknown; for the automatic tile."""
        return hardware.available_memory()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def describe(self) -> dict[str, Any]:
        """Return ``info`` as plain data for ``--json``."""
        meta = self.info.metadata
        return {
            "backend": self.info.backend,
            "device": self.info.device,
            "device_kind": self.info.device_kind,
            "precision": self.info.precision,
            "model": None if self.info.model is None else str(self.info.model),
            "peak": meta.peak,
            "size_multiple": meta.size_multiple,
            "overlap": meta.overlap,
        }
