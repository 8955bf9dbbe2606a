"""YCbCr of 8 bits in a TIFF that is not compressed as JPEG (TIFF 6.0, section 21)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import tiff_file as t
from dcdr_deploy.imaging.decoders.common import damaged, unsupported
from dcdr_deploy.imaging.decoders.tiff_directory import Directory
from dcdr_deploy.imaging.decoders.tiff_samples import stored_samples

YCBCR = 6
"""PhotometricInterpretation."""

_COEFFICIENTS, _SUBSAMPLING, _REFERENCE_BLACK_WHITE = 529, 530, 532
_BT601 = (0.299, 0.587, 0.114)
_FULL_RANGE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)
_LUMA_SPAN, _CHROMA_SPAN = 255, 127


def rgb_of_ycbcr(directory: Directory) -> NDArray[np.uint8]:
    """Decode (H, W, 3) RGB by the file's coefficients, reference black and white, and subsampling.

    Subsampled chroma is repeated, as libtiff does.

    Raises:
        UnreadableError: damaged data, or a layout that is not known here.
    """
    luma, blue, red = _components(directory)
    black_white = directory.fractions(_REFERENCE_BLACK_WHITE, _FULL_RANGE)
    y, cb, cr = (
        _value(codes, black_white[2 * i], black_white[2 * i + 1], span)
        for i, (codes, span) in enumerate(((luma, _LUMA_SPAN), (blue, _CHROMA_SPAN), (red, _CHROMA_SPAN)))
    )
    of_red, of_green, of_blue = directory.fractions(_COEFFICIENTS, _BT601)
    if of_green <= 0:
        raise damaged("its YCbCrCoefficients give green no weight")
    r, b = y + cr * np.float32(2 - 2 * of_red), y + cb * np.float32(2 - 2 * of_blue)
    g = (y - np.float32(of_blue) * b - np.float32(of_red) * r) / np.float32(of_green)
    return np.rint(np.clip(np.stack([r, g, b], axis=-1), 0, 255)).astype(np.uint8)


def _value(codes: NDArray[np.generic], black: float, white: float, span: int) -> NDArray[np.float32]:
    if white <= black:
        raise damaged("its ReferenceBlackWhite has no range")
    return (codes.astype(np.float32) - np.float32(black)) * np.float32(span / (white - black))


def _components(directory: Directory) -> tuple[NDArray[np.generic], NDArray[np.generic], NDArray[np.generic]]:
    """Y, Cb and Cr, each (H, W) codes."""
    height, width = directory.size
    across, down = (directory.numbers(_SUBSAMPLING) or (2, 2))[:2]
    if directory.samples != 3 or across not in (1, 2, 4) or down not in (1, 2, 4):
        raise unsupported(f"YCbCr of {directory.samples} samples, subsampled {across} x {down}, is not supported")
    if (across, down) == (1, 1):
        samples = stored_samples(directory)
        return samples[..., 0], samples[..., 1], samples[..., 2]
    if directory.separate or directory.number(t.PREDICTOR, t.NO_PREDICTOR) != t.NO_PREDICTOR:
        raise unsupported("subsampled YCbCr in separate planes, or with a predictor, is not supported")
    units = stored_samples(_of_units(directory, across, down))
    luma = units[..., : across * down].reshape(*units.shape[:2], down, across).swapaxes(1, 2)
    whole = luma.reshape(units.shape[0] * down, units.shape[1] * across)
    blue, red = (
        units[..., index].repeat(down, axis=0).repeat(across, axis=1)[:height, :width]
        for index in (across * down, across * down + 1)
    )
    return whole[:height, :width], blue, red


def _of_units(directory: Directory, across: int, down: int) -> Directory:
    """The same pixel data as a picture of units: the luma of ``across`` x ``down`` pixels, then their Cb and Cr."""
    height, width = directory.size
    segment_height, segment_width = directory.segment_size
    tags = {
        **directory.tags,
        t.WIDTH: -(-width // across),
        t.HEIGHT: -(-height // down),
        t.SAMPLES_PER_PIXEL: across * down + 2,
        t.BITS: 8,
    }
    if directory.tiled:
        tags |= {t.TILE_WIDTH: -(-segment_width // across), t.TILE_HEIGHT: -(-segment_height // down)}
    else:
        tags[t.ROWS_PER_STRIP] = -(-segment_height // down)
    return replace(directory, tags=tags)
