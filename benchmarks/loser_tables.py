"""What losers.py kept, as tables: which pictures lose, what goes along with it, and what would mend it.

python benchmarks/loser_tables.py losers.jsonl [more.jsonl ...]                          of all pictures together
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
from command_line import Parser, existing_file, start
from judgement import MUCH_WORSE
from losers import STRENGTHS, Area, Depth, Measured
from numpy.typing import NDArray
from scipy.stats import spearmanr
from text_files import json_lines
from text_tables import markdown

Rows = Sequence[Measured]
Figure = Callable[[Measured], float]
Numbers = NDArray[np.float64]

BINS: Mapping[str, tuple[Figure, Sequence[float]]] = {
    "true depth, stops": (lambda each: each.true.median, (0, 0.1, 0.25, 0.5, 0.75, 1, 1.5, float("inf"))),
    "found depth, stops": (lambda each: each.found.median, (0, 0.1, 0.25, 0.5, 0.75, 1, 1.5, float("inf"))),
    "largest flat area": (lambda each: each.area.flat, (0, 0.01, 0.1, 0.4, 1)),
    "exposed up by, stops": (lambda each: each.stops or 0.0, (0.75, 1.25, 1.75, 2.25, float("inf"))),
}
"""Figures and the edges of their bins."""
SHALLOW = 0.25
"""Stops of true median depth below which a clipped area counts as one that only just clips."""
TOO_DEEP = 1.4
"""Times the true mean depth from which a found one counts as much too deep."""
SHOWN_STRENGTHS = (0.5, 0.7, 0.8, 0.9, 1.2)
ALIKE = {"found": 0.1, "share": 0.1, "whole": 0.1, "flat": 0.1}
"""Most by which two pictures differ that count as alike: mean found depth in stops, and shares."""
PAIRS = 8


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


def binned(rows: Rows, figure: Figure, edges: Sequence[float]) -> dict[str, Rows]:
    """Pictures by bins of a figure, which hold their lower end; without empty ones."""
    place = np.searchsorted(edges, numbers(rows, figure), side="right") - 1
    bins: dict[str, Rows] = {}
    for number, (low, high) in enumerate(pairwise(edges)):
        title = f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} and more"
        bins[title] = [each for each, own in zip(rows, place, strict=True) if own == number]
    return {title: some for title, some in bins.items() if some}


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
        deeper = [each for each in rows if each.true.median >= SHALLOW]
        too_deep = [each for each in rows if each.found.mean > TOO_DEEP * each.true.mean]
        others = [each for each in rows if each.found.mean <= TOO_DEEP * each.true.mean]
        lines.append(
            [
                name,
                *(share(sum(map(loses, some)), len(some)) for some in (rows, shallow, deeper, too_deep, others)),
                f"{found.pooled:+.2f}",
                f"{found.median:+.2f}",
                f"{rank_correlation(true, guessed):.2f}",
                f"{(guessed - true).mean():+.2f}",
                f"{np.abs(guessed - true).mean():.2f}",
            ]
        )
    lose = ["lose 1 dB", f"true depth < {SHALLOW:g} stop", "deeper", f"found > {TOO_DEEP:g} x true", "others"]
    return markdown([["pictures", *lose, "pooled", "median", "rank correlation", "found - true", "off by"], *lines])


def with_strength(rows: Rows, strength: float) -> Numbers:
    """Gains of pictures with one power of the network's gain."""
    return numbers(rows, lambda each: float(np.interp(strength, STRENGTHS, each.by_strength)))


def best_power(rows: Rows) -> float:
    """The one power of the gain that would be best for all pictures, pooled."""
    return max(STRENGTHS, key=lambda power: outcome(rows, with_strength(rows, power)).pooled)


