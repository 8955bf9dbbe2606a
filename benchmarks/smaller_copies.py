"""Smaller copies of training pictures: photographs recompressed, panoramas rounded; and how far that moved pixels."""

from __future__ import annotations

import lzma
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dcdr_deploy.imaging.decoders.radiance import decode_radiance
from dcdr_deploy.imaging.radiance import RGBE_MAX, RLE_WIDTHS, encode_rgbe, run_length_encode
from dcdr_deploy.imaging.transfer import linear_to_srgb, srgb_to_linear
from dcdr_deploy.scenes.panorama import read_panorama, repair_ringing, ringing_mask
from dcdr_deploy.scenes.photographs import read_photograph
from dcdr_deploy.scenes.splits import PANORAMA_SUFFIXES, PHOTOGRAPH_SUFFIXES

FloatArray = NDArray[np.float32]

QUALITY = 90
MANTISSA_BITS = 7
PRESET: Final = 6
"""Of xz."""
MOST_CHANGED = 1e-3
"""Share of a panorama's pixels that training may take for broken in the copy alone, or in the original alone."""
DARKEST = 2.0**-100
"""Largest channel from which a pixel's relative error counts; .hdr files hold nothing far below."""


@dataclass(frozen=True)
class Reduction:
    """What is given up.

    Attributes:
        quality: of JPEG files, with chroma at full size.
        bits: of the mantissas that a pixel's three channels have, 4 to 8.
        longest: edge in pixels above which pictures are averaged down; ``None`` for none.
        packed: whether an archive will be compressed: its .hdr files then hold plain pixels, which pack better than the
            format's own run lengths.
    """

    quality: int = QUALITY
    bits: int = MANTISSA_BITS
    longest: int | None = None
    packed: bool = False


@dataclass(frozen=True)
class Copy:
    """A copy that was written.

    Attributes:
        before, after: bytes of the files; where an archive will be made, ``after`` is what a panorama adds to that.
        moved: mean squared error in codes of 255 of a photograph, largest relative error of a panorama; against the
            original as it was averaged down.
        as_it_is: whether the original's bytes were taken.
    """

    before: int
    after: int
    moved: float
    as_it_is: bool


# Photographs


def copy_photograph(source: Path, target: Path, reduction: Reduction) -> Copy:
    """Write a JPEG file, or the original's bytes where that is not smaller.

    Args:
        source: a picture as training reads it.
        target: path without suffix.
        reduction: what is given up.

    Raises:
        InputError: the original cannot be read.
    """
    data, pixels = source.read_bytes(), read_photograph(source)
    reduced = averaged_down(pixels, reduction.longest)
    buffer = BytesIO()
    # 4:4:4, as chroma at half size would spread colours over the edges of clipped areas.
    Image.fromarray(reduced).save(buffer, "JPEG", quality=reduction.quality, subsampling=0, optimize=True)
    if reduced is pixels and buffer.tell() >= len(data):
        return _as_it_is(target, source, data, len(data))
    path = _written(target, ".jpg", buffer.getvalue())
    error = read_photograph(path).astype(np.float32) - reduced
    return Copy(len(data), buffer.tell(), float(np.mean(error**2, dtype=np.float64)), False)


def averaged_down(pixels: NDArray[np.uint8], longest: int | None) -> NDArray[np.uint8]:
    """An 8-bit sRGB picture, (H, W, 3), averaged in linear light to a longer edge of at most ``longest``."""
    height, width = pixels.shape[:2]
    if longest is None or max(height, width) <= longest:
        return pixels
    scale = longest / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    light = srgb_to_linear(pixels.astype(np.float32) / np.float32(255))
    codes = linear_to_srgb(cv2.resize(light, size, interpolation=cv2.INTER_AREA)) * 255
    return np.asarray(np.rint(codes), np.uint8)


def words_of_photographs(copies: Sequence[Copy]) -> str:
    """How far photographs moved."""
    moved = [each.moved for each in copies if not each.as_it_is]
    if not moved:
        return "no pixel moved"
    return f"PSNR of the others {psnr(float(np.mean(moved))):.1f} dB pooled, {psnr(max(moved)):.1f} dB the worst"


def psnr(squared: float) -> float:
    """Decibels of a mean squared error in codes of 255."""
    return 10 * math.log10(255**2 / squared) if squared else math.inf


# Panoramas


