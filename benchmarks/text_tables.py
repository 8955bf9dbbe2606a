"""Tables in Markdown, and files of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dcdr_deploy.system.files import atomic_path


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


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all, in a folder that need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
