"""What the network restored at a working size, carried over to the full picture: pure functions, no engine, no files.

The network sees 83 px to each side, so large pictures go through it at a smaller *working size*, averaged down in
linear light. What it found there is the *excess*: its light less the SDR picture's, in units of SDR white. Pixels of
the full picture keep their own light, and clipped ones get the excess on top::

    H = s + w E        w: how far a pixel is clipped, by its largest channel: 0 up to code BEGIN, 1 from code 254 on
                       E: the excess that a fully clipped pixel has here, per channel, not negative

A cell of the working picture is the mean of many pixels, some clipped and some not. Its excess belongs to the clipped
ones, so it is divided by their share; then E is enlarged by normalised convolution (Knutsson and Westin, 1993) with
the squared share as certainty. The edge of a sky takes its excess from cells inside the sky, and a wire before the sky
takes none, whatever the size of a cell: no halo, and no edge softer than the picture's own.

The *gain* of a pixel is (H + FLOOR) / (s + FLOOR) per channel, which is what the dials (dials.py) work on.

Light is linear Rec. 709 in units of SDR white, float32, everywhere in this module.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dcdr_deploy.imaging.frame import CLIPPED_CODE
from dcdr_deploy.imaging.transfer import LUMINANCE_REC709, linear_to_srgb, srgb_to_linear
from dcdr_deploy.run.channels import in_each_channel
from dcdr_deploy.run.enlargement import Enlargement
from dcdr_deploy.system.strips import for_strips

BEGIN = 245
"""8-bit code of the largest channel from which a pixel counts as partly clipped; see working_scale.py."""

FLOOR = 1e-3
"""Added to light before a quotient is taken: keeps the gain of dark pixels stable. A quarter of an 8-bit code's light
at the dark end of sRGB."""

LEAST_SHARE = 0.1
"""Least share of clipped pixels that the excess of a cell is divided by: below it the network's own errors, which are
divided too, would outweigh what it found."""

CERTAINTY_POWER = 2.0
"""Of the share of clipped pixels in a cell, as its weight when the excess is enlarged."""

LOWER_SHARE = 2 / 3
"""Of the lower of two working sizes' gains in what they give together; see working_scale.py."""

NEAR_PIXELS = 8
"""A pixel above code BEGIN that is not clipped may change within this many pixels of one that is, rounded up to whole
cells of the working picture and fading over one more: so far do JPEG and lenses carry what clipping did. Evaluation
counts as many pixels."""

GRAY_TOLERANCE = 2 / 255
"""Largest difference between the channels of a gray picture, as a part of the code range."""

Codes = NDArray[np.uint8] | NDArray[np.uint16]
Light = NDArray[np.float32]


@dataclass(frozen=True)
class Tables:
    """What every code of a picture stands for, each (256,) or (65536,) float32.

    Attributes:
        light: linear light in [0, 1].
        weight: how far a pixel is clipped whose largest channel has this code, in [0, 1].
        clipped: 1 where it is clipped, else 0.
    """

    light: Light
    weight: Light
    clipped: Light


@functools.lru_cache(maxsize=8)
def code_tables(bits: int, begin: int = BEGIN) -> Tables:
    """Return the tables for pictures of 8 or 16 bits.

    Args:
        bits: of a code.
        begin: 8-bit code up to which a pixel is not clipped at all, 0 to 253.
    """
    top = (1 << bits) - 1
    codes = np.arange(top + 1) / top
    step = np.clip((codes * 255 - begin) / (CLIPPED_CODE - begin), 0, 1)
    # A finer code counts as the one that it rounds to: 234 of a video's 235 for white is 253.8, and compression makes
    # whole blocks of skies of it.
    tables = (srgb_to_linear(codes), step * step * (3 - 2 * step), codes * 255 >= CLIPPED_CODE - 0.5)
    as_float = [np.asarray(table, np.float32) for table in tables]
    for table in as_float:
        table.setflags(write=False)  # shared by all callers
    return Tables(*as_float)


def largest_channel(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the largest channel of each pixel, (..., 3) -> (...); ``max(axis=-1)`` takes over ten times as long."""
    return np.maximum(np.maximum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])


def smallest_channel(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the smallest channel of each pixel, (..., 3) -> (...)."""
    return np.minimum(np.minimum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])


def least_clipped(kind: DTypeLike) -> int:
    """Return the code of an integer type from which a channel counts as clipped."""
    return math.ceil((CLIPPED_CODE - 0.5) * int(np.iinfo(kind).max) / 255)


def most_of_gray(kind: DTypeLike) -> int:
    """Return by how many codes of an integer type the channels of a gray pixel may differ."""
    return int(np.iinfo(kind).max * GRAY_TOLERANCE)


def is_gray(codes: Codes) -> bool:
    """Tell whether no pixel's channels differ by more than :data:`GRAY_TOLERANCE`."""
    most = most_of_gray(codes.dtype)
    for row in range(0, codes.shape[0], 64):
        part = codes[row : row + 64]
        if (largest_channel(part) - smallest_channel(part)).max() > most:
            return False
    return True


def working_codes(light: Light) -> NDArray[np.uint16]:
    """Return light in [0, 1] as 16-bit sRGB codes: what an engine takes."""
    codes = np.empty(light.shape, np.uint16)

    def work(start: int, stop: int) -> None:
        codes[start:stop] = np.rint(linear_to_srgb(np.clip(light[start:stop], 0, 1)) * 65535)

    for _ in for_strips(len(light), work):
        pass
    return codes


