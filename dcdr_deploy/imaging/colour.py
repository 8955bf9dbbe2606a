"""From a file's own colours to sRGB-encoded Rec. 709 RGB."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import icc
from dcdr_deploy.imaging.transfer import linear_to_srgb

_SPACE_OF_CHANNELS = {1: "GRAY", 3: "RGB", 4: "CMYK"}
_ROWS_AT_ONCE = 64  # keeps the float copies of a 4K frame within the processor's cache


def to_srgb(colour: NDArray[Any], profile_bytes: bytes | None) -> tuple[NDArray[Any], str]:
    """Convert stored colours to sRGB.

    Matrix/TRC and gray profiles are computed here at the full depth, relative colorimetric; colours outside sRGB are
    clipped per channel. Profiles with look-up tables and all of CMYK go through LittleCMS (relative colorimetric with
    black point compensation), which works on 8 bits. CMYK without a profile is converted as (1 - C)(1 - K). A profile
    that is broken, or of another colour space than the picture, is ignored: the picture then counts as sRGB.

    Args:
        colour: (H, W) gray, (H, W, 3) RGB or (H, W, 4) CMYK with 0 = no ink; uint8 or uint16.
        profile_bytes: the embedded ICC profile, or ``None``.

    Returns:
        (H, W, 3) of the same dtype (uint8 where LittleCMS had to be used) and a phrase for the metadata: ``"none"``,
        ``"sRGB"``, ``"converted from <name>"`` or ``"ignored: <reason>"``.
    """
    if not profile_bytes:
        return _without_profile(colour), "none"
    try:
        return _with_profile(colour, profile_bytes)
    except icc.BrokenProfileError as error:
        return _without_profile(colour), f"ignored: {error}"


def _with_profile(colour: NDArray[Any], profile_bytes: bytes) -> tuple[NDArray[Any], str]:
    profile = icc.parse(profile_bytes)
    channels = 1 if colour.ndim == 2 else colour.shape[2]
    space = _SPACE_OF_CHANNELS[channels]
    if space == "GRAY" and profile.space == "RGB":  # JPEG writers drop the colour of a picture, not its profile
        colour, space = _gray_to_rgb(colour), "RGB"
    if profile.space != space:
        raise icc.BrokenProfileError(f"a profile for {profile.space} in a picture of {space}")
    if icc.is_srgb(profile):
        return _without_profile(colour), "sRGB"
    report = f"converted from {profile.description or 'an unnamed profile'}"
    # A 16-bit picture keeps its depth where the profile has a matrix beside its tables.
    simple = profile.curves is not None and (not profile.has_lut or colour.dtype == np.uint16)
    if simple and profile.curves is not None:
        return _apply_simple(colour, profile.curves, profile.matrix), report
    reduced = " at 8 bits" if colour.dtype == np.uint16 else ""
    return _apply_littlecms(_to_eight_bits(colour), profile_bytes), report + reduced


def _apply_simple(
    colour: NDArray[Any], curves: tuple[icc.Curve, ...], matrix: NDArray[np.float64] | None
) -> NDArray[Any]:
    """Tone curves by table, primaries by matrix, then the sRGB curve; same dtype as ``colour``."""
    top = int(np.iinfo(colour.dtype).max)
    codes = np.arange(top + 1) / top
    tables = [np.asarray(curve(codes), dtype=np.float32) for curve in curves]
    if matrix is None:
        encoded = np.rint(linear_to_srgb(np.clip(tables[0], 0, 1)) * top).astype(colour.dtype)
        return _gray_to_rgb(encoded[colour])
    encode = _encode_8 if colour.dtype == np.uint8 else _encode_16
    transposed = matrix.T.astype(np.float32)
    result = np.empty_like(colour)
    for row in range(0, colour.shape[0], _ROWS_AT_ONCE):
        rows = colour[row : row + _ROWS_AT_ONCE]
        linear = np.stack([table[rows[..., c]] for c, table in enumerate(tables)], axis=-1)
        result[row : row + _ROWS_AT_ONCE] = encode(np.clip(linear @ transposed, 0, 1))
    return result


_EIGHT_BIT_CODE = np.rint(linear_to_srgb(np.arange(65536) / 65535) * 255).astype(np.uint8)


def _encode_8(linear: NDArray[np.float32]) -> NDArray[np.uint8]:
    """By a table over 16-bit linear codes: the darkest 8-bit step is 20 of them, so none is missed."""
    return _EIGHT_BIT_CODE[(linear * np.float32(65535) + np.float32(0.5)).astype(np.uint16)]


def _encode_16(linear: NDArray[np.float32]) -> NDArray[np.uint16]:
    return np.rint(linear_to_srgb(linear) * 65535).astype(np.uint16)


def _apply_littlecms(colour: NDArray[np.uint8], profile_bytes: bytes) -> NDArray[np.uint8]:
    from PIL import Image, ImageCms

    picture = Image.fromarray(colour)
    if colour.ndim == 3 and colour.shape[2] == 4:
        picture = Image.frombytes("CMYK", (colour.shape[1], colour.shape[0]), colour.tobytes())
    try:
        converted = ImageCms.profileToProfile(
            picture,
            ImageCms.ImageCmsProfile(io.BytesIO(profile_bytes)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:  # what ImageCms documents and wraps
        raise icc.BrokenProfileError(f"LittleCMS: {' '.join(str(error).split())}") from error
    return np.array(converted, dtype=np.uint8)


def _without_profile(colour: NDArray[Any]) -> NDArray[Any]:
    if colour.ndim == 2:
        return _gray_to_rgb(colour)
    if colour.shape[2] == 3:
        return np.ascontiguousarray(colour)
    ink = _to_eight_bits(colour).astype(np.uint16)
    light = (255 - ink[..., :3]) * (255 - ink[..., 3:])
    return ((light + 127) // 255).astype(np.uint8)


def _gray_to_rgb(gray: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(gray[..., None], 3, axis=2)


def _to_eight_bits(colour: NDArray[Any]) -> NDArray[np.uint8]:
    if colour.dtype == np.uint8:
        return np.asarray(colour)
    return ((colour.astype(np.uint32) + 128) // 257).astype(np.uint8)
