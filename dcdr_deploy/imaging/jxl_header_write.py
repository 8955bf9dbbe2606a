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

ENCODER_NITS = 255.0
"""cd/m2 of 1.0 for an encoder that is told nothing (D.3.8, default of ``intensity_target``)."""

SRGB, REC2100, P3 = 1, 9, 11
"""Primaries (table D.4), all with the white D65."""

LINEAR, PQ = 8, 16
"""Transfer functions (table D.4)."""

SIGNATURE = b"\xff\x0a"

_RGB, _D65, _RELATIVE = 0, 1, 1
_SIZE = ((1, 9), (1, 13), (1, 18), (1, 30))
_ENUM = ((0, 0), (1, 0), (2, 4), (18, 6))
_INTEGER_BITS = ((8, 0), (10, 0), (12, 0), (1, 6))
_FLOAT_BITS = ((32, 0), (16, 0), (24, 0), (1, 6))
_COUNT = ((0, 0), (1, 0), (2, 4), (1, 12))
_SHIFT = ((0, 0), (3, 0), (4, 0), (1, 3))
_NAME = ((0, 0), (0, 4), (16, 5), (48, 10))

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
    old, new = _Reader(codestream), _Writer()
    if codestream[:2] != SIGNATURE:
        raise UnknownHeaderError("no codestream")
    new.bits(old.bits(16), 16)
    new.copy(old, _skip_size(old, 16))
    if old.bits(1):
        raise UnknownHeaderError("a header of defaults")
    new.bits(0, 1)
    if old.bits(1):
        raise UnknownHeaderError("orientation, preview or animation")
    new.bits(1, 1)  # extra fields, for the tone mapping
    new.bits(0, 3 + 1 + 1 + 1)  # upright, no intrinsic size, no preview, no animation
    depth = old.at
    _skip_depth(old)
    after_depth = old.at
    old.bits(1)  # modular_16bit_buffers
    for _ in range(old.number(_COUNT)):
        _skip_extra_channel(old)
    end = old.at
    lossy = bool(old.bits(1))
    if lossy:
        _write_depth(new, bits, is_float=colour.transfer == LINEAR)
    else:
        new.copy(old, (depth, after_depth))
    new.copy(old, (after_depth, old.at))
    assert old.at == end + 1  # xyb_encoded was copied too
    _skip_colour(old)
    _write_colour(new, colour)
    if old.bits(2) or not old.bits(1):
        raise UnknownHeaderError("extensions or transforms of its own")
    new.bits(0, 2)
    new.bits(1, 1)
    return new.whole_bytes() + codestream[(old.at + 7) // 8 :]


class _Reader:
    """Bits, the least significant of each byte first (ISO/IEC 18181-1, B.2)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def bits(self, count: int) -> int:
        if self.at + count > 8 * len(self._data):
            raise UnknownHeaderError("ends too early")
        value = sum((self._data[at >> 3] >> (at & 7) & 1) << (at - self.at) for at in range(self.at, self.at + count))
        self.at += count
        return value

    def number(self, distribution: _Distribution) -> int:
        """U32 (B.2.2): two bits choose among offsets, each with some bits of its own."""
        offset, count = distribution[self.bits(2)]
        return offset + self.bits(count)

    def range(self, begin: int, end: int) -> list[int]:
        return [self._data[at >> 3] >> (at & 7) & 1 for at in range(begin, end)]


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

    def copy(self, reader: _Reader, span: tuple[int, int]) -> None:
        self._bits.extend(reader.range(*span))

    def whole_bytes(self) -> bytes:
        return np.packbits(np.array(self._bits, np.uint8), bitorder="little").tobytes()


def _skip_size(reader: _Reader, begin: int) -> tuple[int, int]:
    """SizeHeader (D.2)."""
    small = reader.bits(1)

    def one() -> None:
        if small:
            reader.bits(5)
        else:
            reader.number(_SIZE)

    one()
    if not reader.bits(3):
        one()
    return begin, reader.at


def _skip_depth(reader: _Reader) -> None:
    """BitDepth (D.3.5)."""
    if reader.bits(1):
        reader.number(_FLOAT_BITS)
        reader.bits(4)
    else:
        reader.number(_INTEGER_BITS)


def _write_depth(writer: _Writer, bits: int, *, is_float: bool) -> None:
    writer.bits(int(is_float), 1)
    writer.number(bits, _FLOAT_BITS if is_float else _INTEGER_BITS)
    if is_float:
        writer.bits(5 - 1, 4)  # exponent bits of a half, less one


def _skip_extra_channel(reader: _Reader) -> None:
    """ExtraChannelInfo (D.3.6), alpha only."""
    if reader.bits(1):
        return
    if reader.number(_ENUM):
        raise UnknownHeaderError("an extra channel that is no alpha")
    _skip_depth(reader)
    reader.number(_SHIFT)
    for _ in range(reader.number(_NAME)):
        reader.bits(8)
    reader.bits(1)


def _skip_colour(reader: _Reader) -> None:
    """ColourEncoding (D.3.7)."""
    if reader.bits(1):
        return
    if reader.bits(1):
        raise UnknownHeaderError("an ICC profile")
    gray = reader.number(_ENUM) == 1
    named = [reader.number(_ENUM)]
    if not gray:
        named.append(reader.number(_ENUM))
    if 2 in named or reader.bits(1):
        raise UnknownHeaderError("colours without a name")
    reader.number(_ENUM)
    reader.number(_ENUM)


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
