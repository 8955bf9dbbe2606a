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
from collections.abc import Iterable
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
from dcdr_deploy.imaging.limits import limit
from dcdr_deploy.imaging.lookup import Table, look_up, table_of
from dcdr_deploy.system.strips import Scratch, for_strips

_MUCH = 1e9  # in network units; infinity times a matrix with zeros would be NaN

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
        out = np.empty(linear.shape, np.uint16)
        scale, black = np.float32(codes.white - codes.black), np.float32(codes.black)

        def work(start: int, stop: int) -> tuple[float, float]:
            place = out[start:stop]
            light = self._scratch.array("light", place.shape, np.float32)
            brightness = self._roll(linear[start:stop], light, bgr)
            self._to_light_of_signal(light, bgr)
            if seed is None:
                look_up(_code_table(self._hlg, codes), light, place)
            else:
                values = look_up(_table(self._hlg), light, light)
                values *= scale
                values += black
                quantised(values, codes.black, codes.white, seed=seed, first_row=start, out=place)
            return brightness

        return out, _content_light(for_strips(len(linear), work), linear)

    def signals(
        self, linear: NDArray[np.floating[Any]], out: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], ContentLight]:
        """Return a picture's R'G'B' as numbers in [0, 1], (H, W, 3) float32, and how bright it is; as :meth:`codes`.

        ``out`` is where they are written, which may be ``linear`` itself.
        """
        out = np.empty(linear.shape, np.float32) if out is None else out

        def work(start: int, stop: int) -> tuple[float, float]:
            place = out[start:stop]
            brightness = self._roll(linear[start:stop], place)
            self._to_light_of_signal(place)
            look_up(_table(self._hlg), place, place)
            return brightness

        return out, _content_light(for_strips(len(linear), work), linear)

    def nits(self, linear: NDArray[np.floating[Any]], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the absolute light that the signals stand for, (rows, W, 3) cd/m2 in the primaries wanted.

        Args:
            linear: (rows, W, 3), as for :meth:`codes`.
            out: C-contiguous, where it goes; ``None`` makes an array.
        """
        light = np.empty(linear.shape, np.float32) if out is None else out
        self._roll(linear, light)
        return light

    def _roll(
        self, linear: NDArray[np.floating[Any]], out: NDArray[np.float32], bgr: bool = False
    ) -> tuple[float, float]:
        """Write absolute light after the roll-off, cd/m2; return largest and sum of the pixels' largest channels."""
        import cv2

        block = self._scratch.array("block", out.shape, np.float32)
        limit(np.asarray(linear, np.float32), _MUCH, block)
        cv2.transform(block, self._matrix[::-1].copy() if bgr else self._matrix, out)
        planes = self._scratch.array("planes", (3, *out.shape[:2]), np.float32)
        cv2.split(out, list(planes))
        largest, second, third = planes
        cv2.max(cv2.max(largest, second, largest), third, largest)
        bright = largest > self._knee
        if bright.any():
            rolled = look_up(self._eetf, largest, second)
            with np.errstate(invalid="ignore"):  # 0 of 0, which is not bright
                factor = np.divide(rolled, largest, out=third)
            np.copyto(factor, np.float32(1), where=~bright)
            cv2.multiply(out, cv2.merge([factor] * 3, block), out)
            np.copyto(largest, rolled, where=bright)
        return float(largest.max()), float(largest.sum(dtype=np.float64))

    def _to_light_of_signal(self, rolled: NDArray[np.float32], bgr: bool = False) -> None:
        """Make of cd/m2 what the curve is of: those for PQ, scene light for HLG, in which 1000 stands for 1."""
        if not self._hlg:
            return
        weights = np.asarray(p.luminance_weights(self._primaries), np.float32)
        luminance = rolled @ (weights[::-1] if bgr else weights)
        rolled *= look_up(_hlg_factors(), luminance)[..., None]


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
