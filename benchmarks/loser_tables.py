"""What losers.py kept, as tables: which pictures lose, what goes along with it, and what would mend it.

python benchmarks/loser_tables.py losers.jsonl [more.jsonl]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
from judgement import MUCH_WORSE
from losers import STRENGTHS, Area, Depth, Measured
from numpy.typing import NDArray
from scipy.stats import spearmanr

Rows = Sequence[Measured]
Figure = Callable[[Measured], float]
Numbers = NDArray[np.float64]

EDGES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, float("inf"))
"""Of the bins of depth, in stops."""
SHALLOW = 0.25
"""Stops of true median depth below which a clipped area counts as one that only just clips."""
SHOWN_STRENGTHS = (0.5, 0.7, 0.8, 0.9)
ALIKE = {"found": 0.1, "share": 0.1, "whole": 0.1, "flat": 0.1}
"""Most by which two pictures differ that count as alike: mean found depth in stops, and shares."""
PAIRS = 8

FIGURES: Mapping[str, Figure] = {
    "true depth, median": lambda each: each.true.median,
    "error of the conversion, dB": lambda each: -each.conversion,
    "found depth, mean": lambda each: each.found.mean,
    "found minus true depth": lambda each: each.found.mean - each.true.mean,
    "clipped, share of the picture": lambda each: each.area.share,
    "all channels clipped, share of these": lambda each: each.area.whole,
    "largest flat area, share of the picture": lambda each: each.area.flat,
}


@dataclass(frozen=True)
class Outcome:
    """Gains of many pictures in one way of restoring them."""

    pooled: float
    median: float
    worst: float
    losers: int


def numbers(rows: Rows, figure: Figure) -> Numbers:
    """A figure of each picture."""
    return np.array([figure(each) for each in rows], np.float64)


def loses(each: Measured) -> bool:
    """Whether a picture is much worse than the plain conversion."""
    return each.gain < -MUCH_WORSE


def rank_correlation(a: Numbers, b: Numbers) -> float:
    """Spearman's; NaN of fewer than three pictures, or where one side is constant."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)


def outcome(rows: Rows, gains: Numbers) -> Outcome:
    """What gains in dB, one a picture, come to; the pooled one weighs every pixel alike."""
    count = numbers(rows, lambda each: each.count)
    before = 10 ** (-numbers(rows, lambda each: each.conversion) / 10)
    after = before * 10 ** (-gains / 10)
    pooled = 10 * np.log10(np.dot(count, before) / np.dot(count, after))
    return Outcome(float(pooled), float(np.median(gains)), float(gains.min()), int((gains < -MUCH_WORSE).sum()))


def bin_of(stops: float) -> int:
    """The place among :data:`EDGES` of a depth."""
    return int(np.searchsorted(EDGES, stops, side="right")) - 1


def groups_of(rows: Rows) -> dict[str, Rows]:
    """Pictures by kind and split; photographs for validation also by whether training has any of their folder."""
    groups: dict[str, Rows] = {}
    for kind in ("photograph", "panorama"):
        for split in ("validation", "train"):
            groups[f"{kind}s, {split}"] = [each for each in rows if (each.kind, each.split) == (kind, split)]
    trained = {folder_of(each) for each in groups["photographs, train"]}
    if trained:
        held_out = groups["photographs, validation"]
        groups["of these, of folders in training"] = [each for each in held_out if folder_of(each) in trained]
        groups["of these, of other folders"] = [each for each in held_out if folder_of(each) not in trained]
    order = sorted(groups, key=lambda name: (not name.startswith("photographs, v"), not name.startswith("of")))
    return {name: groups[name] for name in order if groups[name]}


def folder_of(each: Measured) -> str:
    """The folder that a picture comes from."""
    return each.name.rpartition("/")[0]


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, ["---"] * len(heads), *lines])


def share(part: int, of: int) -> str:
    """A count with its share."""
    return f"{part} of {of} ({part / of:.0%})".replace("%", " %") if of else "none"


def overview(groups: Mapping[str, Rows]) -> str:
    """How many lose, and how well depth is found, group by group."""
    lines = []
    for name, rows in groups.items():
        found = outcome(rows, numbers(rows, lambda each: each.gain))
        true, guessed = (
            numbers(rows, figure) for figure in (lambda each: each.true.mean, lambda each: each.found.mean)
        )
        shallow = [each for each in rows if each.true.median < SHALLOW]
        deep = [each for each in rows if each.true.median >= SHALLOW]
        lines.append(
            [
                name,
                *(share(sum(map(loses, some)), len(some)) for some in (rows, shallow, deep)),
                f"{found.pooled:+.2f}",
                f"{found.median:+.2f}",
                f"{rank_correlation(true, guessed):.2f}",
                f"{(guessed - true).mean():+.2f}",
                f"{np.abs(guessed - true).mean():.2f}",
            ]
        )
    heads = ["pictures", "lose 1 dB", f"shallow (< {SHALLOW:g} stop)", "deeper", "pooled", "median"]
    return table([*heads, "rank correlation", "found - true", "off by"], lines)


def by_depth(rows: Rows) -> str:
    """The gain in bins of the true median depth."""
    lines = []
    for place, (low, high) in enumerate(pairwise(EDGES)):
        some = [each for each in rows if bin_of(each.true.median) == place]
        if not some:
            continue
        figures = (lambda each: each.gain, lambda each: each.conversion, lambda each: each.found.median)
        gain, conversion, found = (float(np.median(numbers(some, figure))) for figure in figures)
        lost = [each for each in some if loses(each)]
        wrong = f"{np.median(numbers(lost, lambda each: each.found.mean / each.true.mean)):.1f}" if lost else ""
        end = f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} and more"
        cells = [f"{gain:+.2f}", f"{conversion:.1f}", f"{found:.2f}", share(len(lost), len(some)), wrong]
        lines.append([end, str(len(some)), *cells])
    heads = [
        "true depth, stops",
        "pictures",
        "gain",
        "conversion, dB",
        "found depth",
        "lose 1 dB",
        "their found / true",
    ]
    return table(heads, lines)


