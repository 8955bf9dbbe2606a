"""Pictures as text in a page: half floats and 8-bit codes, lossless, that a few lines of JavaScript undo.

Where the input is there, light is stored as the difference of its half floats' bits from those of the input's light:
0 where the network left a pixel alone, which is most of a picture. Then, for both, green is taken from red and blue
where that pays, each sample is predicted from its neighbours (the median edge detector of JPEG-LS, ISO/IEC 14495-1,
A.4.1), and the remainders, folded so that small ones are small numbers, go through deflate, high bytes apart from low
ones. ``assets/codec.js`` is the way back.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.half import HALF_MAX, to_half
from dcdr_deploy.view.picture import HALF_OF_CODE, Shown

_LEVEL = 6
_ROWS_TO_CHOOSE = 128

BITS_OF_CODE: NDArray[np.uint16] = HALF_OF_CODE.view(np.uint16)
"""The bits of the half float that the light of each 8-bit sRGB code is."""


@dataclass(frozen=True)
class Packed:
    """Samples as text.

    Attributes:
        text: base64 of a zlib stream.
        green: whether green was taken from red and blue.
    """

    text: str
    green: bool


def pack_picture(picture: Shown) -> tuple[Packed, Packed | None]:
    """Pack light, and the input's codes, ``None`` where there is no input; light ends at a half's largest number."""
    bits = to_half(np.clip(picture.light, -HALF_MAX, HALF_MAX)).view(np.uint16)
    if picture.sdr is None:
        return pack(bits), None
    return pack(bits - BITS_OF_CODE[picture.sdr]), pack(picture.sdr)


def pack(samples: NDArray[Any]) -> Packed:
    """Pack (H, W, 3) uint8 or uint16, modulo their range, by the way that is smaller in its middle."""
    planes = np.ascontiguousarray(np.moveaxis(samples, 2, 0))
    middle = max(0, (planes.shape[1] - _ROWS_TO_CHOOSE) // 2)
    some = planes[:, middle : middle + _ROWS_TO_CHOOSE]
    green = len(_deflated(_without_green(some))) < len(_deflated(some))
    stream = _deflated(_without_green(planes) if green else planes)
    return Packed(base64.b64encode(stream).decode("ascii"), green)


def _without_green(planes: NDArray[Any]) -> NDArray[Any]:
    return np.stack([planes[0] - planes[1], planes[1], planes[2] - planes[1]])


def _deflated(planes: NDArray[Any]) -> bytes:
    remainders = _folded(planes - _predicted(planes))
    low = (remainders & 0xFF).astype(np.uint8).tobytes()
    high = (remainders >> 8).astype(np.uint8).tobytes() if remainders.dtype == np.uint16 else b""
    return zlib.compress(high + low, _LEVEL)


def _predicted(planes: NDArray[Any]) -> NDArray[Any]:
    """What each sample's left, upper and upper left neighbours foretell (0 outside), in the planes' own type."""
    padded = np.zeros((planes.shape[0], planes.shape[1] + 1, planes.shape[2] + 1), np.int32)
    padded[:, 1:, 1:] = planes
    left, upper, corner = padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, :-1, :-1]
    # min(a, b) where the corner is above both, max(a, b) where it is below both, else a + b - corner: the median.
    return np.clip(left + upper - corner, np.minimum(left, upper), np.maximum(left, upper)).astype(planes.dtype)


def _folded(remainders: NDArray[Any]) -> NDArray[Any]:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
    bits = 8 * remainders.dtype.itemsize
    signed = remainders.view(np.int8 if bits == 8 else np.int16)
    return np.asarray((signed << 1) ^ (signed >> (bits - 1))).view(remainders.dtype)
