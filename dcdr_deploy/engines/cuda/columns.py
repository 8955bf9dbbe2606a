"""The kernels in ``columns.cu``: what a deformable convolution's training is made of besides matrix products.

The kernels are loaded once for each device; afterwards a call does nothing but launch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dcdr_deploy.engines.cuda.driver import Kernel, Library
from dcdr_deploy.engines.cuda.loaded import MOST_PIXELS, DeviceKernels

SOURCE = "columns"
"""Name of the source in ``compiler.py``."""

CHANNEL_MULTIPLE = 8
ALIGNMENT = 16
"""Bytes; a lane takes eight channels at a time."""

FEATURE_TYPES = {"float16": "half", "bfloat16": "bfloat", "float32": "float"}
"""Types of features, and the ends of the kernels' names."""

_THREADS = 256
_PIXELS_A_BLOCK = _THREADS // 8
_COLUMNS_TYPES = "pppiiii"
_SPREAD_TYPES = "pppppiiii"
_TURN_TYPES = "ppppiiii"

SCATTER_CHANNELS = 64
_SCATTER_TYPES = "pppii"
_SCATTER_THREADS = 128
_TILE = 8
_SCATTER_SHARED = (14 * 14 + 1) * SCATTER_CHANNELS * 4 + 16 * 9 * 4 * 8
"""Bytes: sums of a window around a tile, and what the samples of 16 pixels add to."""


@dataclass(frozen=True)
class Features:
    """A map of features (N, H, W, channels) that lies on the device.

    Attributes:
        dtype: name of its type, a key of :data:`FEATURE_TYPES`.
        batch: images.
        height: rows.
        width: columns.
        channels: a multiple of :data:`CHANNEL_MULTIPLE`.

    Raises:
        ValueError: a map that the kernels cannot take.
    """

    dtype: str
    batch: int
    height: int
    width: int
    channels: int

    def __post_init__(self) -> None:
        if self.dtype not in FEATURE_TYPES:
            raise ValueError(f"features cannot be {self.dtype}, only {', '.join(FEATURE_TYPES)}")
        if min(self.batch, self.height, self.width) < 1 or self.pixels > MOST_PIXELS:
            raise ValueError(f"features cannot be {self.batch} x {self.height} x {self.width} pixels")
        if self.channels < 1 or self.channels % CHANNEL_MULTIPLE:
            raise ValueError(f"features cannot have {self.channels} channels: give a multiple of {CHANNEL_MULTIPLE}")

    @property
    def pixels(self) -> int:
        """Pixels of all images."""
        return self.batch * self.height * self.width

    @property
    def size(self) -> tuple[int, int, int, int]:
        """What the kernels are told: pixels, height, width, channels."""
        return self.pixels, self.height, self.width, self.channels


@dataclass(frozen=True)
class _Loaded:
    """The kernels of one type of features on one device."""

    columns: Kernel
    spread: Kernel
    scatter: Kernel
    turn: Kernel


class ColumnKernels(DeviceKernels[dict[str, _Loaded]]):
    """The kernels of ``columns.cu``, loaded for whichever device is current when they are launched.

    Args:
        cubins: compiled ``columns.cu`` by SM, at least one.
        driver: stands in for ``cuda.bindings.driver`` in tests.
        tiled: sum the gradient of features in shared memory where that can be done.
    """

    def __init__(self, cubins: Mapping[int, bytes], driver: Any = None, tiled: bool = True) -> None:
        super().__init__(cubins, driver)
        self.tiled = tiled

    def columns(self, features: Features, x: int, offset: int, columns: int, stream: int) -> None:
        """Queue the blending of all taps; pointers are addresses on the device.

        Args:
            features: what ``x`` is.
            x: (N, H, W, C), aligned to :data:`ALIGNMENT`.
            offset: FP32 (N, H, W, 18), (y, x) interleaved per tap.
            columns: receives (N, H, W, 9, C) in the type of the features, aligned likewise.
            stream: CUDA stream, as a number.

        Raises:
            MissingDependency, EngineError: as :meth:`prepare`, or the driver refuses.
        """
        kernel = self._current()[features.dtype].columns
        kernel.launch(_blocks(features), stream, (x, offset, columns, *features.size))

    def spread(
        self, features: Features, x: int, offset: int, columns: int, grad_x: int, grad_offset: int, stream: int
    ) -> None:
        """Queue the way back: the gradient of the columns becomes gradients of features and offsets.

        Args:
            features: what ``x`` is.
            x: as in :meth:`columns`.
            offset: as in :meth:`columns`.
            columns: the gradient of the columns, replaced by the columns.
            grad_x: FP32 (N, H, W, C), to which the gradient is added, aligned to :data:`ALIGNMENT`.
            grad_offset: receives FP32 (N, H, W, 18).
            stream: CUDA stream, as a number.

        Raises:
            MissingDependency, EngineError: as :meth:`prepare`, or the driver refuses.
        """
        kernels, blocks = self._current()[features.dtype], _blocks(features)
        if self.tiled and features.channels == SCATTER_CHANNELS:
            tiles = features.batch * -(-features.height // _TILE) * -(-features.width // _TILE)
            kernels.scatter.launch(tiles, stream, (columns, offset, grad_x, features.height, features.width))
            kernels.turn.launch(blocks, stream, (x, offset, columns, grad_offset, *features.size))
        else:
            kernels.spread.launch(blocks, stream, (x, offset, columns, grad_x, grad_offset, *features.size))

    def _load(self, library: Library, sm: int, driver: Any, device: Any) -> dict[str, _Loaded]:
        def load(name: str) -> _Loaded:
            return _Loaded(
                library.kernel(f"columns_{name}", _COLUMNS_TYPES, _THREADS),
                library.kernel(f"spread_{name}", _SPREAD_TYPES, _THREADS),
                library.kernel(f"scatter_{name}", _SCATTER_TYPES, _SCATTER_THREADS, _SCATTER_SHARED, device),
                library.kernel(f"turn_{name}", _TURN_TYPES, _THREADS),
            )

        return {dtype: load(name) for dtype, name in FEATURE_TYPES.items()}


def _blocks(features: Features) -> int:
    return -(-features.pixels // _PIXELS_A_BLOCK)
