"""Which tiles a frame is cut into, and how many go into a call: by wishes, the engine's bounds and the memory."""

from __future__ import annotations

import logging
import math
from typing import Literal

from dcdr_deploy.engines.base import DEVICE_CPU, Engine
from dcdr_deploy.errors import EngineOutOfMemory, InputError
from dcdr_deploy.run import tiling
from dcdr_deploy.run.tiling import TilePlan

SMALLEST_TILE = 64
"""Pixels; halving stops here (or at the model's size multiple, if that is larger)."""

LARGEST_AREA = 12_000_000
"""Pixels of the largest automatic tile, unless an engine takes more. A deformable convolution unfolds 64 channels x 9
taps at half size: 144 values a pixel, which must stay below the 2**31 that several libraries count with."""

MEMORY_SHARE = 0.5
"""Part of the free memory that the automatic tile plans with; the rest is for the frames and for other programs."""

SHARED_PART = 0.5
"""Most of a tile edge that the automatic overlap lets neighbours share: at half, a pixel is computed four times."""

LARGEST_BATCH = 8
"""Tiles in an automatic batch; more do not make a GPU faster."""

_UNKNOWN_BYTES_PER_PIXEL = 4096
_UNKNOWN_MEMORY = 4 << 30

_logger = logging.getLogger(__name__)


