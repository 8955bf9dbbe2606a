"""How much brighter each pixel of the SDR picture is to be, as the codes of a gain map. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.ultrahdr.metadata import GainMap, as_stored
from dcdr_deploy.system.strips import for_strips

Light = NDArray[np.float32]

OFFSET = 1 / 64
"""Added to both lights before their quotient is taken, in units of SDR white: the gain of black stays finite."""

LARGEST = 10000 / 203
"""Units of SDR white; light above it is taken for it: PQ's peak, where libultrahdr ends, too."""

MAP_PIXELS = 16_000_000
"""Most pixels of a gain map. Below that it has the picture's own size: where a wire crosses a bright sky, a smaller one
makes a halo (a quarter of the pixels cost twice the mean error, 3.8 instead of 1.5 PQ codes of 10 bits, on the clipped
pixels of samples/forest-sky.png). Beyond, viewers run out of memory before eyes see a pixel."""

LEAST_RANGE = 1 / 64
"""Stops between the ends of a map, and least headroom: readers divide by them."""

GRAY_STOPS = 0.01
"""A map whose channels differ by no more has one channel."""


@dataclass(frozen=True)
class Stops:
    """The gain in stops.

    Attributes:
        values: (h, w, 3) halves; one value for ``factor`` x ``factor`` pixels.
        lowest: the least of them.
        highest: the most.
        spread: most stops between the channels of one value.
        brightest: most light of a pixel's channel that the whole gain gives, in units of SDR white.
    """

    values: NDArray[np.float16]
    lowest: float
    highest: float
    spread: float
    brightest: float


def reduction(height: int, width: int) -> int:
    """Return by which whole number the map's edges are smaller than the picture's."""
    return max(1, math.ceil(math.sqrt(height * width / MAP_PIXELS)))


def measured(height: int, width: int, lights: Callable[[int, int], tuple[Light, Light]]) -> Stops:
    """Return the gain of a picture, a strip at a time and on all cores.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        lights: gives for rows ``start`` to ``stop`` the SDR and the HDR light, each (n, W, 3), linear, in the SDR
            picture's colour space and in units of SDR white, finite and not negative; the second is overwritten.
    """
    factor = reduction(height, width)
    values = np.empty((-(-height // factor), -(-width // factor), 3), np.float16)

    def work(start: int, stop: int) -> tuple[float, float, float, float]:
        sdr, hdr = lights(start * factor, min(stop * factor, height))
        np.minimum(hdr, np.float32(LARGEST), out=hdr)
        brightest = float(hdr.max())
        hdr += np.float32(OFFSET)
        hdr /= sdr + np.float32(OFFSET)
        stops = _means(np.log2(hdr, out=hdr), factor)
        values[start:stop] = stops
        red, green, blue = (stops[..., channel] for channel in range(3))
        most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
        return -float(least.min()), float(most.max()), float((most - least).max()), brightest

    below, highest, spread, brightest = map(max, zip(*for_strips(len(values), work), strict=True))
    return Stops(values, -below, highest, spread, brightest)


def _means(stops: Light, factor: int) -> Light:
    """Average blocks of ``factor`` x ``factor`` pixels; those at the edges as far as they are filled."""
    if factor == 1:
        return stops
    height, width, channels = stops.shape
    padded = np.pad(stops, ((0, -height % factor), (0, -width % factor), (0, 0)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor, channels)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def encoded(stops: Stops) -> tuple[NDArray[np.uint8], GainMap]:
    """Return the codes, (h, w) or (h, w, 3), and what they mean."""
    values = stops.values if stops.spread > GRAY_STOPS else np.ascontiguousarray(stops.values[..., 1:2])
    least, most = _ends(stops.lowest, stops.highest)
    headroom = max(as_stored(math.log2(max(stops.brightest, 1))), LEAST_RANGE)
    codes = np.empty(values.shape, np.uint8)
    scale = np.float32(255 / (most - least))

    def work(start: int, stop: int) -> None:
        part = (values[start:stop].astype(np.float32) - np.float32(least)) * scale
        codes[start:stop] = np.clip(part + np.float32(0.5), 0, 255)

    for _ in for_strips(len(values), work):
        pass
    gain_map = GainMap(least, most, OFFSET, headroom, values.shape[2])
    return codes[..., 0] if values.shape[2] == 1 else codes, gain_map


def _ends(lowest: float, highest: float) -> tuple[float, float]:
    """Return the stops of the first and the last code, such that no change at all is a whole code.

    Most pixels of most pictures do not change, and shall not by rounding.
    """
    least, most = min(lowest, 0.0), max(highest, 0.0)
    step = max(most - least, LEAST_RANGE) / 254
    below = math.ceil(-least / step)
    step = as_stored(math.ceil(step * 1e6) / 1e6)
    return as_stored(-below * step), as_stored((255 - below) * step)
