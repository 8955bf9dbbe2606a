"""Where tiles lie and how their results are joined: pure functions, no engine and no files.

**Overlap.** ``overlap`` is the context in pixels that an output pixel needs on each side to come out as it would in
the whole frame. A tile's outer ``overlap`` pixels lack that context (unless the frame ends there), so their results are
thrown away, and two neighbours share *twice* the overlap plus a feather::

    tile A  ---------------------------------------|
    tile B                |-----------------------------------------
    shared                | overlap | feather | overlap |
    result  A A A A A A A A A A A A A A  ~  B B B B B B B B B B B B

In the feather the result goes over from A to B along half a cosine. With an overlap that covers the receptive field
both tiles are right there, and the joined ones equal the whole frame. Where tiles are too small for such an overlap
they differ wherever they meet, and a step between them shows in skies that are white all over: then less is thrown away
and more is blended (:func:`context`), where the tile that sees further counts more.

**Tiles.** Along each axis the number of tiles comes first, then the smallest equal size that covers the axis with them,
so that no sliver is left at the end. All tiles of a plan have one size (they fit in one batch) and begin on the size
multiple (the network's down-sampling grid is the same in every tile).

**Borders.** Pixels beyond the frame are its reflection without the edge pixel repeated, as often as needed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError

FEATHER = 16
"""Least pixels over which neighbours are blended; where both are right more would cost and gain nothing."""


@dataclass(frozen=True)
class Tile:
    """One tile in pixels of the padded frame; ``top`` and ``left`` are multiples of the size multiple."""

    row: int
    column: int
    top: int
    left: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"x {self.left}..{self.left + self.width - 1}, y {self.top}..{self.top + self.height - 1}"


@dataclass(frozen=True)
class AxisPlan:
    """The tiles along one axis.

    Attributes:
        length: pixels of the frame.
        size: pixels of every tile, a multiple of the size multiple; may reach beyond the frame.
        origins: first pixel of each tile, ascending; the first is 0.
        overlap: pixels thrown away on each side that has a neighbour.
    """

    length: int
    size: int
    origins: tuple[int, ...]
    overlap: int

    def kept(self, index: int) -> tuple[int, int, int]:
        """Return (start, feather end, stop) of what tile ``index`` contributes, in frame pixels.

        From ``start`` to ``feather end`` it is blended with what the tile before left there; from there to ``stop`` it
        stands alone. For the first tile start and feather end are equal.
        """
        origin = self.origins[index]
        is_last = index == len(self.origins) - 1
        stop = min(origin + self.size - (0 if is_last else self.overlap), self.length)
        if index == 0:
            return 0, 0, stop
        return origin + self.overlap, min(self.origins[index - 1] + self.size - self.overlap, self.length), stop


@dataclass(frozen=True)
class TilePlan:
    """The tiles of a frame, in reading order."""

    rows: AxisPlan
    columns: AxisPlan

    def __len__(self) -> int:
        return len(self.rows.origins) * len(self.columns.origins)

    def __iter__(self) -> Iterator[Tile]:
        for row, top in enumerate(self.rows.origins):
            for column, left in enumerate(self.columns.origins):
                yield Tile(row, column, top, left, *self.tile_size)

    @property
    def tile_size(self) -> tuple[int, int]:
        """(height, width) of every tile in pixels."""
        return self.rows.size, self.columns.size

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frame in pixels, without padding."""
        return self.rows.length, self.columns.length


def plan_tiles(
    height: int, width: int, tile: int | None, overlap: int, multiple: int = 1, feather: int = FEATHER
) -> TilePlan:
    """Lay tiles over a frame.

    Args:
        height: frame height in pixels, at least 1.
        width: frame width in pixels, at least 1.
        tile: largest tile edge in pixels; ``None`` for the whole frame in one.
        overlap: context in pixels on each side of a pixel, see the module's text.
        multiple: tile sizes and origins are multiples of this.
        feather: least pixels over which neighbours are blended, where tiles have room for them.

    Raises:
        InputError: the tile is smaller than the multiple, or has no room for the overlap.
    """
    _check(height, width, overlap, multiple)
    largest = math.inf if tile is None else tile
    rows, columns = (_plan_axis(length, largest, overlap, multiple, feather, None) for length in (height, width))
    return TilePlan(rows, columns)


def plan_fixed_tiles(
    height: int, width: int, size: tuple[int, int], overlap: int, multiple: int = 1, feather: int = FEATHER
) -> TilePlan:
    """Lay tiles of exactly ``size`` = (height, width) over a frame, for models that take no other size.

    Raises:
        InputError: the size is no multiple of ``multiple``, or has no room for the overlap.
    """
    _check(height, width, overlap, multiple)
    if any(edge < 1 or edge % multiple for edge in size):
        raise InputError(f"tiles of {size[0]} x {size[1]} pixels are no multiples of {multiple}")
    rows, columns = (
        _plan_axis(length, edge, overlap, multiple, feather, edge)
        for length, edge in zip((height, width), size, strict=True)
    )
    return TilePlan(rows, columns)


