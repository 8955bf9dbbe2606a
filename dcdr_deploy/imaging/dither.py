"""From real numbers to integer codes without bands: triangular noise before rounding.

The sum of two uniform noises, each one code wide, makes the mean of a rounded value the value itself, and its error's
size independent of it (Lipshitz, Wannamaker and Vanderkooy, "Quantization and dither", JAES 40, 1992). The noise comes
from a fixed table, read from a place that seed and row decide: the same picture gives the same codes however its rows
are shared out.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

_TABLE = 2**20
_GOLDEN = 2654435769  # 2^32 over the golden ratio: neighbouring rows begin far apart


@functools.cache
def _noise() -> NDArray[np.float32]:
    """Triangular in (-1, 1), mean 0."""
    random = np.random.default_rng(20_260_101)
    noise = random.random(_TABLE, np.float32) - random.random(_TABLE, np.float32)
    noise.setflags(write=False)
    return noise


def quantised(
    codes: NDArray[np.float32],
    lowest: int,
    highest: int,
    *,
    seed: int | None,
    first_row: int = 0,
    out: NDArray[np.uint16] | None = None,
) -> NDArray[np.uint16]:
    """Round code values to integers in [lowest, highest].

    Args:
        codes: (rows, ...) float32 code values, finite; overwritten.
        lowest: of the codes allowed. What is this to a thousandth stays it: black does not flicker.
        highest: of the codes allowed, at most 65535.
        seed: of the noise, for instance a frame's number; ``None`` rounds without noise.
        first_row: of the picture that ``codes`` is a part of.
        out: where they go, of the same shape; ``None`` makes an array.
    """
    if seed is not None:
        black = codes <= np.float32(lowest + 1e-3)
        for row, values in enumerate(codes.reshape(len(codes), -1), first_row):
            values += _of_row(seed, row, values.size)
        np.copyto(codes, np.float32(lowest), where=black)
    codes += np.float32(0.5)
    np.clip(codes, lowest, highest, out=codes)
    if out is None:
        out = np.empty(codes.shape, np.uint16)
    np.copyto(out, codes, casting="unsafe")
    return out


def _of_row(seed: int, row: int, count: int) -> NDArray[np.float32]:
    noise = _noise()
    start = (row * _GOLDEN + seed * 40503 * 65539) % 2**32 % (_TABLE - min(count, _TABLE // 2))
    part = noise[start : start + count]
    return part if len(part) == count else np.resize(noise, count)
