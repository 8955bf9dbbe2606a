"""Tables of JPEG XL's ANS codes: frequencies of symbols, and where in 4096 places they lie (ISO/IEC 18181-1, C.2)."""

from __future__ import annotations

from dcdr_deploy.imaging.jpegxl.bits import Bits, BrokenStreamError

TABLE_BITS = 12
TABLE = 1 << TABLE_BITS
_RUN = 13

_LOGCOUNT_CODES = (
    (3, 0, 10), (3, 2, 7), (3, 4, 6), (3, 5, 8), (3, 6, 9), (4, 3, 3), (4, 7, 5), (4, 9, 4), (4, 11, 1), (4, 15, 2),
    (5, 17, 0), (6, 33, 11), (7, 1, 12), (7, 65, _RUN),
)  # fmt: skip
"""Fixed code of the logarithms of frequencies (table C.1 and below): bits, the code as it is read, value."""


def histogram(bits: Bits) -> list[int]:
    """Frequencies that add up to 4096 (C.2.5)."""
    if bits.flag():
        symbols = [bits.short(3) for _ in range(1 + bits.number(1))]
        counts = [0] * (max(symbols) + 1)
        if len(symbols) == 1:
            counts[symbols[0]] = TABLE
        else:
            if symbols[0] == symbols[1]:
                raise BrokenStreamError("one symbol twice")
            counts[symbols[0]] = bits.number(TABLE_BITS)
            counts[symbols[1]] = TABLE - counts[symbols[0]]
        return counts
    if bits.flag():
        size = 1 + bits.short(3)
        return [TABLE // size + (number < TABLE % size) for number in range(size)]
    return _listed(bits)


def _listed(bits: Bits) -> list[int]:
    """Frequencies by their logarithms and some bits of each."""
    ones = 0
    while ones < 3 and bits.flag():
        ones += 1
    shift = (bits.number(ones) | 1 << ones) - 1
    if shift > _RUN:
        raise BrokenStreamError("a precision beyond 13")
    size = 3 + bits.short(3)
    logs, runs = [0] * size, [0] * size
    place = 0
    while place < size:
        logs[place] = _logcount(bits)
        if logs[place] == _RUN:
            length = bits.short(3)
            runs[place] = length + 5
            place += length + 3
        place += 1
    plain = [(log, -place) for place, log in enumerate(logs) if log != _RUN]
    omitted = -max(plain, default=(0, 1))[1]
    counts = [0] * size
    left, before = 0, 0
    for place, log in enumerate(logs):
        if runs[place]:
            left, before = runs[place] - 1, counts[place - 1] if place else 0
        if left:
            counts[place] = before
            left -= 1
        elif place != omitted and log:
            extra = min(max(shift - ((TABLE_BITS - (log - 1)) >> 1), 0), log - 1)
            counts[place] = (1 << (log - 1)) + (bits.number(extra) << (log - 1 - extra))
    rest = TABLE - sum(counts)
    if omitted < 0 or rest <= 0:
        raise BrokenStreamError("frequencies that do not add up")
    counts[omitted] += rest
    return counts


def _logcount(bits: Bits) -> int:
    code = 0
    for size in range(1, 8):
        code |= bits.number(1) << (size - 1)
        for length, read, value in _LOGCOUNT_CODES:
            if (length, read) == (size, code):
                return value
    raise BrokenStreamError("a code that there is not")


def alias_table(counts: list[int], alphabet_bits: int) -> list[tuple[int, int, int]]:
    """For each of 2^alphabet_bits entries of a table: where it is cut, whose the rest is, and its offset (C.2.6)."""
    entries, size = 1 << alphabet_bits, TABLE >> alphabet_bits
    if len(counts) > entries:
        raise BrokenStreamError("more symbols than the alphabet has")
    if TABLE in counts:
        only = counts.index(TABLE)
        return [(0, only, size * number) for number in range(entries)]
    cuts = counts + [0] * (entries - len(counts))
    other, offset = list(range(entries)), [0] * entries
    over = [number for number, count in enumerate(cuts) if count > size]
    under = [number for number, count in enumerate(cuts) if count < size]
    while over:
        giver, taker = over.pop(), under.pop()
        cuts[giver] -= size - cuts[taker]
        other[taker], offset[taker] = giver, cuts[giver]
        if cuts[giver] < size:
            under.append(giver)
        elif cuts[giver] > size:
            over.append(giver)
    return [
        (0, number, 0) if cut == size else (cut, other[number], offset[number] - cut) for number, cut in enumerate(cuts)
    ]


def frequencies(table: list[tuple[int, int, int]], size: int) -> dict[int, int]:
    """How many of the 4096 places each symbol has."""
    found: dict[int, int] = {}
    for entry, (cut, other, _) in enumerate(table):
        found[entry] = found.get(entry, 0) + cut
        found[other] = found.get(other, 0) + (1 << size) - cut
    return found
