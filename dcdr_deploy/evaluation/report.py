"""What an evaluation found, as a table like the paper's Table 1, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dcdr_deploy._version import __version__
from dcdr_deploy.evaluation.align import NONE
from dcdr_deploy.evaluation.regions import REGIONS, Region
from dcdr_deploy.evaluation.work import PairScores, mean
from dcdr_deploy.metrics.registry import HIGHER, Metric
from dcdr_deploy.system.words import number_of

MEAN = "mean"
TELLING_STOPS = 0.5
"""Medians that are further apart than this say that the two are of different scales."""

_ARROWS = {True: "↑", False: "↓"}
_NOTHING = "-"


@dataclass(frozen=True)
class EvaluationReport:
    """Figures of all pairs.

    Attributes:
        metrics: what was asked for, in order.
        pairs: what was scored, in order of names.
        missing: metric name -> why it was not computed on this machine.
        considered: pairs looked at; more than ``pairs`` where only the overexposed ones were wanted.
        align: how predictions were aligned.
    """

    metrics: tuple[Metric, ...]
    pairs: tuple[PairScores, ...]
    missing: Mapping[str, str]
    considered: int
    align: str = NONE

    @property
    def reasons(self) -> dict[str, str]:
        """Metric name -> why its figure is lacking for all pairs or for some."""
        unscaled: dict[str, int] = {}
        for pair in self.pairs:
            for name in pair.unscaled:
                unscaled[name] = unscaled.get(name, 0) + 1
        needs = "needs cd/m2, and these 16-bit files do not say what 65535 stands for; give `full_scale`"
        return {
            **self.missing,
            **{name: f"{needs} ({count} of {number_of(len(self.pairs), 'pair')})" for name, count in unscaled.items()},
        }

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions that were scored."""
        return tuple(region for region in REGIONS if region.name in self.pairs[0].scores)

    def metrics_of(self, region: Region) -> tuple[Metric, ...]:
        """The metrics of which a region has figures."""
        there = {name for pair in self.pairs for name in pair.scores[region.name]}
        return tuple(metric for metric in self.metrics if metric.name in there)

    def figure(self, pair: PairScores, region: Region, metric: Metric) -> float:
        """One figure; NaN where there is none."""
        return pair.scores[region.name].get(metric.name, math.nan)

    def mean(self, region: Region, metric: Metric) -> float:
        """Mean over the pairs that have a figure."""
        return mean([self.figure(pair, region, metric) for pair in self.pairs])

    def count(self, region: Region) -> int:
        """How many pairs have pixels in a region."""
        return sum(any(not math.isnan(value) for value in pair.scores[region.name].values()) for pair in self.pairs)

    @property
    def beyond(self) -> int:
        """How many truths have values above full scale."""
        return sum(pair.beyond > 0 for pair in self.pairs)

    @property
    def misaligned(self) -> tuple[PairScores, ...]:
        """Pairs whose medians are more than :data:`TELLING_STOPS` apart, before any alignment."""
        return tuple(pair for pair in self.pairs if abs(pair.stops) > TELLING_STOPS)

    @property
    def masked(self) -> int:
        """Pixels with NaN or infinity, which do not count, over all pairs."""
        return sum(pair.masked for pair in self.pairs)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noteworthy in single files."""
        return tuple(note for pair in self.pairs for note in pair.notes)

    def as_table(self, *, summary: bool = False) -> str:
        """The figures as text.

        Args:
            summary: leave out the single pairs.
        """
        blocks = [self._block(region, summary) for region in self.regions]
        lines = [f"{', '.join(headings)}: not computed: {reason}" for reason, headings in self._headings_by_reason()]
        return "\n\n".join([*blocks, *(["\n".join(lines)] if lines else [])])

    def _headings_by_reason(self) -> list[tuple[str, list[str]]]:
        grouped: dict[str, list[str]] = {}
        reasons = self.reasons
        for metric in self.metrics:
            if metric.name in reasons:
                grouped.setdefault(reasons[metric.name], []).append(metric.heading)
        return list(grouped.items())

    def _block(self, region: Region, summary: bool) -> str:
        metrics = self.metrics_of(region)
        rows = [["", *(f"{metric.heading}{_ARROWS[metric.better == HIGHER]}" for metric in metrics)]]
        if not summary:
            for pair in self.pairs:
                rows.append([pair.name, *(_text(self.figure(pair, region, metric), metric) for metric in metrics)])
        rows.append([MEAN, *(_text(self.mean(region, metric), metric) for metric in metrics)])
        return f"{region.title}: {self.count(region)} of {number_of(self.considered, 'pair')}\n{_aligned(rows)}"

    def as_csv(self, *, summary: bool = False) -> str:
        """One line a pair and region, with a header; the last lines are means. Empty cells are figures that lack."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", "region", *(metric.heading for metric in self.metrics)])
        for region in self.regions:
            for pair in () if summary else self.pairs:
                figures = (self.figure(pair, region, metric) for metric in self.metrics)
                writer.writerow([pair.name, region.name, *map(_cell, figures)])
        for region in self.regions:
            writer.writerow([MEAN, region.name, *(_cell(self.mean(region, metric)) for metric in self.metrics)])
        return text.getvalue()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; ``None`` for figures that lack, ``"inf"`` for infinite ones."""
        return {
            "version": __version__,
            "metrics": {
                metric.name: {
                    "title": metric.heading,
                    "description": metric.description,
                    "better": metric.better,
                    "not_computed": self.reasons.get(metric.name),
                }
                for metric in self.metrics
            },
            "pairs_considered": self.considered,
            "align": self.align,
            "regions": {
                region.name: {
                    "title": region.title,
                    "pairs": self.count(region),
                    "mean": {metric.name: _json(self.mean(region, metric)) for metric in self.metrics_of(region)},
                }
                for region in self.regions
            },
            "images": [
                {
                    "image": pair.name,
                    "truth_above_full_scale": pair.beyond,
                    "median_stops_above_truth": _json(pair.stops),
                    "masked_pixels": pair.masked,
                    "notes": list(pair.notes),
                    "scores": {
                        region: {name: _json(value) for name, value in scores.items()}
                        for region, scores in pair.scores.items()
                    },
                }
                for pair in self.pairs
            ],
        }


def _text(value: float, metric: Metric) -> str:
    return _NOTHING if math.isnan(value) else f"{value:.{metric.digits}f}"


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _json(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def _aligned(rows: list[list[str]]) -> str:
    """Columns side by side, the first to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
