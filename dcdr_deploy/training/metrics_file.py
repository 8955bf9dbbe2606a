"""The figures that a run leaves behind: one JSON object a line, in the order of the steps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcdr_deploy.system.file_faults import unwritable
from dcdr_deploy.system.files import atomic_path, vanished
from dcdr_deploy.system.json_text import json_text

METRICS_NAME = "metrics.jsonl"


class MetricsFile:
    """A run's metrics.

    Args:
        path: of the file, which need not exist; its folder does.
        step: that the run goes on from. Lines of later steps, which were lost with a process that was killed and are
            taken again, are dropped, and one that was not wholly written with them.

    Raises:
        OutputError: the file cannot be read, or not be written again.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        try:
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
            kept = [line for line in lines if _step_of(line) <= step]
            if lines and not kept:
                path.unlink()
        except OSError as error:
            raise unwritable(path, error) from error
        self._there = bool(kept)
        if 0 < len(kept) < len(lines):
            with atomic_path(path) as temporary:
                temporary.write_bytes(b"".join(kept))

    def append(self, values: Mapping[str, Any]) -> None:
        """Add a line.

        Raises:
            OutputError: it cannot be written, or is gone.
        """
        if self._there and not self.path.exists():
            raise vanished(self.path.parent)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json_text(values) + "\n")
            self._there = True
        except OSError as error:
            raise unwritable(self.path, error) from error


def _step_of(line: bytes) -> float:
    """The step that a line is of; infinite where it says none."""
    try:
        return float(json.loads(line)["step"]) if line.endswith(b"\n") else math.inf
    except (ValueError, TypeError, KeyError):
        return math.inf
