"""At which size the network works: the rule, and what a user may ask for instead.

The rule rests on held-out pictures (benchmarks/results/working-scale.md): 88 photographs of 510 to 1,280 px and 100
views of panoramas of 768 px. Gains over inverse sRGB on clipped pixels in dB of PSNR-mu; pooled, median and worst:

==============================  =====  =====================  =====================
longer working edge             work   photographs            views
==============================  =====  =====================  =====================
native (every pixel)            1      +3.64, +4.66, -9.8     +5.96, +5.45, -2.2
384                             0.25   +5.65, +5.42, -9.1     +5.22, +4.80, -3.3
256                             0.11   +5.95, +4.92, -5.1     +4.24, +3.87, -4.5
192                             0.06   +5.62, +4.87, -6.0     +3.61, +3.27, -4.6
native and 192, their mean      1.06   +5.70, +5.99, -6.8     +5.07, +4.88, -2.7
native and 256, their mean      1.11   +5.62, +5.74, -6.7     +5.38, +5.09, -2.8
native and 256, the lower 2/3   1.11   +5.99, +5.92, -5.7     +5.02, +4.81, -2.2
native and 256, the lower 3/4   1.11   +6.09, +5.83, -5.4     +4.83, +4.52, -1.9
native and 256, the lower one   1.11   +6.06, +5.10, -4.4     +4.21, +3.60, -1.5
==============================  =====  =====================  =====================

Of the candidates within 0.1 dB of the best median of photographs it has the mildest worst case. Above 768 px a picture
only gets larger, not other in content, so that its working sizes stay. At 256 px, as large as the network was trained
for, a coarser size only loses (0.9 dB pooled): small pictures go as they are.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

from dcdr_deploy.errors import InputError

AUTO: Literal["auto"] = "auto"
NATIVE: Literal["native"] = "native"

Scale = Fraction | int | Literal["auto", "native"]
"""``"auto"``: :func:`working_sizes`; ``"native"``: the network at every pixel, its result as it is (the paper's way);
a fraction of the picture's edges; or pixels of the working picture's longer edge."""

QUANTUM = 16
"""Working edges are multiples of this, so that pictures of many sizes share few shapes: engines with CUDA graphs, and
those that compile for a shape, meet the same ones again. The aspect ratio is off by at most half of it."""

LEAST_EDGE = 64
"""Pixels; no longer edge of a working picture may be asked to be smaller."""

EDGES = (768, 256)
"""Longer working edges of the automatic scale, the finest first; gain.py puts together what is found at them."""

LARGEST_PART = 2 / 3
"""The coarser working edge is used where it is at most this part of the finer one; else it would see the same."""


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
    match = re.fullmatch(r"([0-9]{1,9})(?:/([0-9]{1,9}))?", word)
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


def working_sizes(height: int, width: int, scale: Scale) -> list[tuple[int, int]]:
    """Return the sizes (h, w) at which the network works, the finest first.

    For every scale but ``"native"``. A fraction or a number of pixels is one size; ``"auto"`` is both :data:`EDGES`, or
    one size where the picture is too small for two. A size is not larger than the picture; below that both edges are
    multiples of :data:`QUANTUM`, as near to the picture's aspect ratio as that allows.
    """
    longer = max(height, width)
    if scale == AUTO:
        finest, coarser = (min(edge, longer) for edge in EDGES)
        edges = [finest, coarser] if coarser <= finest * LARGEST_PART else [finest]
    else:
        edges = [max(round(longer * scale), 1) if isinstance(scale, Fraction) else int(scale)]
    return [working_size(height, width, edge) for edge in edges]


def working_size(height: int, width: int, edge: int) -> tuple[int, int]:
    """Return (h, w) of a working picture whose longer edge is ``edge`` pixels, or the picture's own if that is less."""
    longer = max(height, width)
    if edge >= longer:
        return height, width
    factor = _quantised(edge) / longer
    return min(_quantised(height * factor), height), min(_quantised(width * factor), width)


def _quantised(length: float) -> int:
    return max(round(length / QUANTUM), 1) * QUANTUM
