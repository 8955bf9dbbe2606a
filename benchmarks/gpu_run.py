"""One run of gpu_check.py: parts that share a clock, of which none costs the others their rows."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import gpu_measure as measure
import torch
from gpu_report import Check, Report, Timing

from dcdr_deploy.system.faults import is_out_of_memory, one_line


class Run:
    """A run: its report, and the clock that its parts share."""

    def __init__(self, seconds: float) -> None:
        self.report = Report()
        self._end = time.perf_counter() + seconds

    def attempt(self, label: str, part: Callable[[], Any], seconds: float) -> Exception | None:
        """Run a part, which must not take longer than ``seconds``, nor than is left; return why it failed."""
        print(f"{label} ...", file=sys.stderr, flush=True)
        try:
            with measure.time_limit(min(seconds, self._end - time.perf_counter())), torch.no_grad():
                part()
        except Exception as error:  # whatever a part does wrong must not cost the others their rows
            # Without its frames, which would keep the part's tensors, and their memory, alive.
            return error.with_traceback(None)
        finally:
            measure.release()
        return None

    def timing(
        self, group: str, size: str, name: str, times: Callable[[], list[float]], seconds: float = 60.0, **facts: Any
    ) -> None:
        """Add a row of times, or of the reason why there are none."""
        found: list[list[float]] = []
        problem = self.attempt(f"{group}: {name}, {size}", lambda: found.append(times()), seconds)
        result = measure.summary(found[0]) if problem is None else {"note": one_line(problem)}
        self.report.timings.append(Timing(group, size, name, **{**facts, **result}))

    def check(self, name: str, what: str, bound: float, value: Callable[[], float], at_least: bool = False) -> None:
        """Add a check, or the reason why it could not be made.

        Lack of time, memory or means leaves it open; any other error, such as an illegal access, is a wrong result.
        """
        found: list[float | None] = []
        problem = self.attempt(f"{name}: {what}", lambda: found.append(value()), 60.0)
        if problem is not None:
            left_open = isinstance(problem, measure.NotMeasured) or is_out_of_memory(problem)
            found = [None if left_open else math.nan]
        note = "" if problem is None else one_line(problem)
        self.report.checks.append(Check(name, what, found[0], bound, at_least, note))
