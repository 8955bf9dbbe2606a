"""Time stamps of an encoded video: exact ticks, whatever an encoder makes of them. Pure functions."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from fractions import Fraction


def reordering(stamps: Sequence[int]) -> int:
    """Return how many pictures a decoder must hold back: by how much packets precede their place in the order shown.

    Args:
        stamps: presentation time stamps in the order of decoding, all different.
    """
    rank = {stamp: place for place, stamp in enumerate(sorted(stamps))}
    return max((place - rank[stamp] for place, stamp in enumerate(stamps)), default=0)


def decoding_stamps(shown: Sequence[int], delay: int) -> list[int]:
    """Return decoding time stamps, strictly rising, none after its packet's presentation.

    Encoders begin each segment as if nothing came before it, so that their stamps would overlap where segments meet.

    Args:
        shown: presentation time stamps in rising order, of all packets.
        delay: the most of :func:`reordering`.

    Returns:
        For each packet in the order of decoding: the stamp shown ``delay`` places before, and before the first one as
        many ticks earlier as the second comes later.
    """
    if not delay or not shown:
        return list(shown)
    step = max(shown[1] - shown[0], 1) if len(shown) > 1 else 1
    early = [shown[0] - step * number for number in range(delay, 0, -1)]
    return [*early, *shown][: len(shown)]


def durations(shown: Sequence[int], last: int) -> list[int]:
    """Return for how many ticks each picture is shown, in rising order.

    Args:
        shown: presentation time stamps in rising order.
        last: of the last picture.
    """
    return [*(after - before for before, after in itertools.pairwise(shown)), max(last, 1)][: len(shown)]


def kept_apart(shown: Sequence[int], base: Fraction, tick: Fraction) -> list[int]:
    """Return stamps of which no two are rounded to one of a coarser clock; only those that would be are moved on.

    Args:
        shown: presentation time stamps in rising order.
        base: seconds of a tick of theirs.
        tick: seconds of one of the coarser clock's.
    """
    found: list[int] = []
    before: int | None = None
    for stamp in shown:
        place = math.floor(stamp * base / tick + Fraction(1, 2))
        if before is not None and place <= before:
            place = before + 1
            stamp = math.ceil(place * tick / base)
        found.append(stamp)
        before = place
    return found


_ROUNDED = Fraction(1, 1000)
"""Seconds to which most containers round time stamps at the worst."""


def is_constant(shown: Sequence[int], base: Fraction, rate: Fraction) -> bool:
    """Tell whether pictures follow one another at a rate, but for the rounding of their stamps.

    Args:
        shown: presentation time stamps in rising order.
        base: seconds of a tick.
        rate: pictures a second.
    """
    most = max(_ROUNDED, base)
    return all(abs((stamp - shown[0]) * base - number / rate) <= most for number, stamp in enumerate(shown))


_TIMECODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.,])(\d\d)")


def timecode_after(text: str, frames: int, rate: Fraction) -> str:
    """Return the time code of a frame that comes so many after another one (SMPTE ST 12-1).

    Args:
        text: ``hh:mm:ss:ff``; a ``;`` or ``.`` before the last number says that at 30 frames a second the numbers 0 and
            1 are dropped at the beginning of every minute but each tenth, at 60 the first four.
        frames: so many.
        rate: frames a second.

    Returns:
        The time code in the same form; ``text`` where it is none.
    """
    match = _TIMECODE.fullmatch(text)
    if match is None:
        return text
    hours, minutes, seconds, number = (int(match[group]) for group in (1, 2, 3, 5))
    a_second = max(round(rate), 1)
    dropped = 2 * (a_second // 30) if match[4] in ";.," else 0
    minute = hours * 60 + minutes
    at = (minute * 60 + seconds) * a_second + number - dropped * (minute - minute // 10) + frames
    tens, rest = divmod(at, a_second * 600 - 9 * dropped)
    at += dropped * (9 * tens + max(rest - dropped, 0) // (a_second * 60 - dropped))
    second, number = divmod(at, a_second)
    return f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}{match[4]}{number:02}"
