"""What was found on a GPU, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dcdr_deploy.engines.cuda.tuning.decision import Times
from dcdr_deploy.engines.cuda.tuning.kept import Gpu

FRAME = "whole frame"
"""In the place of a kernel's kind, for forms of a frame."""


@dataclass(frozen=True)
class Choice:
    """What became of a kind of kernel.

    Attributes:
        kind: of the kernel.
        chosen: label of the candidate that takes the table's place; empty for the table's kernel.
        table: milliseconds that a frame spends in the table's kernel, by the frame's size.
        taken: the same for what is taken.
        tried: the same for every candidate that is right, by label.
    """

    kind: str
    chosen: str
    table: Times
    taken: Times
    tried: Mapping[str, Times]


@dataclass
class Report:
    """What was found on a GPU.

    Attributes:
        gpu: the GPU.
        table_cut: name of the table's form of a frame.
        cut: name of the one that is taken.
        choices: by kind of kernel, in the order in which they were tried.
        left_out: (kind, label, why) of candidates that cannot be taken, and of forms of a frame (:data:`FRAME`).
        late: kinds for which no time was left.
        notes: sentences about what else was not as it should be.
        before: milliseconds of whole frames by the table, by size.
        after: the same with what is taken.
        forms: the same with the kernels chosen, by form.
        adopted: whether anything takes the table's place.
        file: where the result is kept; ``None`` if it is not.
        seconds: it took.
    """

    gpu: Gpu
    table_cut: str
    cut: str
    choices: list[Choice] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    before: Times = field(default_factory=dict)
    after: Times = field(default_factory=dict)
    forms: dict[str, Times] = field(default_factory=dict)
    adopted: bool = False
    file: Path | None = None
    seconds: float = 0.0

    @property
    def chosen(self) -> dict[str, str]:
        """Labels by kind of the candidates that are faster than the table's kernels."""
        return {each.kind: each.chosen for each in self.choices if each.chosen}

    def unfit(self, kind: str) -> set[str]:
        """Labels of a kind that cannot be taken."""
        return {label for each, label, _ in self.left_out if each == kind}

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {**asdict(self), "file": None if self.file is None else str(self.file)}


def report_of(data: Mapping[str, Any]) -> Report:
    """Return the report that :meth:`Report.as_dict` gave as plain data."""
    return Report(
        **{
            **data,
            "gpu": Gpu(**data["gpu"]),
            "choices": [Choice(**each) for each in data["choices"]],
            "left_out": [tuple(each) for each in data["left_out"]],
            "file": None if data["file"] is None else Path(data["file"]),
        }
    )
