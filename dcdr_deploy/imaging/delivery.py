"""Relative light as PQ or HLG signals: absolute light, roll-off to the peak, primaries, curve, codes.

Of every strip of a picture::

    absolute = matrix(relative x reference white)             cd/m2, in the primaries wanted
    rolled   = absolute x EETF(m) / m                         m: the largest channel of a pixel (ITU-R BT.2390-8, 5.4)
    signal   = PQ(rolled), or HLG(inverse OOTF(rolled))

The EETF scales all channels of a pixel alike, so hues stay; it depends on what light can be, not on the picture, so
frames and pictures of a series stay comparable. Curves go by table (:mod:`dcdr_deploy.imaging.lookup`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.dither import quantised
from dcdr_deploy.imaging.hdr_transfer import (
    HLG_PEAK_NITS,
    PQ_PEAK_NITS,
    eetf_bt2390,
    eetf_knee_bt2390,
    hlg_encode,
    hlg_scene_factor,
    pq_encode,
)
from dcdr_deploy.imaging.light import HLG, Light
from dcdr_deploy.imaging.limits import is_within, limit
from dcdr_deploy.imaging.lookup import Table, look_up, table_of
from dcdr_deploy.system.strips import Scratch, for_strips

_MUCH = 1e9  # in network units; infinity times a matrix with zeros would be NaN

Channels = NDArray[np.float32]
"""R, G and B of a strip, (3, rows, W)."""

_NARROW_BLACK, _NARROW_WHITE = 16, 235  # of 8 bits (ITU-R BT.2100-2, table 9)


@dataclass(frozen=True)
class ContentLight:
    """How bright a picture is (CTA-861.3-A, annex P), in cd/m2.

    Attributes:
        max_cll: the largest channel of all pixels.
        max_fall: mean of the pixels' largest channels.
    """

    max_cll: float
    max_fall: float

    def brightest(self, other: ContentLight) -> ContentLight:
        """Return what holds for a video of two frames."""
        return ContentLight(max(self.max_cll, other.max_cll), max(self.max_fall, other.max_fall))


@dataclass(frozen=True)
class CodeRange:
    """Integer codes of a signal.

    Attributes:
        bits: 8 to 16.
        narrow: black and white at 16 and 235 times 2^(bits - 8), as video has it, and not at the first and last code.
    """

    bits: int
    narrow: bool = False

    @property
    def black(self) -> int:
        """Code of a signal of 0."""
        return _NARROW_BLACK << (self.bits - 8) if self.narrow else 0

    @property
    def white(self) -> int:
        """Code of a signal of 1."""
        return _NARROW_WHITE << (self.bits - 8) if self.narrow else self.top

    @property
    def top(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1


@dataclass(frozen=True)
class Curves:
    """What a :class:`Delivery` is made of, for those who compute it elsewhere.

    Attributes:
        matrix: (3, 3) from network units to cd/m2 in the primaries wanted.
        knee: cd/m2 of a pixel's largest channel from which all its channels are rolled off.
        roll: table of the roll-off (:mod:`dcdr_deploy.imaging.lookup`), cd/m2 to cd/m2; the channels scale as it does.
        scene: table of the factor that makes scene light of display light, of its luminance; ``None`` for PQ.
        luminance: (3,) weights of the primaries.
        transfer: table from that light to the signal.
    """

    matrix: NDArray[np.float32]
    knee: float
    roll: Table
    scene: Table | None
    luminance: NDArray[np.float32]
    transfer: Table


class Delivery:
    """Turns relative light into signals; made once for a picture or a video."""

    def __init__(self, light: Light, peak: float, largest: float | None = None) -> None:
        """Set up.

        Args:
            light: with transfer ``"pq"`` or ``"hlg"``; primaries ``None`` are Rec. 2020.
            peak: linear value of 1.0 of the pictures, in units of SDR white.
            largest: where the pictures' light ends, in units of SDR white: the roll-off maps it onto ``peak_nits``, if
                that is less, and what is brighter all the same ends there too. ``None`` is ``peak``.

        Raises:
            ValueError: light that is linear (a bug of the caller).
        """
        if not light.is_delivery:
            raise ValueError(f"transfer {light.transfer} is none of a delivery")
        self.light = light
        self._primaries = light.chromaticities if light.primaries else p.REC2020
        matrix = p.from_rec709(self._primaries) * (peak * light.reference_white)
        # No primaries here are narrower than Rec. 709: what is below 0 is a rounding.
        self._matrix = np.ascontiguousarray(np.maximum(matrix, 0), np.float32)
        source = min((peak if largest is None else largest) * light.reference_white, PQ_PEAK_NITS)
        self._hlg = light.transfer == HLG
        target = min(light.peak_nits, HLG_PEAK_NITS if self._hlg else PQ_PEAK_NITS)
        self._knee = np.float32(eetf_knee_bt2390(source, target) if target < source else target)
        self._eetf = _eetf_table(source, target)
        self._scratch = Scratch()

    @property
    def curves(self) -> Curves:
        """Its numbers and tables."""
        weights = np.asarray(p.luminance_weights(self._primaries), np.float32)
        scene = _hlg_factors() if self._hlg else None
        return Curves(self._matrix, float(self._knee), self._eetf, scene, weights, _table(self._hlg))

    def codes(
        self, linear: NDArray[np.floating[Any]], codes: CodeRange, *, seed: int | None = 0, bgr: bool = False
    ) -> tuple[NDArray[np.uint16], ContentLight]:
        """Return a picture's R'G'B' as integers, and how bright it is.

        Args:
            linear: (H, W, 3) linear Rec. 709, 1.0 = ``peak`` x SDR white. NaN and negative values count as 0.
            codes: depth and range.
            seed: of the dither, see :func:`~dcdr_deploy.imaging.dither.quantised`; ``None`` rounds.
            bgr: give B, G, R, as OpenCV has them.

        Returns:
            (H, W, 3) uint16, and its content light level.
        """
        import cv2

        out, order = np.empty(linear.shape, np.uint16), slice(None, None, -1 if bgr else 1)
        scale, black = np.float32(codes.white - codes.black), np.float32(codes.black)

        def rounded(start: int, light: Channels) -> None:
            found = self._scratch.array("codes", light.shape, np.uint16)
            cv2.merge(list(look_up(_code_table(self._hlg, codes), light, found)[order]), _rows(out, start, light))

        def dithered(start: int, light: Channels) -> None:
            values = self._scratch.array("signal", (*light.shape[1:], 3), np.float32)
            cv2.merge(list(look_up(_table(self._hlg), light, light)[order]), values)
            values *= scale
            values += black
            place = _rows(out, start, light)
            quantised(values, codes.black, codes.white, seed=seed, first_row=start, out=place)

        return out, self._for_strips(linear, rounded if seed is None else dithered)

    def signals(self, linear: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float32], ContentLight]:
        """Return a picture's R'G'B' as numbers in [0, 1], (H, W, 3) float32, and how bright it is; as :meth:`codes`."""
        import cv2

        out = np.empty(linear.shape, np.float32)
        return out, self.give_signals(linear, lambda start, rgb: cv2.merge(list(rgb), _rows(out, start, rgb)))

    def give_signals(
        self, linear: NDArray[np.floating[Any]], take: Callable[[int, Channels], object], above: int = 0
    ) -> ContentLight:
        """Give a picture's R'G'B' away a strip at a time, and return how bright it is.

        Args:
            linear: as for :meth:`codes`.
            take: called with a strip's first row, which is an even one, and its R', G' and B', (3, rows, W) in [0, 1];
                on several threads, each of which uses the array again for its next strip.
            above: so many rows of the picture before a strip's first come along with it, but for the first strip.
        """
        transfer = _table(self._hlg)
        return self._for_strips(linear, lambda start, light: take(start, look_up(transfer, light, light)), above)

    def nits(self, linear: NDArray[np.floating[Any]], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the absolute light that the signals stand for, (rows, W, 3) cd/m2 in the primaries wanted.

        Args:
            linear: (rows, W, 3), as for :meth:`codes`.
            out: C-contiguous, where it goes; ``None`` makes an array.
        """
        import cv2

        out = np.empty(linear.shape, np.float32) if out is None else out

        def work(start: int, stop: int) -> None:
            cv2.merge(list(self._rolled(linear[start:stop])[0]), out[start:stop])

        for _ in for_strips(len(linear), work):
            pass
        return out

    def _for_strips(
        self, linear: NDArray[np.floating[Any]], take: Callable[[int, Channels], object], above: int = 0
    ) -> ContentLight:
        """Call ``take`` with the first row of every strip and what the curve is of."""
        import cv2

        def work(start: int, stop: int) -> tuple[float, float]:
            first = max(start - above, 0)
            light, largest = self._rolled(linear[first:stop])
            own = largest[start - first :]
            brightness = float(own.max()), cv2.sumElems(own)[0]
            self._to_light_of_signal(light)
            take(start, light)
            return brightness

        return _content_light(for_strips(len(linear), work), linear)

    def _rolled(self, linear: NDArray[np.floating[Any]]) -> tuple[Channels, NDArray[np.float32]]:
        """Return absolute light after the roll-off, cd/m2, and the pixels' largest channels, (rows, W)."""
        import cv2

        block = self._scratch.array("block", linear.shape, np.float32)
        light = np.asarray(linear, np.float32)
        if not is_within(light, _MUCH):
            light = limit(light, _MUCH, self._scratch.array("limited", linear.shape, np.float32))
        cv2.transform(light, self._matrix, block)
        channels = self._scratch.array("channels", block.shape[2:] + block.shape[:2], np.float32)
        largest = self._scratch.array("largest", block.shape[:2], np.float32)
        cv2.split(block, list(channels))
        cv2.max(cv2.max(channels[0], channels[1], largest), channels[2], largest)
        if largest.max() > self._knee:
            self._roll(channels, largest)
        return channels, largest

    def _roll(self, channels: Channels, largest: NDArray[np.float32]) -> None:
        """Roll light off, and the largest channels (rows, W) with it."""
        import cv2

        left, top, width, height = cv2.boundingRect((largest > self._knee).view(np.uint8))
        box = slice(top, top + height), slice(left, left + width)
        before = largest[box]
        after = look_up(self._eetf, before)
        dark = before <= self._knee
        np.copyto(after, before, where=dark)
        with np.errstate(invalid="ignore"):  # 0 of 0
            factor = after / before
        np.copyto(factor, np.float32(1), where=dark)
        for channel in channels:
            channel[box] *= factor
        before[...] = after

    def _to_light_of_signal(self, rolled: Channels) -> None:
        """Make of cd/m2 what the curve is of: those for PQ, scene light for HLG, in which 1000 stands for 1."""
        if self._hlg:
            red, green, blue = np.asarray(p.luminance_weights(self._primaries), np.float32)
            rolled *= look_up(_hlg_factors(), rolled[0] * red + rolled[1] * green + rolled[2] * blue)


