"""At which size the network works: the rule, and what a user may ask for instead."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

from dcdr_deploy.errors import InputError

AUTO: Literal["auto"] = "auto"
NATIVE: Literal["native"] = "native"

Scale = Fraction | int | Literal["auto", "native"]
"""``"auto"``: :func:`automatic_edge`; ``"native"``: the network at every pixel, its result as it is (the paper's way);
a fraction of the picture's edges; or pixels of the working picture's longer edge."""

QUANTUM = 32
"""Working edges are multiples of this, so that pictures of many sizes share few shapes: engines with CUDA graphs, and
those that compile for a shape, meet the same ones again. The aspect ratio is off by at most half of it."""

LEAST_EDGE = 64
"""Pixels; no longer edge of a working picture may be asked to be smaller."""

AUTOMATIC_EDGE = 384


def parse_scale(text: str) -> Scale:
    """Read ``auto``, ``native``, a fraction such as ``1/2``, or a number of pixels.

    Raises:
        InputError: anything else, a fraction above 1, or fewer pixels than :data:`LEAST_EDGE`.
    """
    word = text.strip().lower()
    if word == AUTO:
        return AUTO
    if word == NATIVE:
        return NATIVE
    match = re.fullmatch(r"(\d{1,6})(?:/(\d{1,6}))?", word)
    if match is None or (match[2] is not None and not int(match[2])):
        raise InputError(
            f"scale {text!r} is not known; use auto, native, a fraction such as 1/2, or pixels such as 768"
        )
    return checked(int(match[1]) if match[2] is None else Fraction(int(match[1]), int(match[2])))


def checked(scale: Scale) -> Scale:
    """Return the scale.

    Raises:
        InputError: it is out of range, or no scale at all.
    """
    if scale in (AUTO, NATIVE):
        return scale
    if isinstance(scale, Fraction):
        if not 0 < scale <= 1:
            raise InputError(f"scale {scale} must be above 0 and at most 1")
    elif not isinstance(scale, int) or isinstance(scale, bool):
        raise InputError(f"scale {scale!r} is neither auto, native, a fraction nor a number of pixels")
    elif scale < LEAST_EDGE:
        raise InputError(f"a working picture of {scale} pixels is too small; use at least {LEAST_EDGE}, or a fraction")
    return scale


def automatic_edge(height: int, width: int) -> int:
    """Return the longer edge of the working picture in pixels, for a picture of this size."""
    return min(max(height, width), AUTOMATIC_EDGE)


def working_size(height: int, width: int, scale: Scale) -> tuple[int, int]:
    """Return (h, w) of the working picture, in pixels; for every scale but ``"native"``.

    A picture no larger than the working edge keeps its own size. Otherwise both edges are multiples of
    :data:`QUANTUM`, as near to the picture's aspect ratio as that allows.
    """
    longer = max(height, width)
    edge = scale if isinstance(scale, int) else automatic_edge(height, width)
    if isinstance(scale, Fraction):
        edge = max(round(longer * scale), 1)
    if edge >= longer:
        return height, width
    factor = _quantised(edge) / longer
    return min(_quantised(height * factor), height), min(_quantised(width * factor), width)


def _quantised(length: float) -> int:
    return max(round(length / QUANTUM), 1) * QUANTUM
