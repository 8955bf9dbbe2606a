"""Passes over a full picture, a strip of rows at a time and on all cores: averaging down, and putting the excess on.

Strips without anything clipped only go through a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.lookup import look_up_codes
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
    least_clipped,
    smallest_channel,
)
from dcdr_deploy.run.recovery import STOPS_BINS, Recovery, histogram_of_stops
from dcdr_deploy.system.strips import Scratch, for_strips

SMALLEST_GAIN = np.float32(2**-14)
"""Least gain whose logarithm is taken; only the network's own result at native scale falls below 1."""

Size = tuple[int, int]
Box = tuple[slice, slice]
"""Rows and columns of a strip."""


def average_down(codes: Codes, tables: Tables, size: Size) -> WorkingPicture:
    """Average a picture down in linear light; every pixel counts by the area that it has in a cell.

    Args:
        codes: (H, W, 3) uint8 or uint16.
        tables: for codes of this kind.
        size: (h, w) of the working picture, at most (H, W).
    """
    height, width = codes.shape[:2]
    light = np.empty((height, size[1], 3), np.float32)
    marks = np.zeros((height, size[1], 2), np.float32)
    pairs = np.stack([tables.weight, tables.clipped], axis=-1).view(np.float64)[:, 0]  # both by one look
    above, scratch = _first_above(tables.weight), Scratch()

    def narrow(start: int, stop: int) -> None:
        strip = codes[start:stop]
        _average(look_up_codes(tables.light, strip, scratch.array("light", strip.shape, np.float32)), light[start:stop])
        largest = _largest(strip, scratch)
        if largest.max() >= above:
            both = look_up_codes(pairs, largest, scratch.array("pairs", largest.shape, np.float64))
            _average(both.view(np.float32).reshape(stop - start, width, 2), marks[start:stop])

    for _ in for_strips(height, narrow):
        pass
    light, marks = (_average(part, np.empty((*size, part.shape[2]), np.float32)) for part in (light, marks))
    return WorkingPicture(*(np.minimum(part, 1) for part in (light, marks[..., :1], marks[..., 1:])))


def _average(picture: Light, out: Light) -> Light:
    """Average (n, m, C) down to the size of ``out``, by the exact areas of its cells."""
    import cv2

    cv2.resize(picture, out.shape[1::-1], out, interpolation=cv2.INTER_AREA)
    return out


def _first_above(weight: Light) -> int:
    """Return the first code that is clipped at all."""
    return int(np.argmax(weight > 0))


