"""At which size the network works: the rule, and what a user may ask for instead.

The rule rests on 100 held-out views of 768 x 768 px (benchmarks/results/working-scale.md; gains over inverse sRGB in
dB of PSNR-mu, demo weights of commit 1e44928):

=========================  ======  ==============  ================  ======
longer working edge        work    clipped pixels  median of views   worst
=========================  ======  ==============  ================  ======
native (every pixel)       1       +4.14           +2.36             -10.39
384                        0.25    +4.48           +2.61             -9.40
256                        0.11    +4.30           +3.05             -7.71
192                        0.06    +4.00           +2.84             -5.65
mean of 768 and 256        1.11    +4.67           +3.75             -7.08
mean of 768 and 192        1.06    +4.59           +3.61             -4.84
mean of 768 and 128        1.03    +4.45           +3.45             -3.66
mean of 384 and 192        0.31    +4.51           +3.28             -5.93
=========================  ======  ==============  ================  ======

Small sizes see whole skies and make no bad mistakes, large ones see lamps; each errs elsewhere, and the mean of two
errs least. Above 768 px a picture only gets larger, not other in content, so that its working sizes stay. At 256 px, as
large as the network was trained for, a coarser size only loses (27 views: 3.49 dB instead of 3.76 on clipped pixels):
small pictures go as they are.
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