class Sizing:
    """Sizes for one engine. What running out of memory has taught holds for all later frames."""

    def __init__(
        self,
        engine: Engine,
        tile: int | Literal["auto"] | None,
        overlap: int | Literal["auto"],
        batch: int | Literal["auto"],
    ) -> None:
        """Take the wishes, as of :class:`~dcdr_deploy.run.runner.Runner`.

        Raises:
            InputError: a value out of range.
        """
        multiple = engine.info.metadata.size_multiple
        for name, value, least in (("tile", tile, multiple), ("overlap", overlap, 0), ("batch", batch, 1)):
            if isinstance(value, int) and value < least:
                raise InputError(f"{name} must be at least {least}, not {value}")
        self._engine = engine
        self._tile, self._overlap, self._batch = tile, overlap, batch
        self._affordable: int | None = None
        self._tile_limit: int | None = None
        self._batch_limit: int | None = None

    def plan(self, height: int, width: int, largest_area: int | None = None) -> TilePlan:
        """Return the tiles for a frame; no automatic tile has more than ``largest_area`` pixels."""
        info = self._engine.info
        if info.fixed_size is not None:
            return self._plan_exact(height, width, info.fixed_size)
        tile = self._automatic_tile(height, width, largest_area) if self._tile == "auto" else self._tile
        for limit in (self._tile_limit, self._engine_limit(height, width)):
            if limit is not None:
                tile = limit if tile is None else min(tile, limit)
        overlap, feather = self._context(tile)
        plan = tiling.plan_tiles(height, width, tile, overlap, info.metadata.size_multiple, feather)
        least = info.smallest_size
        if least is None or all(edge >= low for edge, low in zip(plan.tile_size, least, strict=True)):
            return plan
        return self._plan_exact(height, width, (max(plan.tile_size[0], least[0]), max(plan.tile_size[1], least[1])))

    def _plan_exact(self, height: int, width: int, size: tuple[int, int]) -> TilePlan:
        """Return tiles of exactly this (height, width) for a frame."""
        overlap, feather = self._context(min(size))
        multiple = self._engine.info.metadata.size_multiple
        return tiling.plan_fixed_tiles(height, width, size, overlap, multiple, feather)

    def _engine_limit(self, height: int, width: int) -> int | None:
        """Return the largest tile edge the engine takes, ``None`` if the whole frame is within its bounds."""
        most, multiple = self._engine.info.largest_size, self._engine.info.metadata.size_multiple
        padded = (-(-length // multiple) * multiple for length in (height, width))
        if most is None or all(edge <= high for edge, high in zip(padded, most, strict=True)):
            return None
        return min(most)

    def _context(self, tile: int | None) -> tuple[int, int]:
        """Return (overlap, feather) for a tile; the user's own is kept until lack of memory makes tiles smaller."""
        wanted = self._engine.info.metadata.overlap if self._overlap == "auto" else self._overlap
        if tile is None or (self._overlap != "auto" and self._tile_limit is None):
            return wanted, tiling.FEATHER
        return tiling.context(tile, wanted, SHARED_PART)

    def _automatic_tile(self, height: int, width: int, largest_area: int | None) -> int | None:
        """Return the largest tile edge for the memory at hand, ``None`` if the whole frame fits."""
        multiple = self._engine.info.metadata.size_multiple
        most = self._engine.info.largest_area or LARGEST_AREA
        area = min(self._affordable_pixels(), most, most if largest_area is None else largest_area)
        padded_height, padded_width = (-(-length // multiple) * multiple for length in (height, width))
        if padded_height * padded_width <= area:
            return None
        # A tile of four times the overlap is half overlap; one that a user asked for must have room.
        room = 0 if self._overlap == "auto" else 4 * self._overlap + tiling.FEATHER
        return max(math.isqrt(area) // multiple * multiple, -(-room // multiple) * multiple, self._smallest_tile())

    def _affordable_pixels(self) -> int:
        """Return how many pixels fit in one call; asked once, as an engine keeps what it took for the first frame."""
        if self._affordable is None:
            memory = self._engine.available_memory()
            budget = (_UNKNOWN_MEMORY if memory is None else memory) * MEMORY_SHARE
            self._affordable = int(budget / (self._engine.info.bytes_per_pixel or _UNKNOWN_BYTES_PER_PIXEL))
        return self._affordable

    def batch_size(self, plan: TilePlan) -> int:
        """Return how many tiles go into a call."""
        info = self._engine.info
        limits = [len(plan)]
        if info.max_batch is not None:
            limits.append(info.max_batch)
        if self._batch_limit is not None:
            limits.append(self._batch_limit)
        if self._batch != "auto":
            limits.append(self._batch)
        elif info.device_kind == DEVICE_CPU:
            limits.append(1)  # a tile keeps all cores busy; more only take memory
        elif len(plan) > 1:
            height, width = plan.tile_size
            room = max(self._affordable_pixels() // (height * width), 1)
            # An engine that computes a few at a time copies the next ones meanwhile, in memory it has anyway.
            limits.append(LARGEST_BATCH if info.group is not None and room >= info.group else min(room, LARGEST_BATCH))
        return min(limits)

    def _smallest_tile(self) -> int:
        """Return the least edge of a tile: this module's, or the engine's where it takes none so small."""
        info = self._engine.info
        least, multiple = min(info.smallest_size or (0, 0)), info.metadata.size_multiple
        return -(-max(SMALLEST_TILE, least) // multiple) * multiple

    def shrink(self, plan: TilePlan, batch: int, error: EngineOutOfMemory) -> None:
        """Halve the batch, or else the tile, for the next try.

        Raises:
            EngineOutOfMemory: nothing is left to halve.
        """
        height, width = plan.tile_size
        together = min(batch, self._engine.info.group or batch)
        if together > 1:
            self._batch_limit = together // 2
            _logger.warning("out of memory with %d tiles of %d x %d; trying %d", batch, height, width, together // 2)
            return
        # An edge beyond the limit is one that the engine takes no shorter.
        edge, smallest = min(max(height, width), self._tile_limit or height + width), self._smallest_tile()
        if edge <= smallest or self._engine.info.fixed_size is not None:
            raise EngineOutOfMemory(
                f"{self._engine.info.backend} ran out of memory even with one tile of {height} x {width} pixels; "
                f"free memory or use another device ({error})"
            ) from error
        multiple = self._engine.info.metadata.size_multiple
        self._tile_limit = max(edge // 2 // multiple * multiple, smallest)
        _logger.warning("out of memory with a tile of %d x %d; trying %d", height, width, self._tile_limit)
