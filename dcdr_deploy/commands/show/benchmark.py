"""What ``dcdr-deploy benchmark`` shows: a table that people can send."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dcdr_deploy.commands.show.text import printable, with_options
from dcdr_deploy.run.timings import Result, Size, Timing, fastest
from dcdr_deploy.system.words import number_of

_HEADER: tuple[str, ...] = (
    "backend",
    "precision",
    "ms a frame",
    "10 to 90 %",
    "MP/s",
    "x best",
    "load + first",
    "peak memory",
    "FP32",
)


def format_results(results: Sequence[Result], machine: Mapping[str, Any]) -> str:
    """Return the table, with what the times depend on above it and who did not take part below it.

    Args:
        results: from :func:`dcdr_deploy.run.benchmark.benchmark`.
        machine: from :func:`dcdr_deploy.inspection.machine.report`.
    """
    return "\n".join(_lines(results, machine))


def _lines(results: Sequence[Result], machine: Mapping[str, Any]) -> Iterator[str]:
    yield f"dcdr-deploy {machine['dcdr-deploy']}, Python {machine['python']}, {machine['system']}"
    yield f"CPU: {machine['cpu']['name']}, {number_of(machine['cpu']['threads'], 'thread')}"
    for gpu in machine["gpus"]:
        yield f"GPU {gpu['index']}: {gpu['name']}, sm {gpu['compute_capability']}, driver {gpu['driver']}"
    models = dict.fromkeys(result.model.name for result in results if result.model is not None)
    yield f"Models: {printable(', '.join(models))}"
    for size in dict.fromkeys(timing.size for result in results for timing in result.timings):
        yield ""
        yield f"{size[1]} x {size[0]}, from memory to memory"
        yield from _table(results, size)
    yield ""
    for result in results:
        if result.device:
            yield f"{result.backend}: {result.device}"
    for result in results:
        if result.note:
            yield printable(with_options(f"not timed: {result.backend}: {result.note}"))


def _table(results: Sequence[Result], size: Size) -> Iterator[str]:
    best = fastest(results, size)
    rows = [_HEADER]
    notes = []
    for result in results:
        for timing in (timing for timing in result.timings if timing.size == size):
            if timing.seconds and best is not None:
                rows.append(_row(result, timing, best))
            else:
                notes.append(printable(f"  {result.backend}: {timing.note}"))
    order = sorted(rows[1:], key=lambda row: float(row[2]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in (_HEADER, *order):
        cells = [
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  " + "  ".join(cells).rstrip()
    yield from notes


def _row(result: Result, timing: Timing, best: float) -> tuple[str, ...]:
    low, high = timing.spread
    pixels = timing.size[0] * timing.size[1] / 1e6
    return (
        result.backend,
        result.precision,
        f"{timing.median * 1e3:.1f}",
        f"{low * 1e3:.1f} to {high * 1e3:.1f}",
        f"{pixels / timing.median:.3g}",
        f"{timing.median / best:.2f}",
        f"{result.load_seconds:.1f} + {timing.first:.2f} s",
        "-" if result.memory is None else f"{result.memory / 1e9:.2f} GB",
        _agreement(result.agreement),
    )


def _agreement(decibel: float | None) -> str:
    if decibel is None:
        return "-"
    return "exact" if math.isinf(decibel) else f"{decibel:.1f} dB"
