"""Bits of a JPEG XL codestream, and the numbers made of them (ISO/IEC 18181-1, annex B)."""

from __future__ import annotations


class BrokenStreamError(ValueError):
    """Bits that no encoder writes, or that end too early."""


class Bits:
    """Bits of a byte string, least significant first (B.2)."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        """Begin ``at`` a bit."""
        self._data, self.at = data, at

    def number(self, size: int) -> int:
        """The next ``size`` bits."""
        begin, end = self.at // 8, (self.at + size + 7) // 8
        if end > len(self._data):
            raise BrokenStreamError("the codestream ends too early")
        value = int.from_bytes(self._data[begin:end], "little") >> self.at % 8
        self.at += size
        return value & ((1 << size) - 1)

    def flag(self) -> bool:
        """The next bit."""
        return bool(self.number(1))

    def choice(self, *forms: tuple[int, int]) -> int:
        """U32: two bits choose a base, and how many bits are added to it."""
        base, size = forms[self.number(2)]
        return base + self.number(size)

    def enumerated(self) -> int:
        """An Enum."""
        return self.choice((0, 0), (1, 0), (2, 4), (18, 6))

    def long(self) -> int:
        """U64."""
        selector = self.number(2)
        if selector < 3:
            base, size = ((0, 0), (1, 4), (17, 8))[selector]
            return base + self.number(size)
        value, shift = self.number(12), 12
        while self.flag():
            if shift == 60:
                return value | self.number(4) << shift
            value |= self.number(8) << shift
            shift += 8
        return value

    def short(self, size_bits: int) -> int:
        """A number up to 2^(2^size_bits) whose length comes first (U8 of C.2.3, and its larger sister)."""
        if not self.flag():
            return 0
        size = self.number(size_bits)
        return self.number(size) + (1 << size)
