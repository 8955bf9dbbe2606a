"""What benchmark.py finds out: times of frames, and what is told of each backend."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dcdr_deploy.engines.base import DEVICE_CPU

Size = tuple[int, int]
"""(height, width) of a picture."""


@dataclass(frozen=True)
class Timing:
    """Seconds of whole frames of one size, from codes in host memory to floats in host memory.

    Attributes:
        size: (height, width).
        seconds: of each frame, in order; the first, which is told apart, is among them only where no other was run.
        first: seconds of the first frame of this size.
        tiles: tiles of a frame.
        note: why there are no times.
    """

    size: Size
    seconds: tuple[float, ...] = ()
    first: float = 0.0
    tiles: int = 0
    note: str = ""

    @property
    def median(self) -> float:
        """Median of the seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """10th and 90th percentile of the seconds."""
        low, high = np.percentile(self.seconds, [10, 90])
        return float(low), float(high)


@dataclass
class Result:
    """What was found out about a contender.

    Attributes:
        backend: its name.
        model: its model file.
        note: why it does not take part; empty if it does.
        device: where it runs, in words.
        device_kind: ``"cpu"`` or ``"cuda"``.
        precision: of its arithmetic.
        load_seconds: seconds until it was ready.
        agreement: PSNR in dB against the reference in FP32, a full scale of 1.0; ``None`` without a reference.
        memory: most bytes that it held of its device at a time, loading and for the first frames; ``None`` where the
            system does not tell.
        timings: one for each size.
    """

    backend: str
    model: Path | None
    note: str = ""
    device: str = ""
    device_kind: str = DEVICE_CPU
    precision: str = ""
    load_seconds: float = 0.0
    agreement: float | None = None
    memory: int | None = None
    timings: list[Timing] = field(default_factory=list)


def as_dict(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Return results as plain data for ``--json``: times in seconds, memory in bytes, agreement in dB."""
    return [
        {
            **{key: value for key, value in vars(result).items() if key != "timings"},
            "model": None if result.model is None else str(result.model),
            "agreement": result.agreement if result.agreement is None or np.isfinite(result.agreement) else "exact",
            "timings": [
                {
                    "size": list(timing.size),
                    "first": timing.first,
                    "tiles": timing.tiles,
                    "note": timing.note,
                    **(
                        {"median": timing.median, "spread": timing.spread, "rounds": len(timing.seconds)}
                        if timing.seconds
                        else {}
                    ),
                }
                for timing in result.timings
            ],
        }
        for result in results
    ]


def fastest(results: Iterable[Result], size: Size) -> float | None:
    """Return the least median for a size in seconds, ``None`` if nobody ran it."""
    medians = [timing.median for result in results for timing in _of(result, size)]
    return min(medians, default=None)


def _of(result: Result, size: Size) -> Iterator[Timing]:
    return (timing for timing in result.timings if timing.size == size and timing.seconds)