def with_strength(rows: Rows, strength: float) -> Numbers:
    """Gains of pictures with one power of the network's gain."""
    return numbers(rows, lambda each: float(np.interp(strength, STRENGTHS, each.by_strength)))


def mended(rows: Rows) -> str:
    """What powers of the gain come to: one for all, the one that knows the mean depth, the best in hindsight."""
    ways = {
        "as it is": numbers(rows, lambda each: each.gain),
        **{f"power {strength:g} for all": with_strength(rows, strength) for strength in SHOWN_STRENGTHS},
        "oracle: true mean depth": numbers(rows, lambda each: each.matched),
        "oracle: best power in hindsight": numbers(rows, lambda each: max(each.by_strength)),
    }
    lost = np.array([loses(each) for each in rows])
    lines = []
    for name, gains in ways.items():
        found = outcome(rows, gains)
        former = f"{np.median(gains[lost]):+.2f}" if lost.any() else ""
        lines.append(
            [name, f"{found.pooled:+.2f}", f"{found.median:+.2f}", f"{found.worst:+.1f}", str(found.losers), former]
        )
    return table(["gain taken", "pooled", "median", "worst", "lose 1 dB", "median of those that lose as it is"], lines)


def along(groups: Mapping[str, Rows]) -> str:
    """Rank correlations of the gain with what is known of a picture, and with what could be."""
    lines = []
    for title, figure in FIGURES.items():
        correlations = (
            rank_correlation(numbers(rows, lambda each: each.gain), numbers(rows, figure)) for rows in groups.values()
        )
        lines.append([title, *(f"{each:+.2f}" for each in correlations)])
    return table(["gain against", *groups], lines)


def alike(a: Measured, b: Measured) -> bool:
    """Whether two pictures' clipped areas look alike and get about the same depth."""
    return abs(a.found.mean - b.found.mean) <= ALIKE["found"] and all(
        abs(getattr(a.area, name) - getattr(b.area, name)) <= most for name, most in ALIKE.items() if name != "found"
    )


def unlike_pairs(rows: Rows, most: int = PAIRS) -> list[tuple[Measured, Measured]]:
    """Pictures that are :func:`alike` and whose true depths differ most, the shallow one first; no picture twice."""
    found = [(a, b) if a.true.mean <= b.true.mean else (b, a) for a, b in combinations(rows, 2) if alike(a, b)]
    found.sort(key=lambda pair: pair[0].true.mean - pair[1].true.mean)
    taken: list[tuple[Measured, Measured]] = []
    names: set[str] = set()
    for pair in found:
        if names.isdisjoint(each.name for each in pair) and len(taken) < most:
            taken.append(pair)
            names |= {each.name for each in pair}
    return taken


def pairs(rows: Rows) -> str:
    """Table of :func:`unlike_pairs`."""
    lines = [
        [
            " and ".join(each.name for each in pair),
            *(
                " / ".join(form.format(figure(each)) for each in pair)
                for form, figure in (
                    ("{:.2f}", lambda each: each.found.mean),
                    ("{:.2f}", lambda each: each.true.mean),
                    ("{:.2f}", lambda each: each.area.share),
                    ("{:.2f}", lambda each: each.area.whole),
                    ("{:.2f}", lambda each: each.area.flat),
                    ("{:+.1f}", lambda each: each.gain),
                )
            ),
        ]
        for pair in unlike_pairs(rows)
    ]
    return table(["pair", "found depth", "true depth", "clipped", "all channels", "largest flat", "gain"], lines)


def singles(rows: Rows) -> str:
    """Every picture that loses, the worst first."""
    lines = [
        [
            each.name,
            f"{each.gain:+.1f}",
            f"{each.conversion:.1f}",
            f"{each.true.mean:.2f}, {each.true.median:.2f}, {each.true.high:.2f}",
            f"{each.found.mean:.2f}, {each.found.median:.2f}, {each.found.high:.2f}",
            *(f"{value:.2f}" for value in (each.area.share, each.area.whole, each.area.flat)),
            f"{each.matched:+.1f}",
        ]
        for each in sorted(filter(loses, rows), key=lambda each: each.gain)
    ]
    heads = ["picture", "gain", "conversion, dB", "true depth: mean, median, 90 %", "found depth"]
    return table([*heads, "clipped", "all channels", "largest flat", "gain at the true mean depth"], lines)


def read(path: Path) -> list[Measured]:
    """What losers.py kept in a file."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        parts = {"area": Area(**values["area"]), **{name: Depth(**values[name]) for name in ("true", "found")}}
        parts["by_strength"] = tuple(values["by_strength"])
        rows.append(Measured(**{**values, **parts}))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="+")
    options = parser.parse_args()
    for path in options.file:
        groups = groups_of(read(path))
        whole = {name: rows for name, rows in groups.items() if not name.startswith("of")}
        print(f"{path.name}\n\n{overview(groups)}\n\n{along(whole)}\n")
        for name, rows in whole.items():
            print(f"{name}\n\n{by_depth(rows)}\n\n{mended(rows)}\n\n{pairs(rows)}\n\n{singles(rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