def context(tile: int, wanted: int, share: float) -> tuple[int, int]:
    """Return (overlap, feather) in pixels for a tile edge, so that neighbours share at most a part of it.

    The overlap is the one wanted where there is room. Of a smaller one only that part is thrown away that it is of the
    one wanted, and the rest is blended: the shorter it falls, the wider the feather.

    Args:
        tile: pixels of the edge.
        wanted: context in pixels that the model asks for.
        share: most of the edge that neighbours share, 0 to 1.
    """
    most = max((int(tile * share) - FEATHER) // 2, 0)
    if wanted <= most:
        return wanted, FEATHER
    overlap = most * most // wanted
    return overlap, 2 * (most - overlap) + FEATHER


def _check(height: int, width: int, overlap: int, multiple: int) -> None:
    if min(height, width) < 1:
        raise InputError(f"a frame of {height} x {width} pixels has nothing to tile")
    if overlap < 0 or multiple < 1:
        raise InputError(f"overlap must not be negative ({overlap}), the size multiple at least 1 ({multiple})")


def _plan_axis(length: int, largest: float, overlap: int, multiple: int, feather: int, exact: int | None) -> AxisPlan:
    """Plan one axis; everything is counted in units of ``multiple``, so that sizes and origins are multiples of it."""
    if largest < multiple:
        raise InputError(f"a tile of {largest} pixels is too small: the model needs multiples of {multiple}")
    needed = -(-length // multiple)
    if needed * multiple <= largest:
        return AxisPlan(length, exact or needed * multiple, (0,), overlap)
    most = int(largest) // multiple
    # The feather gives way where the tile has little room beside the overlap: the context is worth more.
    feather = min(feather, max(int(largest) - 2 * overlap, 0) // 2)
    shared = min(-(-(2 * overlap + feather) // multiple), most - 1)
    if shared * multiple < 2 * overlap:
        raise InputError(
            f"an overlap of {overlap} pixels a side leaves nothing of a tile of {int(largest)}; "
            f"use a tile above {2 * overlap + FEATHER + multiple} or a smaller overlap"
        )
    count = -(-(needed - shared) // (most - shared))
    size = most if exact else -(-(needed + (count - 1) * shared) // count)
    span = max(needed - size, 0)
    origins = tuple(index * span // (count - 1) * multiple for index in range(count))
    return AxisPlan(length, size * multiple, origins, overlap)


def reflected_indices(start: int, stop: int, length: int) -> NDArray[np.intp]:
    """Return which of ``length`` pixels stands at each place of ``start``..``stop``, reflected beyond the ends.

    For length 4 the places -2..6 hold 2 1 0 1 2 3 2 1; an axis of one pixel repeats it.
    """
    places = np.arange(start, stop)
    if length == 1:
        return np.zeros_like(places)
    period = 2 * (length - 1)
    places %= period
    return np.minimum(places, period - places)


def cut(pixels: NDArray[np.generic], tile: Tile) -> NDArray[np.generic]:
    """Return the pixels (height, width, 3) of a tile from a frame (H, W, 3); a view where no padding is needed."""
    height, width = pixels.shape[:2]
    bottom, right = tile.top + tile.height, tile.left + tile.width
    part = pixels[tile.top : min(bottom, height), tile.left : min(right, width)]
    if bottom > height:
        part = pixels[reflected_indices(tile.top, bottom, height), tile.left : min(right, width)]
    if right > width:
        # The columns of ``part`` begin at tile.left, but a reflection may reach further left than that.
        columns = reflected_indices(tile.left, right, width)
        rows = reflected_indices(tile.top, bottom, height)
        part = pixels[rows[:, None], columns[None, :]]
    return part


@functools.lru_cache(maxsize=64)
def feather_weights(length: int) -> NDArray[np.float32]:
    """Return (length,) float32 weights of the later tile over a feather: half a cosine from above 0 to below 1."""
    places = (np.arange(length) + 0.5) / max(length, 1)
    weights = (0.5 - 0.5 * np.cos(np.pi * places)).astype(np.float32)
    weights.setflags(write=False)  # shared by all callers
    return weights


def merge(target: NDArray[np.float32], piece: NDArray[np.float32], axis: AxisPlan, index: int, along: int) -> None:
    """Add tile ``index`` of an axis to what the tiles before it left in ``target``.

    Blending is ``old + weight * (new - old)``: where both agree, the result is their value to the last bit, which
    ``weight * new + (1 - weight) * old`` would not give.

    Args:
        target: (H, W, 3) float32; written in place. Along ``along`` it has ``axis.length`` pixels.
        piece: (H, W, 3) float32; the tile's result, ``axis.size`` pixels along ``along``, as many as the target along
            the other axis.
        axis: the plan of the axis ``along``.
        index: number of the tile on that axis; tiles are merged in ascending order.
        along: 0 for rows, 1 for columns.
    """
    start, feathered, stop = axis.kept(index)
    origin = axis.origins[index]
    old, new = _slab(target, start, feathered, along), _slab(piece, start - origin, feathered - origin, along)
    if feathered > start:
        weights = feather_weights(feathered - start).reshape((-1, 1, 1) if along == 0 else (1, -1, 1))
        step = new - old
        step *= weights
        old += step
    _slab(target, feathered, stop, along)[...] = _slab(piece, feathered - origin, stop - origin, along)


def _slab(pixels: NDArray[np.float32], start: int, stop: int, along: int) -> NDArray[np.float32]:
    return pixels[start:stop] if along == 0 else pixels[:, start:stop]
