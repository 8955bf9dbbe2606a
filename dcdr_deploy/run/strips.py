"""Passes over a full picture, a strip of rows at a time and on all cores: averaging down, and putting the excess on.

Strips without anything clipped only go through a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.frame import CLIPPED_CODE
from dcdr_deploy.run.dials import Dials, turned_gain
from dcdr_deploy.run.enlargement import Enlargement
from dcdr_deploy.run.gain import (
    Codes,
    ExcessField,
    Light,
    Tables,
    WorkingPicture,
    apply_gain,
    gain_of,
    largest_channel,
    smallest_channel,
)
from dcdr_deploy.run.recovery import STOPS_BINS, Recovery, histogram_of_stops
from dcdr_deploy.system.strips import for_strips

SMALLEST_GAIN = np.float32(2**-14)
"""Least gain whose logarithm is taken; only the network's own result at native scale falls below 1."""

Size = tuple[int, int]


def average_down(codes: Codes, tables: Tables, size: Size) -> WorkingPicture:
    """Average a picture down in linear light; every pixel counts by the area that it has in a cell.

    Args:
        codes: (H, W, 3) uint8 or uint16.
        tables: for codes of this kind.
        size: (h, w) of the working picture, at most (H, W).
    """
    height = codes.shape[0]
    sums = np.zeros((*size, 5), np.float64)
    channels = slice(0, 3), slice(3, 4), slice(4, 5)  # light, weight, clipped
    above = int(np.argmax(tables.weight > 0))

    def reduce(start: int, stop: int) -> tuple[int, list[Light]]:
        strip = codes[start:stop]
        parts = [_across(_look_up(tables.light, strip), size[1])]
        largest = largest_channel(strip)
        if largest.max() >= above:
            parts += [_across(_look_up(table, largest), size[1]) for table in (tables.weight, tables.clipped)]
        cells = Cells.of_rows(start, len(strip), height, size[0])
        return cells.first, [cells.added_up(part) for part in parts]

    for first, parts in for_strips(height, reduce):
        for places, part in zip(channels, parts, strict=False):  # a strip without weight has light only
            sums[first : first + len(part), :, places] += part
    whole = np.minimum(sums, 1, out=sums).astype(np.float32)
    return WorkingPicture(*(whole[..., places] for places in channels))


def _look_up(table: Light, codes: Codes) -> Light:
    return np.take(table, codes)


_FEW_ROWS = 8
"""Of a cell: as many are added up by passes over whole rows, which is what numpy's ``reduceat`` adds too, in the same
order, but five times as fast."""


@dataclass(frozen=True)
class Cells:
    """Which cells of a column some rows of a picture lie in, each by its part in them.

    Attributes:
        first: number of the first cell that is reached.
        count: of cells that are.
        own: (n,) for each row its cell, from ``first`` on.
        inside: (n,) the part of a cell that the row has in it.
        beyond: (n,) the part that it has in the next one.
    """

    first: int
    count: int
    own: NDArray[np.intp]
    inside: Light
    beyond: Light

    @classmethod
    def of_rows(cls, start: int, count: int, height: int, cells: int) -> Cells:
        """Return those of ``count`` rows from number ``start`` of ``height`` on; over all rows a cell's parts are 1.

        Args:
            start, count, height: of rows.
            cells: of a column, at most ``height``, so that a row lies in one of them or in two.
        """
        edges = np.arange(start, start + count + 1) * (cells / height)
        own = np.minimum(edges[:-1].astype(np.intp), cells - 1)
        inside = np.minimum(edges[1:], own + 1) - edges[:-1]
        beyond = np.maximum(edges[1:] - (own + 1), 0) * (own + 1 < cells)
        first, last = int(own[0]), int(own[-1]) + bool(beyond[-1] > 0)
        return cls(first, last - first + 1, own - first, inside.astype(np.float32), beyond.astype(np.float32))

    def added_up(self, rows: Light) -> Light:
        """Add rows (n, w, C) up to cells (:attr:`count`, w, C).

        No matrix product: the strips' threads would each call all of BLAS's.
        """
        found = np.zeros((self.count, *rows.shape[1:]), np.float32)
        begins = np.flatnonzero(np.diff(self.own, prepend=-1))
        rows_of_cell = np.diff(begins, append=len(rows))
        parts = rows * self.inside[:, None, None]
        if rows_of_cell.max() > _FEW_ROWS:
            found[self.own[begins]] = np.add.reduceat(parts, begins, axis=0)
        else:
            for number in range(1, int(rows_of_cell.max())):
                there = begins[rows_of_cell > number]
                found[self.own[there]] += parts[there + number]
            found[self.own[begins]] += parts[begins]
        across = np.flatnonzero(self.beyond > 0)  # at most one row for each cell
        found[self.own[across] + 1] += rows[across] * self.beyond[across, None, None]
        return found


def _across(strip: Light, width: int) -> Light:
    """Average (n, W) or (n, W, 3) down to (n, width, 1) or (n, width, 3)."""
    rows = strip.shape[0]
    if strip.shape[1] == width:
        return strip.reshape(rows, width, -1)
    import cv2

    # INTER_AREA weighs by exact overlap where both axes shrink or stay.
    return np.asarray(cv2.resize(strip, (width, rows), interpolation=cv2.INTER_AREA), np.float32).reshape(
        rows, width, -1
    )


@dataclass
class Outcome:
    """What the second pass gives.

    Attributes:
        linear: (H, W, 3) float32 in network units.
        recovery: what was restored, in numbers.
        gain_stops: (H, W, 3) half, log2 of the gain, where it was asked for.
    """

    linear: Light
    recovery: Recovery
    gain_stops: NDArray[np.float16] | None = None


