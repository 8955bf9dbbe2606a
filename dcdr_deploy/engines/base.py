"""What all inference backends have in common.

The public methods :meth:`Engine.infer` and :meth:`Engine.infer_codes` check inputs and results, so that no backend has
to. A backend implements ``_infer`` and, if it holds resources, ``_close``. It may also implement ``_infer_codes``, to
normalise on the device, or ``_start_codes``, to compute while the caller does something else.
"""

from __future__ import annotations

import abc
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.passes import FramePasses
from dcdr_deploy.errors import EngineError
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.system import hardware
from dcdr_deploy.system.words import number_of

DEVICE_CPU = "cpu"
DEVICE_CUDA = "cuda"
PRECISIONS = ("auto", "fp32", "fp16")

_logger = logging.getLogger(__name__)


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
        smallest_size: least (height, width) of an input; ``None`` where the size multiple is the only bound.
        largest_size: most (height, width) of an input; ``None`` without a bound.
        group: tiles that the engine computes at once where a call brings more; memory grows with these only. ``None``
            for engines that compute the whole call at once.
        bytes_per_pixel: working memory the backend needs per input pixel, for the automatic tile; ``None`` if unknown.
        device_kind: ``"cpu"`` or ``"cuda"``; decides whether batches pay.
        largest_area: most pixels of an automatic tile; ``None`` for what every library can count.
        checks_results: the engine itself raises NonFiniteError where results hold NaN or infinity.
        overlaps: :meth:`Engine.start_codes` returns before the result is there.
    """

    backend: str
    device: str
    precision: str
    model: Path | None
    metadata: ModelMetadata
    max_batch: int | None = None
    fixed_size: tuple[int, int] | None = None
    smallest_size: tuple[int, int] | None = None
    largest_size: tuple[int, int] | None = None
    group: int | None = None
    bytes_per_pixel: int | None = None
    device_kind: str = DEVICE_CPU
    largest_area: int | None = None
    checks_results: bool = False
    overlaps: bool = False


@dataclass(frozen=True)
class EngineOptions:
    """What a user may ask of any backend.

    Attributes:
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` (the first GPU) or ``"cuda:1"``.
        threads: processor threads, at most as many as this process may run at once (more are cut to that, which is
            logged); ``None`` leaves the choice to the backend.
        precision: ``"fp32"``, ``"fp16"`` or ``"auto"``: what suits the device best. Backends that run files of one
            precision take that of the file, and refuse another (precision.py).

    Raises:
        EngineError: a device of another form, fewer than one thread, or a precision that is not known.
    """

    device: str = "auto"
    threads: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise EngineError(f"precision {self.precision!r} is not known; use one of: {', '.join(PRECISIONS)}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise EngineError(f"device {self.device!r} is not known; use auto, cpu, cuda or cuda:1")
        if self.threads is not None and self.threads < 1:
            raise EngineError(f"threads must be at least 1, not {self.threads}")
        most = hardware.cpu_threads()
        if self.threads is not None and self.threads > most:
            _logger.warning("`threads` %d: this process may run %d at once, and takes those", self.threads, most)
            object.__setattr__(self, "threads", most)

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
        refused: the backend is usable, but not for the model or the wish that it was asked about.
    """

    ok: bool
    reason: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    install: str = ""
    refused: bool = False

    def has(self, kind: str) -> bool:
        """Tell whether a device of this kind (``"cpu"`` or ``"cuda"``) is among the devices."""
        return any(device.partition(":")[0] == kind for device in self.devices)


def normalise(codes: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return codes (N, H, W, 3) as (N, 3, H, W) float32 in [0, 1]; the same numbers as ``Frame.normalised``."""
    count, height, width, channels = codes.shape
    planes = np.empty((count, channels, height, width), np.float32)
    np.copyto(planes, codes.transpose(0, 3, 1, 2), casting="unsafe")
    planes /= np.float32(np.iinfo(codes.dtype).max)
    return planes


class Engine(abc.ABC):
    """A loaded network: a context manager with ``info``, :meth:`infer` and :meth:`infer_codes`."""

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
            NonFiniteError: of engines that check their results: NaN or infinity is among them.
        """
        self._check_open()
        if batch.dtype != np.float32 or batch.ndim != 4 or batch.shape[1] != 3:
            raise EngineError(f"an engine takes float32 (N, 3, H, W), not {batch.dtype} {batch.shape}")
        self._check_tiles(*batch.shape)
        if not np.isfinite(batch).all():
            raise EngineError("the input holds NaN or infinity")
        return self._checked(self._infer(np.ascontiguousarray(batch)), batch.shape)

    def infer_codes(self, batch: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
        """Run the network on a batch of tiles as they lie in a picture: the same numbers as :meth:`infer` of them.

        Args:
            batch: (N, H, W, 3) uint8 or uint16, sRGB-encoded SDR; H and W are multiples of
                ``info.metadata.size_multiple``.

        Returns:
            (N, 3, H, W) float32, linear light, as from :meth:`infer`.

        Raises:
            EngineError: shape or type do not fit, or the backend failed, or the engine was closed before.
            EngineOutOfMemory: the backend ran out of memory.
            NonFiniteError: as from :meth:`infer`.
        """
        return self.start_codes(batch)()

    def start_codes(self, batch: NDArray[np.uint8] | NDArray[np.uint16]) -> Callable[[], NDArray[np.float32]]:
        """Begin what :meth:`infer_codes` does.

        Engines with a device of their own (``info.overlaps``) go on with it while the caller does something else, such
        as begin the next batch; the others are done when this returns.

        Args:
            batch: as for :meth:`infer_codes`; must not change before the result is there.

        Returns:
            What waits for the result and returns it; to be called once, from any thread, before the engine is closed.

        Raises:
            EngineError: as from :meth:`infer_codes`; a failure may also show when the result is waited for.
            EngineOutOfMemory: the backend ran out of memory.
        """
        self._check_open()
        if batch.dtype not in (np.uint8, np.uint16) or batch.ndim != 4 or batch.shape[3] != 3:
            raise EngineError(f"an engine takes uint8 or uint16 codes (N, H, W, 3), not {batch.dtype} {batch.shape}")
        count, height, width, channels = batch.shape
        self._check_tiles(count, channels, height, width)
        codes = cast("NDArray[np.uint8] | NDArray[np.uint16]", np.ascontiguousarray(batch))
        finish = self._start_codes(codes)
        return lambda: self._checked(finish(), (count, channels, height, width))

    def empty_codes(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return an array to fill with codes for :meth:`infer_codes`, in the memory that suits the engine best."""
        return np.empty(shape, dtype)

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError(f"this {self.info.backend} engine has been closed")

    def _check_tiles(self, count: int, channels: int, height: int, width: int) -> None:
        multiple = self.info.metadata.size_multiple
        if min(count, channels, height, width) == 0 or height % multiple or width % multiple:
            raise EngineError(f"height and width must be positive multiples of {multiple}, not {height} x {width}")
        fixed = self.info.fixed_size
        if fixed is not None and fixed != (height, width):
            raise EngineError(f"this model was exported for {fixed[0]} x {fixed[1]} only, not {height} x {width}")
        low, high = self.info.smallest_size or (0, 0), self.info.largest_size or (height, width)
        if not (low[0] <= height <= high[0] and low[1] <= width <= high[1]):
            raise EngineError(
                f"this engine takes {low[0]} x {low[1]} to {high[0]} x {high[1]} pixels, not {height} x {width}"
            )
        if self.info.max_batch is not None and count > self.info.max_batch:
            raise EngineError(f"this engine takes at most {number_of(self.info.max_batch, 'tile')} a call, not {count}")

    def _checked(self, output: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
        if output.shape != shape:
            raise EngineError(f"{self.info.backend} returned shape {output.shape} for an input of shape {shape}")
        return output.astype(np.float32, copy=False)

    @abc.abstractmethod
    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network; the input is contiguous and has been checked."""

    def _infer_codes(self, batch: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
        """Run the network on codes; the input is contiguous and has been checked."""
        return self._infer(normalise(batch))

    def _start_codes(self, batch: NDArray[np.uint8] | NDArray[np.uint16]) -> Callable[[], NDArray[np.float32]]:
        """Begin to run the network on codes; the input is contiguous and has been checked."""
        result = self._infer_codes(batch)
        return lambda: result

    def _close(self) -> None:  # noqa: B027 - most backends have nothing to release
        """Release what the backend holds."""

    def close(self) -> None:
        """Release the engine; it cannot be used afterwards. Closing twice does no harm."""
        if not self._closed:
            self._closed = True
            self._close()

    def rest(self) -> None:  # noqa: B027 - most backends keep nothing worth giving back
        """Give back the working memory of the last call, which the next one takes anew; for pauses, not between tiles.

        Raises:
            EngineError: the engine was closed before, or the backend failed.
        """

    def passes(self) -> FramePasses | None:
        """Return what does whole frames of video on the engine's device; ``None`` where nothing does.

        It holds while the engine is open.
        """
        return None

    def available_memory(self) -> int | None:
        """Return how many bytes the engine's device has left, ``None`` if unknown; for the automatic tile."""
        return hardware.available_memory()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
