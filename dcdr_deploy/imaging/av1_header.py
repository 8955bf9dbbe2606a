"""The colours in an AV1 sequence header (AV1 Bitstream Specification, 5.5), told anew.

Encoders that are not told colours write "unspecified" beside the matrix that they used: there is a place for others.
"""

from __future__ import annotations

_SEQUENCE_HEADER = 1
_PROFESSIONAL, _HIGH = 2, 1
_FLAGS_BEFORE_COLOURS = 6
"""128x128 superblocks, filter intra, intra edge filter, superres, cdef, restoration."""


class UnknownStreamError(ValueError):
    """A stream of another form than that of a still picture."""


def with_colours(stream: bytes, primaries: int, transfer: int) -> bytes:
    """Return a still picture's stream with other code points of ITU-T H.273; its length stays.

    Raises:
        UnknownStreamError: no sequence header of a still picture that describes colours.
    """
    changed = bytearray(stream)
    bits = _Bits(changed, 8 * _sequence_header(stream))
    profile = bits.number(3)
    if bits.number(2) != 0b11:  # still_picture, reduced_still_picture_header
        raise UnknownStreamError("no reduced header of a still picture")
    bits.number(5)  # seq_level_idx
    width, height = bits.number(4) + 1, bits.number(4) + 1
    bits.number(width + height + _FLAGS_BEFORE_COLOURS)
    deep = bits.number(1)
    if profile == _PROFESSIONAL and deep:
        bits.number(1)  # twelve_bit
    if profile != _HIGH:
        bits.number(1)  # mono_chrome
    if not bits.number(1):
        raise UnknownStreamError("no description of colours")
    bits.write(primaries, 8)
    bits.write(transfer, 8)
    return bytes(changed)


def _sequence_header(stream: bytes) -> int:
    """Return the byte at which the body of the first sequence header begins (5.3)."""
    at = 0
    while at + 2 <= len(stream):
        head = stream[at]
        at += 2 if head & 0b100 else 1  # an extension has a byte
        if not head & 0b10:
            raise UnknownStreamError("a unit without a size")
        size = shift = 0
        while at < len(stream):  # leb128
            size |= (stream[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not stream[at - 1] & 0x80:
                break
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            return at
        at += size
    raise UnknownStreamError("no sequence header")


class _Bits:
    """Bits, the most significant of each byte first."""

    def __init__(self, data: bytearray, at: int) -> None:
        self._data, self._at = data, at

    def number(self, count: int) -> int:
        if self._at + count > 8 * len(self._data):
            raise UnknownStreamError("a header that ends too early")
        value = 0
        for at in range(self._at, self._at + count):
            value = value << 1 | self._data[at >> 3] >> (7 - (at & 7)) & 1
        self._at += count
        return value

    def write(self, value: int, count: int) -> None:
        old = self.number(count)
        begin = self._at - count
        for place in range(count):
            at = begin + place
            if (old ^ value) >> (count - 1 - place) & 1:
                self._data[at >> 3] ^= 1 << (7 - (at & 7))
