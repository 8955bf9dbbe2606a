"""Values by table: of integer codes, and curves of light, where a float's own bits without the last 11 are the index.

4,096 entries to an octave: a value is off by at most 1/8192 of itself, 0.02 of a 10-bit PQ code, and there is no range
to keep to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float32]
Result = TypeVar("Result", bound=np.generic)
Real = TypeVar("Real", bound=np.floating[Any])

_DROPPED = 11
_NEGATIVE = 1 << (31 - _DROPPED)  # the first index of values with the sign bit set
_LEAST, _MOST = 2.0**-24, 2.0**24
_AT_ONCE = 2**16  # indices of 8 bytes that stay in the processor's cache


def table_of(curve: Callable[[NDArray[np.float64]], NDArray[np.floating[Any]]]) -> Table:
    """Tabulate a curve over all floats; negative ones count as 0, NaN as infinity.

    Args:
        curve: float64 of any length -> the same length. Below 2^-24 it is what it is at 0, above 2^24 constant.
    """
    first, last = (_index(np.array([bound], np.float32))[0] for bound in (_LEAST, _MOST))
    # The middle of what shares an index.
    bits = (np.arange(first, last, dtype=np.uint32) << _DROPPED) + (1 << (_DROPPED - 1))
    table = np.empty(2 * _NEGATIVE, np.float32)
    table[first:last] = curve(bits.view(np.float32).astype(np.float64))
    table[:first] = table[_NEGATIVE:] = curve(np.zeros(1))
    table[last:_NEGATIVE] = table[last - 1]
    table.setflags(write=False)
    return table


def look_up(table: NDArray[Result], values: NDArray[np.float32], out: NDArray[Result] | None = None) -> NDArray[Result]:
    """Apply a tabulated curve, or what was made of its values, to values of any shape.

    Args:
        table: from :func:`table_of`, or of its length.
        values: any.
        out: where the results go, C-contiguous, of the values' shape and the table's type; ``None`` makes an array.
    """
    if out is None:
        out = np.empty(values.shape, table.dtype)
    bits, results = np.ascontiguousarray(values).view(np.uint32).reshape(-1), out.reshape(-1)
    index = np.empty(min(bits.size, _AT_ONCE), np.intp)
    for start in range(0, bits.size, _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, bits.size))
        places = index[: part.stop - start]
        np.right_shift(bits[part], np.uint32(_DROPPED), out=places, casting="unsafe")
        np.take(table, places, out=results[part], mode="wrap")  # none is out of range; "wrap" does not buffer
    return out


def look_up_codes(
    table: NDArray[Real], codes: NDArray[np.uint8] | NDArray[np.uint16], out: NDArray[Real] | None = None
) -> NDArray[Real]:
    """Return what a table has for each code.

    Args:
        table: (256,) for codes of 8 bits, (65536,) for those of 16; float32 or float64.
        codes: at least one axis.
        out: where it goes, C-contiguous, of the codes' shape and the table's type; ``None`` makes an array.
    """
    import cv2

    if out is None:
        out = np.empty(codes.shape, table.dtype)
    if codes.dtype == np.uint8 or _opencv_takes_16_bits():
        cv2.LUT(codes.reshape(len(codes), -1), table[None], out.reshape(len(codes), -1))
    else:
        np.take(table, codes, out=out, mode="wrap")  # none is out of range; "wrap" does not buffer
    return out


@functools.cache
def _opencv_takes_16_bits() -> bool:
    import cv2

    return tuple(map(int, cv2.__version__.split(".")[:2])) >= (4, 13)


def _index(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    return values.view(np.uint32) >> np.uint32(_DROPPED)
