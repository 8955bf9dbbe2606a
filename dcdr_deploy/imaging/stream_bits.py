"""Bits of video streams: AV1 (AV1 Bitstream Specification, 4.10) and HEVC (ITU-T H.265, clause 9)."""

from __future__ import annotations

_LONGEST_GOLOMB = 32


class UnknownStreamError(ValueError):
    """A stream of another form than that of a still picture, or one that ends too early."""


class StreamBits:
    """Bits, the most significant of each byte first."""

    def __init__(self, data: bytearray, at: int = 0) -> None:
        """Begin at bit ``at``."""
        self._data, self._at = data, at

    def number(self, count: int) -> int:
        """The next ``count`` bits.

        Raises:
            UnknownStreamError: there are fewer.
        """
        if self._at + count > 8 * len(self._data):
            raise UnknownStreamError("a header that ends too early")
        value = 0
        for at in range(self._at, self._at + count):
            value = value << 1 | self._data[at >> 3] >> (7 - (at & 7)) & 1
        self._at += count
        return value

    def golomb(self) -> int:
        """A number whose length its leading zeros tell: ue(v) of H.265 (9.2), uvlc of AV1 (4.10.3)."""
        zeros = 0
        while not self.number(1):
            zeros += 1
            if zeros > _LONGEST_GOLOMB:
                raise UnknownStreamError("a number without an end")
        return (1 << zeros) - 1 + self.number(zeros)

    def write(self, value: int, count: int) -> None:
        """Put a number in the place of the next ``count`` bits."""
        old = self.number(count)
        begin = self._at - count
        for place in range(count):
            at = begin + place
            if (old ^ value) >> (count - 1 - place) & 1:
                self._data[at >> 3] ^= 1 << (7 - (at & 7))
