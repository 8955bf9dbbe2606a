"""The entropy decoder of JPEG XL (ISO/IEC 18181-1, annex C): prefix codes or ANS over clustered contexts, with LZ77.

Here for the ICC profile in a codestream's header, which libraries do not hand out: some kilobytes, so plain Python is
quick enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dcdr_deploy.imaging.jpegxl.ans import TABLE, TABLE_BITS, alias_table, frequencies, histogram
from dcdr_deploy.imaging.jpegxl.bits import Bits, BrokenStreamError
from dcdr_deploy.imaging.jpegxl.prefix import LONGEST_CODE, prefix_code

_ANS_CHECK = 0x130000
"""The state with which an ANS stream ends: its encoder began there."""


@dataclass(frozen=True)
class _Hybrid:
    """HybridUintConfig (C.2.3): how a token and bits after it make a number."""

    split: int
    most: int
    least: int

    def number(self, token: int, bits: Bits) -> int:
        if token < 1 << self.split:
            return token
        inside = self.most + self.least
        size = self.split - inside + ((token - (1 << self.split)) >> inside)
        if size > 32:
            raise BrokenStreamError("a number of more than 32 bits")
        low = token & ((1 << self.least) - 1)
        high = (token >> self.least) & ((1 << self.most) - 1) | 1 << self.most
        return (high << size | bits.number(size)) << self.least | low


def _hybrid(bits: Bits, alphabet_bits: int) -> _Hybrid:
    split = bits.number(alphabet_bits.bit_length())
    if split == alphabet_bits:
        return _Hybrid(split, 0, 0)
    if split > alphabet_bits:
        raise BrokenStreamError("a configuration beyond its alphabet")
    most = bits.number(split.bit_length())
    if most > split:
        raise BrokenStreamError("a configuration beyond its split")
    least = bits.number((split - most).bit_length())
    if most + least > split:
        raise BrokenStreamError("a configuration beyond its split")
    return _Hybrid(split, most, least)


class Reader:
    """Numbers of clustered contexts, one after the other."""

    def __init__(self, bits: Bits, contexts: int, *, nested: bool = False) -> None:
        """Read the tables (C.2.1).

        Args:
            bits: where they begin.
            contexts: how many.
            nested: whether this reads the context map of another one, where LZ77 may be out of place.

        Raises:
            BrokenStreamError: tables that make no sense.
        """
        self._bits = bits
        self._copies = bits.flag()
        self._threshold, self._shortest = 1 << 32, 0
        if self._copies:
            if nested:
                raise BrokenStreamError("copies in a context map of two")
            self._threshold = bits.choice((224, 0), (512, 0), (4096, 0), (8, 15))
            self._shortest = bits.choice((3, 0), (4, 0), (5, 2), (9, 8))
            self._length = _hybrid(bits, 8)
            contexts += 1
        self._map = _context_map(bits, contexts) if contexts > 1 else [0]
        clusters = max(self._map) + 1
        prefix = bits.flag()
        alphabet_bits = LONGEST_CODE if prefix else 5 + bits.number(2)
        self._configs = [_hybrid(bits, alphabet_bits) for _ in range(clusters)]
        if prefix:
            sizes = [1 + bits.short(4) for _ in range(clusters)]
            self._symbols = [prefix_code(bits, size) for size in sizes]
            self._state = _ANS_CHECK
        else:
            tables = [alias_table(histogram(bits), alphabet_bits) for _ in range(clusters)]
            self._symbols = [self._ans(table, alphabet_bits) for table in tables]
            self._state = bits.number(32)
        self._seen: list[int] = []
        self._copy_at = self._left = 0

    def number(self, context: int) -> int:
        """The next number.

        Raises:
            BrokenStreamError: the bits end too early, or a copy of nothing.
        """
        if not self._left:
            cluster = self._map[context]
            token = self._symbols[cluster]()
            if token < self._threshold:
                value = self._configs[cluster].number(token, self._bits)
                self._seen.append(value)
                return value
            self._left = self._shortest + self._length.number(token - self._threshold, self._bits)
            of_distances = self._map[-1]
            distance = 1 + self._configs[of_distances].number(self._symbols[of_distances](), self._bits)
            if not self._seen:
                raise BrokenStreamError("a copy of nothing")
            self._copy_at = len(self._seen) - min(distance, len(self._seen), 1 << 20)
        value = self._seen[self._copy_at]
        self._copy_at += 1
        self._left -= 1
        self._seen.append(value)
        return value

    def check_end(self) -> None:
        """Refuse a stream whose state is not the one that encoders begin with.

        Raises:
            BrokenStreamError: it is another.
        """
        if self._state != _ANS_CHECK:
            raise BrokenStreamError("a wrong end of the codes")

    def _ans(self, table: list[tuple[int, int, int]], alphabet_bits: int) -> Callable[[], int]:
        """What reads symbols by one table (C.2.6)."""
        size = TABLE_BITS - alphabet_bits
        counts = frequencies(table, size)

        def symbol() -> int:
            place = self._state & (TABLE - 1)
            entry, inside = place >> size, place & ((1 << size) - 1)
            cut, other, offset = table[entry]
            found, offset = (other, offset + inside) if inside >= cut else (entry, inside)
            self._state = counts.get(found, 0) * (self._state >> TABLE_BITS) + offset
            if self._state < 1 << 16:
                self._state = self._state << 16 | self._bits.number(16)
            return found

        return symbol


def _context_map(bits: Bits, contexts: int) -> list[int]:
    """Cluster of each context (C.2.2)."""
    if bits.flag():
        size = bits.number(2)
        return [bits.number(size) for _ in range(contexts)]
    moved = bits.flag()
    reader = Reader(bits, 1, nested=contexts <= 2)
    found = [reader.number(0) for _ in range(contexts)]
    reader.check_end()
    if max(found) > 255:
        raise BrokenStreamError("more than 256 clusters")
    if moved:  # move to front
        order = list(range(256))
        for place, index in enumerate(found):
            value = order.pop(index)
            order.insert(0, value)
            found[place] = value
    return found
