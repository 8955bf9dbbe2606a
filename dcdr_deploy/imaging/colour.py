"""From a file's own colours to sRGB-encoded Rec. 709 RGB, and to linear light."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import icc
from dcdr_deploy.imaging.declared import Declared, resolve
from dcdr_deploy.imaging.eight_bits import eight_bits
from dcdr_deploy.imaging.encoding import Encoding
from dcdr_deploy.imaging.littlecms import to_srgb_by_tables
from dcdr_deploy.imaging.transfer import linear_to_srgb

_SPACE = slice(16, 20)  # of an ICC profile: the colour space of its data
_SAME_COLOURS = 2  # codes of 8 bits, in the mean: tables of few nodes are some off
_ROWS_AT_ONCE = 64  # keeps the float copies of a 4K frame within the processor's cache


@dataclass(frozen=True)
class Converted:
    """sRGB samples, and what was done for them.

    Attributes:
        pixels: (H, W, 3), uint8 or uint16 as the samples were; uint8 where LittleCMS had to be used.
        encoding: what the samples were.
        report: a phrase such as ``"Display P3 by ICC profile, converted to sRGB"``.
    """

    pixels: NDArray[Any]
    encoding: Encoding
    report: str


def to_srgb(colour: NDArray[Any], declared: Declared) -> Converted:
    """Convert stored colours to sRGB by what their file declares (``declared.py``).

    Curves and primaries are computed here at the full depth, relative colorimetric; colours outside sRGB are clipped
    per channel. ICC profiles with look-up tables and all of CMYK go through LittleCMS (relative colorimetric with black
    point compensation), which works on 8 bits. CMYK without a profile is converted as (1 - C)(1 - K).

    Args:
        colour: (H, W) gray, (H, W, 3) RGB or (H, W, 4) CMYK with 0 = no ink; uint8 or uint16.
        declared: the file's statements, none of which may say PQ or HLG.

    Raises:
        ValueError: samples of PQ or HLG, which sRGB cannot hold.
    """
    channels = 1 if colour.ndim == 2 else colour.shape[2]
    encoding = resolve(declared, channels)
    if encoding.hdr:
        raise ValueError(f"{encoding.hdr} samples")
    if not encoding.by:
        name = "CMYK without a profile, as (1 - C)(1 - K)" if channels == 4 else "nothing declared, taken as sRGB"
        return Converted(_as_srgb(colour), encoding, name)
    if encoding.is_srgb and encoding.profile is None:
        return Converted(_as_srgb(colour), encoding, f"sRGB by {encoding.by}")
    report = f"{encoding.name} by {encoding.by}, converted to sRGB"
    if encoding.profile is None:
        return Converted(by_encoding(colour, encoding), encoding, report)
    deep = colour.dtype == np.uint16
    reduced = " at 8 bits" if deep else ""
    if colour.ndim == 2 and encoding.profile[_SPACE] == b"RGB ":  # JPEG writers drop the colour, not the profile
        colour = _gray_to_rgb(colour)
    try:
        # A 16-bit picture keeps its depth where a profile has a matrix beside its tables that says what they say.
        if deep and encoding.curves and _matrix_agrees(encoding, encoding.profile, channels):
            return Converted(by_encoding(colour, encoding), encoding, report)
        pixels = to_srgb_by_tables(eight_bits(colour), encoding.profile)
    except icc.BrokenProfileError as error:
        # What the profile cannot say, another statement may.
        without = to_srgb(colour, replace(declared, icc=None))
        notes = (*without.encoding.notes, f"ICC profile ignored: {error}")
        return replace(without, encoding=replace(without.encoding, icc=f"ignored: {error}", notes=notes))
    return Converted(pixels, replace(encoding, icc=encoding.icc + reduced), report + reduced)


def _matrix_agrees(encoding: Encoding, profile: bytes, channels: int) -> bool:
    """Whether curves and matrix of a profile lead where its tables lead; in some they are only a stand-in.

    Raises:
        BrokenProfileError: LittleCMS cannot apply the tables.
    """
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(*[steps] * channels), axis=-1).reshape(1, -1, channels)
    asked = grid[..., 0] if channels == 1 else grid
    difference = by_encoding(asked, encoding).astype(np.int16) - to_srgb_by_tables(asked, profile)
    return float(np.abs(difference).mean()) <= _SAME_COLOURS


def to_linear(colour: NDArray[np.uint16], encoding: Encoding) -> NDArray[np.float32]:
    """Linear Rec. 709 of integer samples, (H, W) or (H, W, 3) -> (H, W, 3) float32 in units of their own full scale.

    Colours outside Rec. 709 keep their negative values.
    """
    rgb = _gray_to_rgb(colour) if colour.ndim == 2 else colour
    tables = encoding.tables(int(np.iinfo(colour.dtype).max))
    linear = np.stack([tables[c % len(tables)][rgb[..., c]] for c in range(3)], axis=-1)
    if encoding.matrix is None or encoding.has_rec709_primaries:
        return linear
    return linear @ encoding.matrix.T.astype(np.float32)


def by_encoding(colour: NDArray[Any], encoding: Encoding) -> NDArray[Any]:
    """Tone curves by table, primaries by matrix, then the sRGB curve; same dtype as ``colour``."""
    top = int(np.iinfo(colour.dtype).max)
    tables = encoding.tables(top)
    if encoding.matrix is None and len(tables) == 1:
        encoded = np.rint(linear_to_srgb(np.clip(tables[0], 0, 1)) * top).astype(colour.dtype)
        return _as_srgb(encoded[colour])
    if colour.ndim == 2:
        colour = _gray_to_rgb(colour)
    encode = _encode_8 if colour.dtype == np.uint8 else _encode_16
    transposed = (np.eye(3) if encoding.matrix is None else encoding.matrix).T.astype(np.float32)
    result = np.empty_like(colour)
    for row in range(0, colour.shape[0], _ROWS_AT_ONCE):
        rows = colour[row : row + _ROWS_AT_ONCE]
        linear = np.stack([tables[c % len(tables)][rows[..., c]] for c in range(3)], axis=-1)
        result[row : row + _ROWS_AT_ONCE] = encode(np.clip(linear @ transposed, 0, 1))
    return result


_EIGHT_BIT_CODE = np.rint(linear_to_srgb(np.arange(65536) / 65535) * 255).astype(np.uint8)


def _encode_8(linear: NDArray[np.float32]) -> NDArray[np.uint8]:
    """By a table over 16-bit linear codes: the darkest 8-bit step is 20 of them, so none is missed."""
    return _EIGHT_BIT_CODE[(linear * np.float32(65535) + np.float32(0.5)).astype(np.uint16)]


def _encode_16(linear: NDArray[np.float32]) -> NDArray[np.uint16]:
    return np.rint(linear_to_srgb(linear) * 65535).astype(np.uint16)


def _as_srgb(colour: NDArray[Any]) -> NDArray[Any]:
    if colour.ndim == 2:
        return _gray_to_rgb(colour)
    if colour.shape[2] == 3:
        return np.ascontiguousarray(colour)
    ink = eight_bits(colour).astype(np.uint16)
    light = (255 - ink[..., :3]) * (255 - ink[..., 3:])
    return ((light + 127) // 255).astype(np.uint8)


def _gray_to_rgb(gray: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(gray[..., None], 3, axis=2)