def by_bin(rows: Rows, title: str, figure: Figure, edges: Sequence[float]) -> str:
    """Medians in bins of a figure, how many lose, and :func:`best_power`."""
    shown: Sequence[tuple[Figure, str]] = (
        (lambda each: each.gain, "{:+.2f}"),
        (lambda each: each.conversion, "{:.1f}"),
        (lambda each: each.true.median, "{:.2f}"),
        (lambda each: each.found.median, "{:.2f}"),
        (lambda each: abs(each.found.mean - each.true.mean), "{:.2f}"),
    )
    lines = []
    for name, some in binned(rows, figure, edges).items():
        lost = list(filter(loses, some))
        times = f"{np.median(numbers(lost, lambda each: each.found.mean / each.true.mean)):.1f}" if lost else ""
        medians = (form.format(np.median(numbers(some, each))) for each, form in shown)
        lines.append([name, *medians, share(len(lost), len(some)), times, f"{best_power(some):g}"])
    heads = [title, "gain", "conversion, dB", "true depth", "found depth", "off by"]
    return markdown([[*heads, "lose 1 dB", "found / true of these", "best power"], *lines])


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
    return markdown(
        [["gain taken", "pooled", "median", "worst", "lose 1 dB", "median of those that lose as it is"], *lines]
    )


def alike(a: Measured, b: Measured) -> bool:
    """Whether the clipped areas of two pictures look alike and get about the same depth; never one, exposed twice."""
    return (
        a.name != b.name
        and abs(a.found.mean - b.found.mean) <= ALIKE["found"]
        and all(
            abs(getattr(a.area, name) - getattr(b.area, name)) <= most
            for name, most in ALIKE.items()
            if name != "found"
        )
    )


def alike_pairs(rows: Rows) -> list[tuple[Measured, Measured]]:
    """Pairs of pictures that are :func:`alike`, the shallow one first; those whose true depths differ most lead."""
    found = [(a, b) if a.true.mean <= b.true.mean else (b, a) for a, b in combinations(rows, 2) if alike(a, b)]
    return sorted(found, key=lambda pair: pair[0].true.mean - pair[1].true.mean)


def without_repeats(found: Sequence[tuple[Measured, Measured]]) -> list[tuple[Measured, Measured]]:
    """The first pairs in which no picture is met twice."""
    taken: list[tuple[Measured, Measured]] = []
    names: set[str] = set()
    for pair in found:
        if names.isdisjoint(each.name for each in pair):
            taken.append(pair)
            names |= {each.name for each in pair}
    return taken


def pairs(rows: Rows) -> str:
    """How far the true depths of pictures differ that are :func:`alike`, with those that differ most."""
    found = alike_pairs(rows)
    if not found:
        return "No two look alike."
    apart = np.array([b.true.mean - a.true.mean for a, b in found])
    others = np.median([abs(a.true.mean - b.true.mean) for a, b in combinations(rows, 2)])
    said = (
        f"{len(found)} pairs are alike; true depths differ by {np.median(apart):.2f} stops in the median (all pairs: "
        f"{others:.2f}), by more than {SHALLOW:g} in {share(int((apart > SHALLOW).sum()), len(found))}.\n\n"
    )
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
        for pair in without_repeats(found)[:PAIRS]
    ]
    return said + markdown(
        [["pair", "found depth", "true depth", "clipped", "all channels", "largest flat", "gain"], *lines]
    )


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
    return markdown([[*heads, "clipped", "all channels", "largest flat", "gain at the true mean depth"], *lines])


def read(path: Path) -> list[Measured]:
    """What losers.py kept in a file."""
    rows = []
    for values in json_lines(path, ("gain", "area", "true", "found", "by_strength"), "losers.py"):
        parts = {"area": Area(**values["area"]), **{name: Depth(**values[name]) for name in ("true", "found")}}
        parts["by_strength"] = tuple(values["by_strength"])
        rows.append(Measured(**{**values, **parts}))
    return rows


def main() -> int:
    parser = Parser(__doc__)
    parser.add_argument("file", type=existing_file, nargs="+")
    options = parser.parse_args()
    groups = groups_of([each for path in options.file for each in read(path)])
    print(f"{overview(groups)}\n")
    for name, rows in groups.items():
        if name.startswith("of these"):
            continue
        exposed = rows[0].stops is not None
        binned_by = [by_bin(rows, title, *BINS[title]) for title in BINS if exposed or "exposed" not in title]
        print("\n\n".join([name, *binned_by, mended(rows), pairs(rows), singles(rows)]) + "\n")
    return 0


if __name__ == "__main__":
    start(main)
