"""Prefix codes of JPEG XL, which are Brotli's (ISO/IEC 18181-1, C.2.4; RFC 7932, 3.2 to 3.5)."""

from __future__ import annotations

from collections.abc import Callable

from dcdr_deploy.imaging.jpegxl.bits import Bits, BrokenStreamError

LONGEST_CODE = 15
"""Bits."""

_CODE_LENGTH_ORDER = (1, 2, 3, 4, 0, 5, 17, 6, 16, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_CODE_LENGTH_CODES = {0: (2, 0), 1: (2, 4), 2: (2, 3), 3: (3, 2), 7: (4, 1), 15: (4, 5)}


def prefix_code(bits: Bits, size: int) -> Callable[[], int]:
    """Read a code (RFC 7932, 3.4 and 3.5); return what reads symbols by it.

    Args:
        bits: where the code begins, and where its symbols will.
        size: of the alphabet.

    Raises:
        BrokenStreamError: a code that is none.
    """
    if size == 1:
        return lambda: 0
    kind = bits.number(2)
    lengths = _simple_lengths(bits, size) if kind == 1 else _complex_lengths(bits, size, kind)
    return _by_lengths(bits, lengths)


def _simple_lengths(bits: Bits, size: int) -> dict[int, int]:
    count = 1 + bits.number(2)
    symbols = [bits.number((size - 1).bit_length()) for _ in range(count)]
    if len(set(symbols)) < count or max(symbols) >= size:
        raise BrokenStreamError("symbols of a code that are not its alphabet's")
    lengths = {1: [0], 2: [1, 1], 3: [1, 2, 2], 4: [2, 2, 2, 2]}[count]
    if count == 4 and bits.flag():
        lengths = [1, 2, 3, 3]
    return dict(zip(symbols, lengths, strict=True))


def _complex_lengths(bits: Bits, size: int, skipped: int) -> dict[int, int]:
    first: dict[int, int] = {}
    space = 32
    for symbol in _CODE_LENGTH_ORDER[skipped:]:
        if space <= 0:
            break
        code = 0
        for length in range(1, 5):
            code |= bits.number(1) << (length - 1)
            value = next((v for read, (n, v) in _CODE_LENGTH_CODES.items() if (n, read) == (length, code)), None)
            if value is not None:
                break
        else:
            raise BrokenStreamError("a code length that there is not")
        if value:
            first[symbol] = value
            space -= 32 >> value
    if (space != 0 and len(first) != 1) or not first:
        raise BrokenStreamError("code lengths that do not fill their space")
    read = _by_lengths(bits, first if len(first) > 1 else dict.fromkeys(first, 0))
    lengths: dict[int, int] = {}
    symbol, before, repeated, repeated_length = 0, 8, 0, -1
    space = 1 << LONGEST_CODE
    while symbol < size and space > 0:
        length = read()
        if length < 16:
            repeated = 0
            if length:
                lengths[symbol], before = length, length
                space -= (1 << LONGEST_CODE) >> length
            symbol += 1
            continue
        extra, of = (2, before) if length == 16 else (3, 0)
        if repeated_length != of:
            repeated, repeated_length = 0, of
        old = repeated
        repeated = (repeated - 2 << extra if repeated else 0) + 3 + bits.number(extra)
        for each in range(symbol, symbol + repeated - old):
            if each >= size:
                raise BrokenStreamError("a run beyond the alphabet")
            if of:
                lengths[each] = of
        symbol += repeated - old
        space -= ((1 << LONGEST_CODE) >> of) * (repeated - old) if of else 0
    if space != 0:
        raise BrokenStreamError("a code that does not fill its space")
    return lengths


def _by_lengths(bits: Bits, lengths: dict[int, int]) -> Callable[[], int]:
    """What reads symbols of a canonical code, whose bits come most significant first."""
    if set(lengths.values()) == {0}:
        only = next(iter(lengths))
        return lambda: only
    codes: dict[tuple[int, int], int] = {}
    code = 0
    for length in range(1, LONGEST_CODE + 1):
        for symbol in sorted(each for each, of in lengths.items() if of == length):
            codes[length, code] = symbol
            code += 1
        code <<= 1

    def next_symbol() -> int:
        read = 0
        for length in range(1, LONGEST_CODE + 1):
            read = read << 1 | bits.number(1)
            if (length, read) in codes:
                return codes[length, read]
        raise BrokenStreamError("a code that there is not")

    return next_symbol
