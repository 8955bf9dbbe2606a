"""Frames in, frames out: pads, tiles, runs an engine, checks and joins its results.

The frame stays on the host; an engine sees one batch of tiles at a time. Beside its input and its output the runner
holds a band of one row of tiles and one batch with its result: below six copies of the output frame in any case.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import Engine
from dcdr_deploy.errors import EngineOutOfMemory, InputError, NonFiniteError
from dcdr_deploy.run import tiling
from dcdr_deploy.run.sizing import Sizing
from dcdr_deploy.run.tiling import Tile, TilePlan
from dcdr_deploy.system.progress import Event, Listener, silent

if TYPE_CHECKING:
    from dcdr_deploy.imaging.frame import Frame

TILES = "tiles"
"""Stage that is told of while a frame is computed."""


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

    def __add__(self, later: RunStatistics) -> RunStatistics:
        """Return what two runs took, one after the other; sizes are those of the later one."""
        return replace(
            later,
            tiles=self.tiles + later.tiles,
            retries=self.retries + later.retries,
            engine_seconds=self.engine_seconds + later.engine_seconds,
            seconds=self.seconds + later.seconds,
        )


def pixels_of(frame: Frame | NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the pixels of a frame, (H, W, 3).

    Raises:
        InputError: another shape or type.
    """
    pixels = frame if isinstance(frame, np.ndarray) else frame.pixels
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InputError(f"a frame is (H, W, 3) uint8 or uint16, not {pixels.dtype} {pixels.shape}")
    return pixels


def no_memory(size: tuple[int, int]) -> EngineOutOfMemory:
    """Return the error for a frame of (H, W) pixels that has no room beside what is made of it."""
    return EngineOutOfMemory(f"there is no memory for a frame of {size[0]} x {size[1]} pixels")


class Runner:
    """Runs an engine over frames of any size.

    :meth:`run` returns linear light in network units: 1.0 is the model's peak, ``engine.info.metadata.peak`` x SDR
    white (8 for the demo weights). Files hold this light times the peak, so that 1.0 is SDR white.

    Attributes:
        engine: the engine; the caller closes it.
        tile: largest tile edge in pixels, ``None`` for whole frames, or ``"auto"``.
        overlap: context in pixels on each side of a tile, or ``"auto"``.
        batch: tiles per call of the engine, or ``"auto"``.
        statistics: tiles, retries and times of the last frame; a new object for every frame.
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
            tile: largest tile edge in pixels; ``None`` for whole frames; ``"auto"`` is the whole frame if it fits in
                half of the free memory, else smaller. Models of one fixed size always run in tiles of that size.
            overlap: context in pixels on each side of a tile, see tiling.py; ``"auto"`` is the value stored in the
                model, limited so that neighbours share at most half a tile.
            batch: tiles per call of the engine; ``"auto"`` is 1 on CPUs, and as many as fit in memory on GPUs.

        Raises:
            InputError: a value out of range.
        """
        self.engine = engine
        self.statistics = RunStatistics()
        self.tile = tile
        self.overlap = overlap
        self.batch = batch
        self._sizing = Sizing(engine, tile, overlap, batch)

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
            listener: is told of every finished tile; of 0 again if a frame starts again with smaller tiles.
            largest_area: most pixels of an automatic tile, even if memory would allow more.

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
            plan = self._sizing.plan(pixels.shape[0], pixels.shape[1], largest_area)
            statistics.tiles, statistics.tile_size = len(plan), plan.tile_size
            statistics.overlap = plan.rows.overlap if len(plan) > 1 else 0
            statistics.batch = self._sizing.batch_size(plan)
            statistics.engine_seconds = 0.0
            try:
                finish = self._start_plan(pixels, plan, statistics, listener)
                break
            except MemoryError:  # the runner's own arrays, which no smaller tile would shrink much
                raise no_memory(pixels.shape[:2]) from None
            except EngineOutOfMemory as error:
                self._sizing.shrink(plan, statistics.batch, error)
                statistics.retries += 1

        def finished() -> NDArray[np.float32]:
            result = finish()
            statistics.seconds = time.perf_counter() - started
            return result

        return finished

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
