"""The image header of a JPEG XL codestream (ISO/IEC 18181-1:2024, annex D), rewritten to say another colour space.

imagecodecs calls all samples linear sRGB. The header lies before the coded frames, which begin at a whole byte, so that
it can be replaced alone. What its words mean for the samples differs by how they are coded:

- lossy (``xyb_encoded``): frames hold XYB, which is light; 1.0 of what the encoder was given counted as 255 cd/m2, its
  ``intensity_target`` where none is said. The colour space only says in which form a decoder gives that light out.
- lossless: frames hold the samples as they are; the colour space says what they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcdr_deploy.imaging.jpegxl.bits import Bits, BrokenStreamError
from dcdr_deploy.imaging.jxl_header import (
    CODESTREAM,
    Header,
    read_channels,
    read_colours,
    read_depth,
    read_size,
)

ENCODER_NITS = 255.0
"""cd/m2 of 1.0 for an encoder that is told nothing (D.3.8, default of ``intensity_target``)."""

SRGB, REC2100, P3 = 1, 9, 11
"""Primaries (table D.4), all with the white D65."""

LINEAR, PQ = 8, 16
"""Transfer functions (table D.4)."""

_RGB, _D65, _RELATIVE = 0, 1, 1
_ENUM = ((0, 0), (1, 0), (2, 4), (18, 6))
_INTEGER_BITS = ((8, 0), (10, 0), (12, 0), (1, 6))
_FLOAT_BITS = ((32, 0), (16, 0), (24, 0), (1, 6))

_Distribution = tuple[tuple[int, int], ...]


class UnknownHeaderError(ValueError):
    """A header that imagecodecs does not write."""


@dataclass(frozen=True)
class Colour:
    """What samples are.

    Attributes:
        primaries: one of :data:`SRGB`, :data:`REC2100`, :data:`P3`.
        transfer: :data:`LINEAR` or :data:`PQ`.
        nits: cd/m2 of 1.0 where samples are linear; the most that there is where they are PQ.
    """

    primaries: int
    transfer: int
    nits: float


def recoloured(codestream: bytes, colour: Colour, bits: int) -> bytes:
    """Return a codestream with another colour space in its header.

    Args:
        codestream: of imagecodecs, without a container.
        colour: the new one.
        bits: of integer samples, or 16 for halves; what decoders of lossy pictures give. Lossless ones keep their own.

    Raises:
        UnknownHeaderError: the header holds what cannot be carried over.
    """
    try:
        return _rewritten(codestream, colour, bits)
    except BrokenStreamError as error:
        raise UnknownHeaderError(str(error)) from error


def _rewritten(codestream: bytes, colour: Colour, bits: int) -> bytes:
    if not codestream.startswith(CODESTREAM):
        raise UnknownHeaderError("no codestream")
    old, new = Bits(codestream, 8 * len(CODESTREAM)), _Writer()
    read_size(old)
    new.copy(codestream, 0, old.at)
    if old.flag() or old.flag():
        raise UnknownHeaderError("a header of defaults, or one with orientation, preview or animation")
    new.bits(0, 1)
    new.bits(1, 1)  # extra fields, for the tone mapping
    new.bits(0, 3 + 1 + 1 + 1)  # upright, no intrinsic size, no preview, no animation
    depth = old.at
    read_depth(old)
    after_depth = old.at
    read_channels(old)
    after_channels = old.at
    lossy = old.flag()
    if lossy:
        _write_depth(new, bits, is_float=colour.transfer == LINEAR)
    else:
        new.copy(codestream, depth, after_depth)
    new.copy(codestream, after_depth, after_channels)
    new.bits(lossy, 1)
    header = read_colours(old, Header(0, 0))
    if header.has_icc:
        raise UnknownHeaderError("an ICC profile")
    _write_colour(new, colour)
    if old.number(2) or not old.flag():
        raise UnknownHeaderError("extensions or transforms of its own")
    new.bits(0, 2)
    new.bits(1, 1)
    return new.whole_bytes() + codestream[(old.at + 7) // 8 :]


class _Writer:
    def __init__(self) -> None:
        self._bits: list[int] = []

    def bits(self, value: int, count: int) -> None:
        self._bits.extend(value >> place & 1 for place in range(count))

    def number(self, value: int, distribution: _Distribution) -> None:
        for choice, (offset, count) in enumerate(distribution):
            if offset <= value < offset + (1 << count):
                self.bits(choice, 2)
                self.bits(value - offset, count)
                return
        raise ValueError(f"{value} cannot be written")

    def copy(self, data: bytes, begin: int, end: int) -> None:
        self._bits.extend(data[at >> 3] >> (at & 7) & 1 for at in range(begin, end))

    def whole_bytes(self) -> bytes:
        return np.packbits(np.array(self._bits, np.uint8), bitorder="little").tobytes()


def _write_depth(writer: _Writer, bits: int, *, is_float: bool) -> None:
    writer.bits(int(is_float), 1)
    writer.number(bits, _FLOAT_BITS if is_float else _INTEGER_BITS)
    if is_float:
        writer.bits(5 - 1, 4)  # exponent bits of a half, less one


def _write_colour(writer: _Writer, colour: Colour) -> None:
    """ColourEncoding and ToneMapping (D.3.7, D.3.8)."""
    writer.bits(0, 1)
    writer.bits(0, 1)
    for value in (_RGB, _D65, colour.primaries):
        writer.number(value, _ENUM)
    writer.bits(0, 1)
    for value in (colour.transfer, _RELATIVE):
        writer.number(value, _ENUM)
    writer.bits(0, 1)
    writer.bits(int(np.float16(colour.nits).view(np.uint16)), 16)
    writer.bits(0, 16 + 1 + 16)  # min_nits, relative_to_max_display, linear_below
