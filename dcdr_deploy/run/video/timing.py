"""Time stamps of an encoded video: exact ticks, whatever an encoder makes of them. Pure functions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


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
