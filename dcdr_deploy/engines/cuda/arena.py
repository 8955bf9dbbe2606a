"""Where feature maps lie: maps that are never alive at the same time share memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ALIGNMENT = 256
"""Bytes; what the driver's own allocations are aligned to, and more than any kernel asks for."""


@dataclass(frozen=True)
class Lifetime:
    """A piece of memory and the steps, from first to last, at which it must not be touched by others."""

    size: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Tell whether both are alive at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class MemoryPlan:
    """Offsets in bytes by name, and the bytes of the whole."""

    offsets: Mapping[str, int]
    size: int


def plan_memory(lifetimes: Mapping[str, Lifetime]) -> MemoryPlan:
    """Place everything: the largest first, each at the lowest place that is free for as long as it lives.

    Args:
        lifetimes: by name; sizes in bytes, at least 1.
    """
    placed: list[tuple[int, int, Lifetime]] = []
    offsets: dict[str, int] = {}
    for name, lifetime in sorted(lifetimes.items(), key=lambda entry: (-entry[1].size, entry[1].first, entry[0])):
        size, offset = -(-lifetime.size // ALIGNMENT) * ALIGNMENT, 0
        for start, end, other in sorted(placed, key=lambda entry: entry[0]):
            if not lifetime.meets(other):
                continue
            if offset + size <= start:
                break
            offset = max(offset, end)
        placed.append((offset, offset + size, lifetime))
        offsets[name] = offset
    return MemoryPlan(offsets, max((end for _, end, _ in placed), default=0))