@dataclass(frozen=True)
class SecondPass:
    """Puts an excess onto a picture.

    Attributes:
        codes: (H, W, 3) the picture.
        seen: the same, where clipping is looked for: black where the picture is fully transparent.
        tables: for its codes.
        dials: how much of the excess.
        peak: light of a network value of 1, in units of SDR white.
        keep_gain: whether the gain is wanted too.
    """

    codes: Codes
    seen: Codes
    tables: Tables
    dials: Dials
    peak: float
    keep_gain: bool = False

    def from_field(self, excess: ExcessField) -> Outcome:
        """Take the excess from a working picture's field; pixels with no clipping near keep their light."""
        enlargement = Enlargement(excess.stacked, self._size)
        above = int(np.argmax(self.tables.weight > 0))

        def excess_at(start: int, stop: int) -> tuple[int, int, Light] | None:
            largest = largest_channel(self.seen[start:stop])
            columns = np.flatnonzero((largest >= above).any(axis=0))
            if not columns.size:
                return None
            left, right = int(columns[0]), int(columns[-1]) + 1
            field = enlargement.part(start, stop, left, right)
            weight = _look_up(self.tables.weight, largest[:, left:right])
            weight *= field[..., 4]
            weight /= field[..., 3]
            found = np.empty((*weight.shape, 3), np.float32)
            for channel in range(3):  # a pass over three at once has an inner loop of three
                np.multiply(field[..., channel], weight, out=found[..., channel])
            return left, right, found

        return self._run(np.empty(self.codes.shape, np.float32), excess_at)

    def from_result(self, linear: Light, *, protected: bool) -> Outcome:
        """Take the excess from a network's result for every pixel, (H, W, 3) in network units; overwrites it.

        Args:
            linear: the result.
            protected: leave pixels that are not clipped as they are.
        """
        width = self.codes.shape[1]

        def excess_at(start: int, stop: int) -> tuple[int, int, Light]:
            found = linear[start:stop] * np.float32(self.peak)
            found -= _look_up(self.tables.light, self.codes[start:stop])
            if protected:
                found *= _look_up(self.tables.weight, largest_channel(self.seen[start:stop]))[..., None]
            return 0, width, found

        return self._run(linear, excess_at)

    def recovery_of(self, linear: Light) -> Recovery:
        """Measure a network's result for every pixel, (H, W, 3) in network units, and leave it as it is."""

        def work(start: int, stop: int) -> Recovery:
            light = _look_up(self.tables.light, self.codes[start:stop])
            return measured(self.seen[start:stop], light, linear[start:stop] * np.float32(self.peak))

        return sum(for_strips(self.codes.shape[0], work), Recovery())

    def stops_of(self, linear: Light) -> NDArray[np.float16]:
        """Return log2 of the gain of a network's result for every pixel, (H, W, 3) in network units, left as it is."""
        stops = np.empty(self.codes.shape, np.float16)

        def work(start: int, stop: int) -> None:
            light = _look_up(self.tables.light, self.codes[start:stop])
            stops[start:stop] = _stops(gain_of(light, linear[start:stop] * np.float32(self.peak) - light))

        for _ in for_strips(self.codes.shape[0], work):
            pass
        return stops

    @property
    def _size(self) -> Size:
        return self.codes.shape[0], self.codes.shape[1]

    def _run(self, linear: Light, excess_at: Callable[[int, int], tuple[int, int, Light] | None]) -> Outcome:
        stops = np.zeros(self.codes.shape, np.float16) if self.keep_gain else None
        neutral, factor = self.dials.is_neutral, np.float32(2**self.dials.exposure / self.peak)

        def work(start: int, stop: int) -> Recovery:
            given = excess_at(start, stop)
            light = _look_up(self.tables.light, self.codes[start:stop])
            out = linear[start:stop]
            out[...] = light
            if given is not None:
                left, right, excess = given
                part = light[:, left:right]
                if not neutral or stops is not None:
                    gain = turned_gain(part, excess, self.dials)
                    if stops is not None:
                        stops[start:stop, left:right] = _stops(gain) + self.dials.exposure
                out[:, left:right] = part + excess if neutral else apply_gain(part, gain)
            recovery = measured(self.seen[start:stop], light, out)
            out *= factor
            return recovery

        if stops is not None and self.dials.exposure:
            stops[...] = self.dials.exposure
        return Outcome(linear, sum(for_strips(self.codes.shape[0], work), Recovery()), stops)


def _stops(gain: Light) -> Light:
    return np.asarray(np.log2(np.maximum(gain, SMALLEST_GAIN)), np.float32)


def measured(codes: Codes, light: Light, result: Light) -> Recovery:
    """Return what became of the clipped pixels of a part of a picture.

    Args:
        codes: (n, W, 3).
        light: its linear light.
        result: the restored light, same unit.
    """
    least = math.ceil((CLIPPED_CODE - 0.5) * int(np.iinfo(codes.dtype).max) / 255)
    pixels = codes.shape[0] * codes.shape[1]
    there = np.flatnonzero(largest_channel(codes) >= least)
    if not there.size:
        return Recovery(pixels=pixels)
    # By number: a mask takes three times as long.
    code, before, after = (np.take(part.reshape(-1, 3), there, axis=0) for part in (codes, light, result))
    gains = after / np.maximum(before, 1e-6)
    gains *= np.asarray(code) >= least  # a gain of 0 is less than any
    return Recovery(
        pixels=pixels,
        clipped=there.size,
        whole=int(np.count_nonzero(smallest_channel(code) >= least)),
        stops=histogram_of_stops(largest_channel(gains), STOPS_BINS),
    )
