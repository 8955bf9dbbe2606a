"""Which runs the table of table1.py is made of, and what their folders say of them: the books that it goes on from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from side_by_side import OUTCOME

RESULT, PLAN = "result.json", "plan.json"

Figures = dict[str, Any]


def planned_steps(options: argparse.Namespace) -> int:
    """Steps of every run: those asked for, or those that an earlier run fitted into the time; 0 for not known yet."""
    if options.steps > 0:
        return int(options.steps)
    plan = options.folder / PLAN
    return int(json.loads(plan.read_text())["steps"]) if plan.is_file() else 0


def outcome_of(folder: Path) -> Figures:
    """What a run said when it ended; an unfinished one says nothing."""
    place = folder / OUTCOME
    return dict(json.loads(place.read_text(encoding="utf-8"))) if place.is_file() else {}


def wanted(options: argparse.Namespace) -> Iterator[tuple[int, str, Path]]:
    """Seed by seed, so that an interrupted table has whole rounds."""
    for seed in options.seeds:
        for preset in options.networks.split(","):
            yield seed, preset, options.folder / f"{preset}-{seed}"


def rounds(options: argparse.Namespace) -> list[tuple[int, list[str]]]:
    """The runs that are left, as many at a time as ``--jobs`` says."""
    left: dict[int, list[str]] = {}
    for seed, preset, folder in wanted(options):
        if not (folder / RESULT).is_file() and not outcome_of(folder).get("complete"):
            left.setdefault(seed, []).append(preset)
    jobs = options.jobs
    return [(seed, names[i : i + jobs]) for seed, names in left.items() for i in range(0, len(names), jobs)]


def failures(options: argparse.Namespace) -> dict[str, str]:
    """Why runs that cannot be judged failed."""
    told = {folder.name: outcome_of(folder) for _, _, folder in wanted(options)}
    return {name: str(outcome["note"]) for name, outcome in told.items() if outcome and "step" not in outcome}
