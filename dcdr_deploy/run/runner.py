"""Frames in, frames out: pads, tiles, runs an engine, checks and joins its results.

The frame stays on the host; an engine sees one batch of tiles at a time. Beside its input and its output the runner
holds a band of one row of tiles and one batch with its result: below six copies of the output frame in any case.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import DEVICE_CPU, Engine
from dcdr_deploy.errors import EngineOutOfMemory, InputError, NonFiniteError
from dcdr_deploy.run import tiling
from dcdr_deploy.run.tiling import Tile, TilePlan
from dcdr_deploy.system.progress import Event, Listener, silent

if TYPE_CHECKING:
    from dcdr_deploy.imaging.frame import Frame

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

TILES = "tiles"
"""Stage that is told of while a frame is computed."""

_UNKNOWN_BYTES_PER_PIXEL = 4096
_UNKNOWN_MEMORY = 4 << 30

_logger = logging.getLogger(__name__)


@dataclass
class RunStatistics:
    """What a frame took.

    Attributes:
        tiles: tiles of the frame.
        tile_size: (height, width) of every tile in pixels.
        overlap: context in pixels on each side of a tile that was thrown away.
        batch: tiles in a call of the engine.
        retries: how often memory ran out and the frame was started again.
        engine_seconds: seconds inside the engine, without those of abandoned tries.
        seconds: seconds of the whole call.
    """

    tiles: int = 0
    tile_size: tuple[int, int] = (0, 0)
    overlap: int = 0
    batch: int = 1
    retries: int = 0
    engine_seconds: float = 0.0
    seconds: float = 0.0


def pixels_of(frame: Frame | NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the pixels of a frame, (H, W, 3).

    Raises:
        InputError: another shape or type.
    """
    pixels = frame if isinstance(frame, np.ndarray) else frame.pixels
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InputError(f"a frame is (H, W, 3) uint8 or uint16, not {pixels.dtype} {pixels.shape}")
    return pixels


def no_memory(pixels: NDArray[Any]) -> EngineOutOfMemory:
    """Return the error for a frame (H, W, 3) that has no room beside what is made of it."""
    return EngineOutOfMemory(f"there is no memory for a frame of {pixels.shape[0]} x {pixels.shape[1]} pixels")


