"""Which of several ways to compute the same is taken, by the times that were measured. Nothing here asks a GPU."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence

Times = Mapping[str, float]
"""Milliseconds by the size of frames; what is compared has the same sizes."""

LEAST_GAIN = 0.02
"""Share of the time by which something has to be faster to take the place of what is known: medians of one and the same
work differ by less than that."""


def ratio(times: Times, usual: Times) -> float:
    """Return how long something takes beside what is usual: the mean of its shares over the sizes."""
    return statistics.mean(times[size] / each for size, each in usual.items())


def fastest(usual: Times, others: Mapping[str, Times]) -> str | None:
    """Return the name of what is clearly faster than the usual: at no size slower, and in the mean by the least gain.

    Args:
        usual: of what is taken otherwise.
        others: by name, of what computes the same.

    Returns:
        the one that takes the smallest share of the time; ``None`` if none is clearly faster.
    """
    faster = {name: ratio(times, usual) for name, times in others.items() if never_slower(times, usual)}
    best = min(faster, key=faster.__getitem__, default=None)
    return best if best is not None and faster[best] <= 1 - LEAST_GAIN else None


def never_slower(times: Times, usual: Times) -> bool:
    """Tell whether something is at no size slower than the usual."""
    return all(times[size] <= each for size, each in usual.items())


def in_turns(names: Sequence[str], measure: Callable[[str], float], rounds: int) -> dict[str, float]:
    """Return the median of what is measured for each name, in rounds of which each begins with another one.

    So clocks that change with time and temperature change for all.
    """
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        order = deque(names)
        order.rotate(-number)
        for name in order:
            found[name].append(measure(name))
    return {name: statistics.median(each) for name, each in found.items()}