def _largest(strip: Codes, scratch: Scratch) -> Codes:
    """Return the largest channel of each pixel, (n, W, 3) -> (n, W)."""
    import cv2

    planes = scratch.array("channels", (3, *strip.shape[:2]), strip.dtype)
    cv2.split(strip, list(planes))
    largest, second, third = planes
    return cv2.max(cv2.max(largest, second, largest), third, largest)


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
        weighted, certainty, near = (
            Enlargement(part, self._size) for part in (excess.weighted, excess.certainty, excess.near)
        )
        above = _first_above(self.tables.weight)

        def excess_at(start: int, stop: int, largest: Codes) -> tuple[Box, Light] | None:
            import cv2

            left, top, width, height = cv2.boundingRect((largest >= above).view(np.uint8))
            if not width:
                return None
            box = slice(top, top + height), slice(left, left + width)
            place = start + top, start + top + height, left, left + width
            weight = look_up_codes(self.tables.weight, largest[box])[..., None]
            weight *= near.part(*place)
            weight /= certainty.part(*place)
            found = weighted.part(*place)
            found *= cv2.merge([weight] * 3)  # an inner loop of three takes longer
            return box, found

        return self._run(np.empty(self.codes.shape, np.float32), excess_at)

    def from_result(self, linear: Light, *, protected: bool) -> Outcome:
        """Take the excess from a network's result for every pixel, (H, W, 3) in network units; overwrites it.

        Args:
            linear: the result.
            protected: leave pixels that are not clipped as they are.
        """

        def excess_at(start: int, stop: int, largest: Codes) -> tuple[Box, Light]:
            found = linear[start:stop] * np.float32(self.peak)
            found -= look_up_codes(self.tables.light, self.codes[start:stop])
            if protected:
                found *= look_up_codes(self.tables.weight, largest)[..., None]
            return (slice(None), slice(None)), found

        return self._run(linear, excess_at)

    def recovery_of(self, linear: Light) -> Recovery:
        """Measure a network's result for every pixel, (H, W, 3) in network units, and leave it as it is."""
        table, scratch = self.tables.light * np.float32(1 / self.peak), Scratch()

        def work(start: int, stop: int) -> Recovery:
            seen = self.seen[start:stop]
            return measured(seen, _largest(seen, scratch), table, linear[start:stop])

        return sum(for_strips(self.codes.shape[0], work), Recovery())

    def stops_of(self, linear: Light) -> NDArray[np.float16]:
        """Return log2 of the gain of a network's result for every pixel, (H, W, 3) in network units, left as it is."""
        stops = np.empty(self.codes.shape, np.float16)

        def work(start: int, stop: int) -> None:
            light = look_up_codes(self.tables.light, self.codes[start:stop])
            stops[start:stop] = _stops(gain_of(light, linear[start:stop] * np.float32(self.peak) - light))

        for _ in for_strips(self.codes.shape[0], work):
            pass
        return stops

    @property
    def _size(self) -> Size:
        return self.codes.shape[0], self.codes.shape[1]

    def _run(self, linear: Light, excess_at: Callable[[int, int, Codes], tuple[Box, Light] | None]) -> Outcome:
        """Put an excess on, a strip at a time.

        Args:
            linear: where the light goes, (H, W, 3) in network units.
            excess_at: takes a strip's first row, that after its last, and the largest channels of its pixels; returns
                where in the strip there is an excess and how much, in units of SDR white, and may look at ``linear``.
        """
        stops = np.zeros(self.codes.shape, np.float16) if self.keep_gain else None
        neutral, factor = self.dials.is_neutral, np.float32(2**self.dials.exposure / self.peak)
        table, scratch = self.tables.light * factor, Scratch()

        def work(start: int, stop: int) -> Recovery:
            codes, seen = self.codes[start:stop], self.seen[start:stop]
            largest = _largest(seen, scratch)
            given = excess_at(start, stop, largest)
            out = look_up_codes(table, codes, linear[start:stop])
            if given is not None:
                box, excess = given
                if not neutral or stops is not None:
                    light = look_up_codes(self.tables.light, codes[box])
                    gain = turned_gain(light, excess, self.dials)
                    if stops is not None:
                        stops[start:stop][box] = _stops(gain) + self.dials.exposure
                if neutral:
                    excess *= factor
                    out[box] += excess
                else:
                    out[box] = apply_gain(light, gain) * factor
            return measured(seen, largest, table, out)

        if stops is not None and self.dials.exposure:
            stops[...] = self.dials.exposure
        return Outcome(linear, sum(for_strips(self.codes.shape[0], work), Recovery()), stops)


def _stops(gain: Light) -> Light:
    return np.asarray(np.log2(np.maximum(gain, SMALLEST_GAIN)), np.float32)


def measured(codes: Codes, largest: Codes, table: Light, result: Light) -> Recovery:
    """Return what became of the clipped pixels of a part of a picture.

    Args:
        codes: (n, W, 3).
        largest: (n, W) largest channels of the pixels.
        table: linear light of each code.
        result: (n, W, 3) the restored light, same unit.
    """
    least = least_clipped(codes.dtype)
    there = np.flatnonzero(largest >= least)
    if not there.size:
        return Recovery(pixels=largest.size)
    # By number: a mask takes three times as long.
    code, after = np.take(codes.reshape(-1, 3), there, axis=0), np.take(result.reshape(-1, 3), there, axis=0)
    gains = after / table[np.maximum(code, least)]  # of those that are not clipped it does not count
    gains *= np.asarray(code) >= least  # a gain of 0 is less than any
    return Recovery(
        pixels=largest.size,
        clipped=there.size,
        whole=int(np.count_nonzero(smallest_channel(code) >= least)),
        stops=histogram_of_stops(largest_channel(gains), STOPS_BINS),
    )