class Runner:
    """Runs an engine over frames of any size.

    What :meth:`run` gives is linear light in network units: 1.0 is the model's peak, which is
    ``engine.info.metadata.peak`` x SDR white (8 for the demo weights). Files hold it times the peak: 1.0 is SDR white.

    Attributes:
        engine: the engine; the caller closes it.
        tile: largest tile edge in pixels, ``None`` for whole frames, or ``"auto"``.
        overlap: context in pixels on each side of a tile, or ``"auto"``.
        batch: tiles in a call, or ``"auto"``.
        statistics: what the last frame took; new for every frame.
    """

    def __init__(
        self,
        engine: Engine,
        tile: int | Literal["auto"] | None = "auto",
        overlap: int | Literal["auto"] = "auto",
        batch: int | Literal["auto"] = "auto",
    ) -> None:
        """Set up.

        Args:
            engine: any engine.
            tile: largest tile edge in pixels; ``None`` for whole frames; ``"auto"`` by the memory at hand: the whole
                frame if it fits in half of it. Models of one fixed size always run in tiles of that size.
            overlap: context in pixels on each side of a tile, see tiling.py; ``"auto"`` takes what the model asks for,
                but at most so much that neighbours share half a tile.
            batch: tiles in a call; ``"auto"`` is 1 on CPUs, and on GPUs what fits in memory.

        Raises:
            InputError: a value out of range.
        """
        for name, value, least in (("tile", tile, 1), ("overlap", overlap, 0), ("batch", batch, 1)):
            if isinstance(value, int) and value < least:
                raise InputError(f"{name} must be at least {least}, not {value}")
        self.engine = engine
        self.statistics = RunStatistics()
        self.tile = tile
        self.overlap = overlap
        self.batch = batch
        self._affordable: int | None = None
        # What running out of memory has taught; holds for all later frames.
        self._tile_limit: int | None = None
        self._batch_limit: int | None = None

    def run(
        self,
        frame: Frame | NDArray[np.uint8] | NDArray[np.uint16],
        listener: Listener = silent,
        *,
        largest_area: int | None = None,
    ) -> NDArray[np.float32]:
        """Turn one SDR frame into linear light.

        Args:
            frame: a Frame or its pixels, (H, W, 3) uint8 or uint16, sRGB-encoded.
            listener: told of every tile that is done; of 0 again where a frame is begun anew with smaller tiles.
            largest_area: pixels of the largest automatic tile, where memory would allow more.

        Returns:
            (H, W, 3) float32, C-contiguous, linear light; 1.0 is ``engine.info.metadata.peak`` x SDR white.

        Raises:
            InputError: the frame has another shape or type, or tile and overlap given do not go together.
            NonFiniteError: the model gave NaN or infinity; the message names the tile.
            EngineOutOfMemory: even the smallest tile does not fit; the message names its size.
            EngineError: the backend failed.
        """
        return self.start(frame, listener, largest_area=largest_area)()

    def start(
        self,
        frame: Frame | NDArray[np.uint8] | NDArray[np.uint16],
        listener: Listener = silent,
        *,
        largest_area: int | None = None,
    ) -> Callable[[], NDArray[np.float32]]:
        """Begin a frame: an engine with a device of its own computes it while the caller begins the next one.

        That is so for frames in one piece; of others the last tiles only may be left to do.

        Args:
            frame: as for :meth:`run`; must not change before the result is there.
            listener: as for :meth:`run`.
            largest_area: as for :meth:`run`.

        Returns:
            What waits for the frame and returns it, (H, W, 3) as from :meth:`run`; to be called once, from any thread,
            while the engine is open.

        Raises:
            InputError, NonFiniteError, EngineOutOfMemory, EngineError: as :meth:`run`, here or when the frame is
                waited for.
        """
        pixels = pixels_of(frame)
        started = time.perf_counter()
        statistics = self.statistics = RunStatistics()
        while True:
            plan = self._plan(pixels.shape[0], pixels.shape[1], largest_area)
            statistics.tiles, statistics.tile_size = len(plan), plan.tile_size
            statistics.overlap = plan.rows.overlap if len(plan) > 1 else 0
            statistics.batch = self._batch_size(plan)
            statistics.engine_seconds = 0.0
            try:
                finish = self._start_plan(pixels, plan, statistics, listener)
                break
            except MemoryError:  # the runner's own arrays, which no smaller tile would shrink much
                raise no_memory(pixels) from None
            except EngineOutOfMemory as error:
                self._shrink(plan, statistics.batch, error)
                statistics.retries += 1

        def finished() -> NDArray[np.float32]:
            result = finish()
            statistics.seconds = time.perf_counter() - started
            return result

        return finished

    def _plan(self, height: int, width: int, largest_area: int | None = None) -> TilePlan:
        meta, fixed = self.engine.info.metadata, self.engine.info.fixed_size
        if fixed is not None:
            overlap = self._bounded_overlap(min(fixed))
            return tiling.plan_fixed_tiles(height, width, fixed, overlap, meta.size_multiple)
        tile = self._automatic_tile(height, width, largest_area) if self.tile == "auto" else self.tile
        for limit in (self._tile_limit, self._engine_limit(height, width)):
            if limit is not None:
                tile = limit if tile is None else min(tile, limit)
        plan = tiling.plan_tiles(height, width, tile, self._bounded_overlap(tile), meta.size_multiple)
        least = self.engine.info.smallest_size
        if least is None or all(edge >= low for edge, low in zip(plan.tile_size, least, strict=True)):
            return plan
        exact = max(plan.tile_size[0], least[0]), max(plan.tile_size[1], least[1])
        return tiling.plan_fixed_tiles(height, width, exact, self._bounded_overlap(min(exact)), meta.size_multiple)

    def _engine_limit(self, height: int, width: int) -> int | None:
        """Return the largest tile edge the engine takes, ``None`` if the whole frame is within its bounds."""
        most, multiple = self.engine.info.largest_size, self.engine.info.metadata.size_multiple
        padded = (-(-length // multiple) * multiple for length in (height, width))
        if most is None or all(edge <= high for edge, high in zip(padded, most, strict=True)):
            return None
        return min(most)

    def _bounded_overlap(self, tile: int | None) -> int:
        """Return the overlap for a tile edge; the user's own is kept until lack of memory makes tiles smaller."""
        wanted = self.engine.info.metadata.overlap if self.overlap == "auto" else self.overlap
        if tile is None or (self.overlap != "auto" and self._tile_limit is None):
            return wanted
        return min(wanted, tiling.largest_overlap(tile, SHARED_PART))

    def _automatic_tile(self, height: int, width: int, largest_area: int | None) -> int | None:
        """Return the largest tile edge for the memory at hand, ``None`` if the whole frame fits."""
        multiple = self.engine.info.metadata.size_multiple
        most = self.engine.info.largest_area or LARGEST_AREA
        area = min(self._affordable_pixels(), most, most if largest_area is None else largest_area)
        padded_height, padded_width = (-(-length // multiple) * multiple for length in (height, width))
        if padded_height * padded_width <= area:
            return None
        # A tile of four times the overlap is half overlap; one that a user asked for must have room.
        room = 0 if self.overlap == "auto" else 4 * self.overlap + tiling.FEATHER
        return max(math.isqrt(area) // multiple * multiple, -(-room // multiple) * multiple, self._smallest_tile())

    def _affordable_pixels(self) -> int:
        """Return how many pixels fit in one call; asked once, as an engine keeps what it took for the first frame."""
        if self._affordable is None:
            memory = self.engine.available_memory()
            budget = (_UNKNOWN_MEMORY if memory is None else memory) * MEMORY_SHARE
            self._affordable = int(budget / (self.engine.info.bytes_per_pixel or _UNKNOWN_BYTES_PER_PIXEL))
        return self._affordable

    def _batch_size(self, plan: TilePlan) -> int:
        info = self.engine.info
        limits = [len(plan)]
        if info.max_batch is not None:
            limits.append(info.max_batch)
        if self._batch_limit is not None:
            limits.append(self._batch_limit)
        if self.batch != "auto":
            limits.append(self.batch)
        elif info.device_kind == DEVICE_CPU:
            limits.append(1)  # a tile keeps all cores busy; more only take memory
        elif len(plan) > 1:
            height, width = plan.tile_size
            room = max(self._affordable_pixels() // (height * width), 1)
            # An engine that computes a few at a time copies the next ones meanwhile, in memory it has anyway.
            limits.append(LARGEST_BATCH if info.group is not None and room >= info.group else min(room, LARGEST_BATCH))
        return min(limits)

    def _smallest_tile(self) -> int:
        multiple = self.engine.info.metadata.size_multiple
        return -(-SMALLEST_TILE // multiple) * multiple

    def _shrink(self, plan: TilePlan, batch: int, error: EngineOutOfMemory) -> None:
        """Halve the batch, or else the tile, for the next try.

        Raises:
            EngineOutOfMemory: nothing is left to halve.
        """
        height, width = plan.tile_size
        together = min(batch, self.engine.info.group or batch)
        if together > 1:
            self._batch_limit = together // 2
            _logger.warning("out of memory with %d tiles of %d x %d; trying %d", batch, height, width, together // 2)
            return
        edge, smallest = max(height, width), self._smallest_tile()
        if edge <= smallest or self.engine.info.fixed_size is not None:
            raise EngineOutOfMemory(
                f"{self.engine.info.backend} ran out of memory even with one tile of {height} x {width} pixels; "
                f"free memory or use another device ({error})"
            ) from error
        multiple = self.engine.info.metadata.size_multiple
        self._tile_limit = max(edge // 2 // multiple * multiple, smallest)
        _logger.warning("out of memory with a tile of %d x %d; trying %d", height, width, self._tile_limit)

    def _start_plan(
        self,
        pixels: NDArray[np.uint8] | NDArray[np.uint16],
        plan: TilePlan,
        statistics: RunStatistics,
        listener: Listener,
    ) -> Callable[[], NDArray[np.float32]]:
        listener(Event(TILES, 0, len(plan)))
        if len(plan) > 1:
            result = self._run_plan(pixels, plan, statistics, listener)
            return lambda: result
        finish = self._start_batch(pixels, plan, list(plan), statistics)
        height, width = plan.frame_size

        def whole() -> NDArray[np.float32]:
            ((_, output),) = finish()
            listener(Event(TILES, 1, 1))
            return np.ascontiguousarray(output.transpose(1, 2, 0)[:height, :width])

        return whole

    def _run_plan(
        self,
        pixels: NDArray[np.uint8] | NDArray[np.uint16],
        plan: TilePlan,
        statistics: RunStatistics,
        listener: Listener,
    ) -> NDArray[np.float32]:
        """Run all tiles: along a row of tiles into a band, and the full band into the frame."""
        height, width = plan.frame_size
        result = np.empty((height, width, 3), np.float32)
        # A single row of tiles that ends with the frame needs no band of its own.
        band = np.empty((plan.rows.size, width, 3), np.float32) if len(plan.rows.origins) > 1 else result
        last_column = len(plan.columns.origins) - 1
        for done, (tile, output) in enumerate(self._outputs(pixels, plan, statistics), start=1):
            piece = output.transpose(1, 2, 0)[: band.shape[0]]
            tiling.merge(band, piece, plan.columns, tile.column, along=1)
            if tile.column == last_column and band is not result:
                tiling.merge(result, band, plan.rows, tile.row, along=0)
            listener(Event(TILES, done, len(plan)))
        return result

    def _outputs(
        self, pixels: NDArray[np.uint8] | NDArray[np.uint16], plan: TilePlan, statistics: RunStatistics
    ) -> Iterator[tuple[Tile, NDArray[np.float32]]]:
        """Yield every tile with the engine's checked result, (3, h, w).

        With an engine that goes on by itself, a batch is begun before the results of the one before are joined.
        """
        tiles = iter(plan)
        ahead = 1 if self.engine.info.overlaps else 0
        begun: deque[Callable[[], list[tuple[Tile, NDArray[np.float32]]]]] = deque()
        while group := list(islice(tiles, statistics.batch)):
            begun.append(self._start_batch(pixels, plan, group, statistics))
            if len(begun) > ahead:
                yield from begun.popleft()()
        for finish in begun:
            yield from finish()

    def _start_batch(
        self,
        pixels: NDArray[np.uint8] | NDArray[np.uint16],
        plan: TilePlan,
        group: list[Tile],
        statistics: RunStatistics,
    ) -> Callable[[], list[tuple[Tile, NDArray[np.float32]]]]:
        """Begin a batch of tiles; what is returned waits for it and gives every tile with its checked result."""
        batch = self.engine.empty_codes((len(group), *plan.tile_size, 3), pixels.dtype)
        for place, tile in zip(batch, group, strict=True):
            place[...] = tiling.cut(pixels, tile)
        started = time.perf_counter()
        finish = self.engine.start_codes(batch)
        statistics.engine_seconds += time.perf_counter() - started

        def checked() -> list[tuple[Tile, NDArray[np.float32]]]:
            started = time.perf_counter()
            try:
                outputs = finish()
            except NonFiniteError as error:
                raise self._not_finite(group[error.tile or 0]) from error
            statistics.engine_seconds += time.perf_counter() - started
            for tile, output in zip(group, outputs, strict=True):
                if not (self.engine.info.checks_results or _all_finite(output)):
                    raise self._not_finite(tile)
            return list(zip(group, outputs, strict=True))

        return checked

    def _not_finite(self, tile: Tile) -> NonFiniteError:
        info = self.engine.info
        return NonFiniteError(
            f"{info.metadata.name} gave NaN or infinity in the tile at {tile}"
            + (f" ({info.model})" if info.model else "")
            + "; an FP16 model may need FP32, see `dcdr-deploy export`"
        )


def _all_finite(values: NDArray[np.float32]) -> bool:
    """Tell whether there is neither NaN nor infinity; twice as fast as looking at each where there is none."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = values.sum()
    # An infinite sum of finite numbers is possible, a finite sum of others is not.
    return bool(np.isfinite(total)) or bool(np.isfinite(values).all())
