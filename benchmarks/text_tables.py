"""Tables in Markdown, and figures in their cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row is its head."""
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rest])


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean, and standard deviation where there are several; empty for none."""
    if not values:
        return ""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"
