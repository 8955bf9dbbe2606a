"""The eight orientations of TIFF 6.0 and Exif 2.32 (tag 274)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION_TAG = 274
UPRIGHT = 1

# What has to be done to the stored rows and columns so that the picture stands upright.
_TO_UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def valid_orientation(value: object) -> int:
    """The tag's value where it is one of 1..8, else 1: cameras write 0 for "unknown", damaged tags hold anything."""
    return value if isinstance(value, int) and value in _TO_UPRIGHT else UPRIGHT


def swaps_axes(value: object) -> bool:
    """Whether the tag's value says that rows are columns of the upright picture."""
    return valid_orientation(value) >= 5


def upright(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn (H, W) or (H, W, C) upright; C-contiguous result, (W, H) for orientations 5 to 8."""
    return np.ascontiguousarray(_TO_UPRIGHT[orientation](stored))


def orientation_of(stored: NDArray[Any], turned: NDArray[Any]) -> int:
    """Which of the eight makes ``turned`` of ``stored``; both hold every number once and are not square."""
    return next(number for number, turn in _TO_UPRIGHT.items() if np.array_equal(turn(stored), turned))


_INVERSE = {6: 8, 8: 6}  # the others are their own


def stored_layout(picture: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Lay (H, W) or (H, W, C) of an upright picture out as its file stores it, undoing :func:`upright`; a view."""
    return _TO_UPRIGHT[_INVERSE.get(orientation, orientation)](picture)


def exif_of_block(block: bytes) -> Image.Exif:
    """The tags of a bare Exif block (TIFF header and tags, as in PNG's eXIf chunk); none of a damaged one."""
    from PIL import Image

    from dcdr_deploy.imaging.decoders.common import PILLOW_ERRORS

    exif = Image.Exif()
    with suppress(*PILLOW_ERRORS):  # a damaged Exif block says nothing about the pixels
        exif.load(b"Exif\0\0" + block)
    return exif