def _rows(picture: NDArray[Any], start: int, channels: Channels) -> NDArray[Any]:
    """Return the rows of a picture (H, W, 3) in which channels (3, rows, W) lie."""
    return picture[start : start + channels.shape[1]]


def _content_light(parts: Iterable[tuple[float, float]], linear: NDArray[Any]) -> ContentLight:
    largest, total = 0.0, 0.0
    for most, part in parts:
        largest, total = max(largest, most), total + part
    return ContentLight(largest, total / (linear.shape[0] * linear.shape[1]))


@functools.cache
def _table(hlg: bool) -> Table:
    """Signal of what :meth:`Delivery._to_light_of_signal` gives; 0 is 0."""
    if hlg:
        return table_of(lambda scene: hlg_encode(scene / HLG_PEAK_NITS))
    return table_of(lambda nits: np.where(nits > 0, pq_encode(nits), 0))


@functools.lru_cache(maxsize=4)
def _code_table(hlg: bool, codes: CodeRange) -> NDArray[np.uint16]:
    """The rounded code in place of the signal."""
    values = _table(hlg) * np.float32(codes.white - codes.black) + np.float32(codes.black)
    return quantised(values, codes.black, codes.white, seed=None)


@functools.cache
def _hlg_factors() -> Table:
    return table_of(hlg_scene_factor)


@functools.lru_cache(maxsize=4)
def _eetf_table(source: float, target: float) -> Table:
    """The roll-off of cd/m2; where there is room for all light it only ends at the target."""
    if target >= source:
        return table_of(lambda nits: np.minimum(nits, target))
    return table_of(lambda nits: np.minimum(eetf_bt2390(nits, source, target), target))
