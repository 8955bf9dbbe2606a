"""Colours through the look-up tables of ICC profiles, by LittleCMS.

By itself LittleCMS joins profile, sRGB and clipping to one coarse table for pictures of 8 bits, which is up to 20 codes
off where colours leave sRGB. Without that it is exact and takes eight times as long a pixel: so it is asked for each
colour of a picture once.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.icc import BrokenProfileError

_ROWS_AT_ONCE = 64
_ROWS_SORTED = 1024
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}

Transform = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""(n, C) device colours to (n, 3) sRGB."""


def to_srgb_by_tables(colour: NDArray[np.uint8], profile: bytes) -> NDArray[np.uint8]:
    """Convert to sRGB, relative colorimetric with black point compensation.

    Args:
        colour: (H, W) gray, (H, W, 3) RGB or (H, W, 4) CMYK with 0 = no ink.
        profile: of the colours.

    Returns:
        (H, W, 3).

    Raises:
        BrokenProfileError: LittleCMS cannot read or apply the profile, or it is of another colour space.
    """
    samples = colour.reshape(*colour.shape[:2], -1)
    channels = samples.shape[2]
    transform = _transform(profile, channels)
    converted = np.empty((*samples.shape[:2], 3), np.uint8)
    if channels == 4:  # too many colours for a table of them all
        for rows in _blocks(samples, _ROWS_SORTED):
            distinct, places = np.unique(_packed(samples[rows]), return_inverse=True)
            converted[rows] = transform(_unpacked(distinct, channels))[places.reshape(samples[rows].shape[:2])]
        return converted
    seen = np.zeros(256**channels, bool)
    for rows in _blocks(samples):
        seen[_packed(samples[rows])] = True
    distinct = np.flatnonzero(seen).astype(np.uint32)
    table = np.empty((len(seen), 3), np.uint8)
    table[distinct] = transform(_unpacked(distinct, channels))
    for rows in _blocks(samples):
        converted[rows] = table[_packed(samples[rows])]
    return converted


def _blocks(samples: NDArray[Any], rows: int = _ROWS_AT_ONCE) -> Iterator[slice]:
    return (slice(row, row + rows) for row in range(0, len(samples), rows))


def _packed(samples: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """One number for each colour: (n, W, C) -> (n, W)."""
    numbers = samples[..., 0].astype(np.uint32)
    for channel in range(1, samples.shape[2]):
        numbers <<= 8
        numbers |= samples[..., channel]
    return numbers


def _unpacked(numbers: NDArray[np.uint32], channels: int) -> NDArray[np.uint8]:
    """The colours of :func:`_packed`: (n,) -> (n, C)."""
    return numbers.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 4 - channels :]


def _transform(profile: bytes, channels: int) -> Transform:
    from PIL import Image, ImageCms

    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOOPTIMIZE
    try:
        joined = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            _MODES[channels],
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:  # what ImageCms documents and wraps
        raise BrokenProfileError(f"LittleCMS: {' '.join(str(error).split())}") from error

    def transform(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
        picture = Image.frombytes(_MODES[channels], (len(colours), 1), np.ascontiguousarray(colours).tobytes())
        try:
            done = ImageCms.applyTransform(picture, joined)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            raise BrokenProfileError(f"LittleCMS: {' '.join(str(error).split())}") from error
        assert done is not None  # it is only where the picture itself is converted
        return np.asarray(done).reshape(-1, 3)

    return transform