def copy_panorama(source: Path, target: Path, reduction: Reduction) -> Copy:
    """Write a Radiance file with rounded mantissas, or the original's bytes.

    Those are taken where the copy is not smaller, and where training would take other pixels for broken: it knows the
    ringing of lossy compression by negative values, which a Radiance file cannot hold, and lights that lost a channel
    by the ratio of channels. What is averaged down is repaired before.

    Args:
        source: OpenEXR or Radiance file, twice as wide as high.
        target: path without suffix.
        reduction: what is given up; of ``longest`` an even number is taken.

    Raises:
        InputError: the original cannot be read.
    """
    data, stored = source.read_bytes(), read_panorama(source)
    light, ringing = np.clip(stored, 0, np.float32(RGBE_MAX)), ringing_mask(stored)
    reduced = light
    if reduction.longest is not None and reduction.longest < light.shape[1]:
        height = max(reduction.longest // 2, 1)
        repaired = repair_ringing(stored, ringing)
        averaged = cv2.resize(repaired, (2 * height, height), interpolation=cv2.INTER_AREA)
        reduced = np.clip(averaged, 0, np.float32(RGBE_MAX))
    found = radiance_file(round_mantissas(reduced, reduction.bits), plain=reduction.packed)
    size = _size(found, reduction)
    if reduced is light:
        changed = (ringing_mask(decode_radiance(found).pixels) != ringing).mean()
        shows_ringing = (ringing_mask(light) == ringing).all()
        if not shows_ringing or changed > MOST_CHANGED or size >= _size(data, reduction):
            return _as_it_is(target, source, data, _size(data, reduction))
    path = _written(target, ".hdr", found)
    return Copy(len(data), size, relative_error(reduced, read_panorama(path)), False)


def round_mantissas(light: FloatArray, bits: int) -> FloatArray:
    """Light that a Radiance file holds exactly: multiples of a step that is ``2^-bits`` of the pixel's exponent.

    A channel is off by at most ``2^-bits`` of its pixel's rounded largest channel; what is rounded already stays.

    Args:
        light: (H, W, 3) linear, not negative.
        bits: 8, which is what Radiance files have, or less.
    """
    largest = light.max(axis=-1, keepdims=True)
    step = _step(largest, bits)
    step = _step(np.rint(largest / step) * step, bits)  # rounding up may have reached the next exponent
    return np.asarray(np.rint(light / step) * step, np.float32)


def _step(largest: FloatArray, bits: int) -> FloatArray:
    return np.ldexp(np.float32(1), np.maximum(np.frexp(largest)[1] - bits, -126))


def radiance_file(light: FloatArray, plain: bool) -> bytes:
    """A Radiance file, of plain pixels or of run lengths, where the width allows those."""
    height, width = light.shape[:2]
    rgbe = np.ascontiguousarray(encode_rgbe(light))
    pixels = rgbe.tobytes() if plain or width not in RLE_WIDTHS else run_length_encode(rgbe)
    return f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n".encode() + pixels


def relative_error(before: FloatArray, after: FloatArray) -> float:
    """Largest difference of a channel, as a share of its pixel's largest channel."""
    largest = before.max(axis=-1)
    seen = largest > DARKEST
    return float((np.abs(after - before).max(axis=-1)[seen] / largest[seen]).max(initial=0))


def words_of_panoramas(copies: Sequence[Copy]) -> str:
    """How far panoramas moved."""
    moved = [each.moved for each in copies if not each.as_it_is]
    if not moved:
        return "no pixel moved"
    return f"largest relative error of the others {max(moved):.2%} of a pixel's largest channel"


def _size(data: bytes, reduction: Reduction) -> int:
    """Bytes that a file takes in the end."""
    return len(lzma.compress(data, preset=PRESET)) if reduction.packed else len(data)


# Files


def _as_it_is(target: Path, source: Path, data: bytes, size: int) -> Copy:
    _written(target, source.suffix.lower(), data)
    return Copy(len(data), size, 0.0, True)


def _written(target: Path, suffix: str, data: bytes) -> Path:
    """Write a file; a point in the name is part of the name."""
    path = target.with_name(target.name + suffix)
    path.write_bytes(data)
    return path


@dataclass(frozen=True)
class Kind:
    """A kind of training pictures.

    Attributes:
        name: of its folder, and for people.
        suffixes: of its files.
        copy: writes one.
        words: how far copies moved.
    """

    name: str
    suffixes: Sequence[str]
    copy: Callable[[Path, Path, Reduction], Copy]
    words: Callable[[Sequence[Copy]], str]


KINDS = (
    Kind("photos", PHOTOGRAPH_SUFFIXES, copy_photograph, words_of_photographs),
    Kind("panoramas", PANORAMA_SUFFIXES, copy_panorama, words_of_panoramas),
)