@dataclass(frozen=True)
class WorkingPicture:
    """The picture at its working size, float32.

    Attributes:
        light: (h, w, 3) mean light, in [0, 1].
        weight: (h, w, 1) mean of how far pixels are clipped, in [0, 1].
        clipped: (h, w, 1) share of clipped pixels, in [0, 1].
    """

    light: Light
    weight: Light
    clipped: Light

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) in pixels."""
        return self.light.shape[0], self.light.shape[1]

    def reduced(self, size: tuple[int, int]) -> WorkingPicture:
        """Return it at a smaller size (h, w)."""
        if size == self.size:
            return self
        import cv2

        parts = (self.light, self.weight, self.clipped)
        # INTER_AREA weighs every pixel by the area that it has in a cell.
        smaller = [cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA) for part in parts]
        return WorkingPicture(*(np.asarray(part, np.float32).reshape(*size, -1) for part in smaller))


@dataclass(frozen=True)
class ExcessField:
    """The excess at the working size, ready to be enlarged; float32.

    Attributes:
        log_gain: (h, w, 3) natural logarithm of 1 + excess, the gain of a fully clipped pixel; not negative.
        certainty: (h, w, 1) of each cell, above 0.
        near: (h, w, 1) 1 where clipping is near, else 0.
    """

    log_gain: Light
    certainty: Light
    near: Light

    @property
    def weighted(self) -> Light:
        """(h, w, 3) excess x certainty."""
        found = np.empty_like(self.log_gain)

        def work(start: int, stop: int) -> None:
            rows = slice(start, stop)
            np.multiply(excess_of(self.log_gain[rows]), in_each_channel(self.certainty[rows]), out=found[rows])

        for _ in for_strips(len(found), work):
            pass
        return found


def log_gain_of(excess: Light) -> Light:
    """Return the natural logarithm of 1 + excess; (h, w) or (h, w, C).

    It and :func:`excess_of` are OpenCV's: a fifth of the time of numpy's, within 3e-7 of the truth.
    """
    import cv2

    return np.asarray(cv2.log(excess + 1), np.float32)


def excess_of(log_gain: Light) -> Light:
    """Return the excess whose :func:`log_gain_of` is this."""
    import cv2

    gain = np.asarray(cv2.exp(log_gain), np.float32)
    gain -= 1
    return gain


def excess_field(
    picture: WorkingPicture, result: Light, peak: float, *, gray: bool, pixels_per_cell: float
) -> ExcessField:
    """Return the excess of a network's result over the working picture.

    Args:
        picture: what the network was given.
        result: (h, w, 3) the network's light in units of SDR white.
        peak: most light that the network can give, in units of SDR white; no excess goes beyond it.
        gray: the picture has no colour, so that the excess gets none: its channels take their luminance.
        pixels_per_cell: edge of a cell in pixels of the full picture, at least 1.
    """
    log_gain = np.empty(result.shape, np.float32)

    def work(start: int, stop: int) -> None:
        rows = slice(start, stop)
        excess = result[rows] - picture.light[rows]
        excess /= in_each_channel(np.maximum(picture.weight[rows], LEAST_SHARE))
        np.clip(excess, 0, max(peak - 1, 0), out=excess)
        if gray:
            excess = in_each_channel(excess @ np.asarray(LUMINANCE_REC709, np.float32))
        log_gain[rows] = log_gain_of(excess)

    for _ in for_strips(picture.size[0], work):
        pass
    # The least certainty matters only where no cell around has a clipped pixel, and ``near`` is 0 there.
    certainty = np.maximum(picture.weight, 1e-4) ** CERTAINTY_POWER
    near = _dilated(picture.clipped > 0, max(1, math.ceil(NEAR_PIXELS / pixels_per_cell)))
    return ExcessField(log_gain, *(np.asarray(part, np.float32) for part in (certainty, near)))


def reconciled(finer: ExcessField, coarser: ExcessField) -> ExcessField:
    """Return what two working sizes found together, on the grid of the finer one.

    Of the gains' logarithms the lower counts :data:`LOWER_SHARE` and the higher the rest, each channel by itself. The
    network errs differently at every size, so that two err less than one; where they disagree it is in doubt, and light
    that is not there offends more than light that is missing.
    """
    height, width = finer.near.shape[:2]
    weighted, certainty = (Enlargement(part, (height, width)) for part in (coarser.weighted, coarser.certainty))
    log_gain = np.empty_like(finer.log_gain)

    def work(start: int, stop: int) -> None:
        excess = weighted.part(start, stop, 0, width)
        excess /= in_each_channel(certainty.part(start, stop, 0, width))
        one, other, lower = finer.log_gain[start:stop], log_gain_of(excess), log_gain[start:stop]
        np.minimum(one, other, out=lower)
        lower *= LOWER_SHARE
        higher = np.maximum(one, other, out=other)
        higher *= 1 - LOWER_SHARE
        lower += higher

    for _ in for_strips(height, work):
        pass
    return replace(finer, log_gain=log_gain)


def _dilated(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Grow the true parts of (h, w, 1) by ``radius`` along both axes."""
    import cv2

    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0).reshape(mask.shape)


def gain_of(light: Light, excess: Light) -> Light:
    """Return the gain per channel of ``light + excess`` over ``light``; same shape, not negative."""
    return np.maximum((light + excess + FLOOR) / (light + FLOOR), 0)


def apply_gain(light: Light, gain: Light) -> Light:
    """Return the light that :func:`gain_of` stands for; a gain of 1 leaves ``light`` as it is, to the bit."""
    return np.maximum(light + (gain - 1) * (light + np.float32(FLOOR)), 0)
