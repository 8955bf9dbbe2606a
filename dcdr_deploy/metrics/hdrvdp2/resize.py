"""Bicubic resizing as MATLAB's imresize does it: antialiased, symmetric edges, weights that sum to one."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SUPPORT = 4.0  # width of the cubic kernel in samples


def imresize(plane: Array, size: tuple[int, int]) -> Array:
    """Resize (H, W) to ``size`` by R. Keys' cubic convolution (a = -0.5), widened where it shrinks."""
    if plane.shape == size:
        return plane
    rows = _along_rows(plane, size[0])
    return np.ascontiguousarray(_along_rows(np.ascontiguousarray(rows.T), size[1]).T)


def _along_rows(plane: Array, length: int) -> Array:
    if plane.shape[0] == length:
        return plane
    indices, weights = _contributions(plane.shape[0], length)
    result = np.zeros((length, plane.shape[1]))
    for index, weight in zip(indices.T, weights.T, strict=True):
        result += weight[:, None] * plane[index]
    return result


@functools.lru_cache(maxsize=64)
def _contributions(length: int, target: int) -> tuple[NDArray[np.intp], Array]:
    """Which input samples make each output sample, and their weights; both (target, taps)."""
    scale = target / length
    stretch = max(1.0, 1 / scale)
    centre = (np.arange(target) + 0.5) / scale - 0.5
    taps = int(np.ceil(_SUPPORT * stretch)) + 2
    first = np.floor(centre - _SUPPORT * stretch / 2).astype(np.intp)
    indices = first[:, None] + np.arange(taps)
    weights = _cubic((centre[:, None] - indices) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    used = weights.any(axis=0)
    # Symmetric edges: ..., 1, 0, 0, 1, ..., n - 1, n - 1, n - 2, ...
    wrapped = indices[:, used] % (2 * length)
    return np.where(wrapped < length, wrapped, 2 * length - 1 - wrapped), weights[:, used]


def _cubic(x: Array) -> Array:
    distance = np.abs(x)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance <= 1, near, np.where(distance <= 2, far, 0.0))
