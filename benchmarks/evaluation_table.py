"""Tables of what evaluate_demo.py kept, and whether weights keep their gate.

python benchmarks/evaluation_table.py evaluation.jsonl [--methods NAME ...] [--single]
python benchmarks/evaluation_table.py evaluation.jsonl --gate runs/weights --against weights/dcdr-unet-demo
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_line import Parser, existing_file, start
from judgement import PLAIN, gain, summary
from text_files import json_lines
from text_tables import markdown

from dcdr_deploy.system.words import number_of

Row = Mapping[str, Any]
"""See evaluate_demo.py."""

Column = tuple[str, str, str]
"""Key of a summary, head of its column, format."""

COLUMNS: tuple[Column, ...] = (
    ("clipped gain", "clipped, pooled", "{:+.2f}"),
    ("lower quartile", "lower quartile", "{:+.2f}"),
    ("median", "median", "{:+.2f}"),
    ("upper quartile", "upper quartile", "{:+.2f}"),
    ("worst", "worst", "{:+.1f}"),
    ("worse", "lose over 0.3 dB", "{:.1%}"),
    ("lose over 1 dB", "lose over 1 dB", "{:.1%}"),
    ("unclipped gain", "unclipped", "{:+.2f}"),
    ("everything gain", "everything", "{:+.2f}"),
    ("uv", "u'v'", "{:.4f}"),
)
SLOW_COLUMNS: tuple[Column, ...] = (
    ("aligned gain", "after a fitted curve", "{:+.2f}"),
    ("pu", "PU21-PSNR", "{:.2f}"),
    ("pu gain", "gain", "{:+.2f}"),
    ("itp", "delta ITP", "{:.1f}"),
)
"""What --everything adds."""


def methods_of(row: Row) -> list[str]:
    """Methods that all pictures of a row have, the plain conversion first; a network without them all is left out."""
    first, *others = row["pictures"].values()
    return [method for method in first if all(method in each for each in others)]


def shown_size(row: Row) -> str:
    """The size, with the long sides there are where they differ from it."""
    low, high = row["edges"]
    return f"{row['size']}" if low == high == row["size"] else f"{row['size']} ({low} to {high})"


def head(slow: bool) -> list[str]:
    """The first two lines of a table, with the slow columns or without."""
    heads = ["pictures", "size", "camera", "method", *(text for _, text, _ in columns(slow))]
    return ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]


def columns(slow: bool) -> list[Column]:
    """The columns of figures."""
    return [*COLUMNS, *(SLOW_COLUMNS if slow else ())]


def lines_of(row: Row, methods: Sequence[str] | None, slow: bool) -> list[str]:
    """Lines of a table, one a method; the conversion's own shows what there is to gain."""
    lines = []
    for method in methods_of(row):
        if methods is None or method in methods:
            values = summary(row["pictures"], method)
            cells = [form.format(values[key]) if key in values else "" for key, _, form in columns(slow)]
            first = [number_of(values["pictures"], row["kind"]), shown_size(row), row["camera"], method]
            lines.append("| " + " | ".join([*first, *cells]) + " |")
    return lines


def table(rows: Sequence[Row], methods: Sequence[str] | None = None) -> str:
    """Markdown of rows."""
    slow = any("pu sum" in figures for row in rows for each in row["pictures"].values() for figures in each.values())
    return "\n".join(head(slow) + [line for row in rows for line in lines_of(row, methods, slow)])


def single_table(row: Row, methods: Sequence[str]) -> str:
    """Gains of every picture on its clipped pixels, the worst of the first method first."""
    gains = {
        name: [gain(figures[PLAIN], figures[method], "clipped") for method in methods]
        for name, figures in row["pictures"].items()
    }
    cells = [[f"{row['kind']}, {shown_size(row)} px, {row['camera']}", *methods]]
    for name, values in sorted(gains.items(), key=lambda each: each[1][0]):
        cells.append([name, *(f"{value:+.2f}" for value in values)])
    return markdown(cells)


@dataclass(frozen=True)
class Condition:
    """One thing that new weights have to do.

    Attributes:
        text: what is asked, with its bound.
        kinds: rows that it is asked of, by kind.
        sizes: likewise; empty for all.
        cameras: likewise.
        measure: of the weights' summary and that of the weights before (empty where there are none).
        kept: whether what was measured is enough.
        form: how it is shown.
    """

    text: str
    kinds: tuple[str, ...]
    sizes: tuple[int, ...]
    cameras: tuple[str, ...]
    measure: Callable[[Mapping[str, float], Mapping[str, float]], float]
    kept: Callable[[float], bool]
    form: str = "{:+.2f}"


BOTH, ANY_SIZE, PLAIN_CAMERA = ("photograph", "panorama"), (), ("plain",)

GATE: tuple[Condition, ...] = (
    Condition(
        "pooled gain at least 2 dB above the weights before",
        ("photograph",),
        (256, 768),
        PLAIN_CAMERA,
        lambda new, old: new["clipped gain"] - old.get("clipped gain", float("nan")),
        lambda found: found >= 2,
    ),
    Condition(
        "median at least 2 dB",
        *(("photograph",), (256, 768), PLAIN_CAMERA),
        lambda new, old: new["median"],
        lambda found: found >= 2,
    ),
    Condition(
        "u'v' at most 0.75 of the plain conversion's",
        *(("photograph",), (256, 768), PLAIN_CAMERA),
        lambda new, old: new["uv"] / new["uv plain"],
        lambda found: found <= 0.75,
        "{:.3f}",
    ),
    *(
        Condition(
            f"{words} at least {least} dB",
            *(("panorama",), (size,), PLAIN_CAMERA),
            lambda new, old, key=key: new[key],  # type: ignore[misc]
            lambda found, least=least: found >= least,  # type: ignore[misc]
        )
        for size, words, key, least in (
            (256, "pooled gain", "clipped gain", 6.5),
            (256, "median", "median", 3.5),
            (768, "pooled gain", "clipped gain", 6.0),
            (768, "median", "median", 3.5),
        )
    ),
    Condition(
        "at most 1 % of the pictures lose over 1 dB",
        *(BOTH, ANY_SIZE, PLAIN_CAMERA),
        lambda new, old: new["lose over 1 dB"],
        lambda found: found <= 0.01,
        "{:.1%}",
    ),
    Condition(
        "worst at least -2 dB",
        *(BOTH, ANY_SIZE, PLAIN_CAMERA),
        lambda new, old: new["worst"],
        lambda found: found >= -2,
    ),
    Condition(
        "unclipped pixels within 0.1 dB",
        *(BOTH, ANY_SIZE, PLAIN_CAMERA),
        lambda new, old: new["unclipped gain"],
        lambda found: abs(found) <= 0.1,
    ),
    Condition(
        "gray stays gray: u'v' at most 0.0005",
        *(BOTH, ANY_SIZE, ("gray",)),
        lambda new, old: new["uv"],
        lambda found: found <= 0.0005,
        "{:.5f}",
    ),
)
"""What weights worth deploying reach on pictures that nobody chose by."""


def gate(rows: Sequence[Row], method: str, before: str | None) -> str:
    """Markdown: every condition of :data:`GATE` on every row that it is asked of."""
    cells = [["asked", "pictures", "size", "camera", "found", "kept"]]
    for condition in GATE:
        for row in rows:
            here = not condition.sizes or row["size"] in condition.sizes
            if not (here and row["kind"] in condition.kinds and row["camera"] in condition.cameras):
                continue
            asked = [condition.text, f"{row['kind']}s", shown_size(row), row["camera"]]
            if method not in methods_of(row):
                cells.append([*asked, "no result for some pictures", "no"])
                continue
            old = summary(row["pictures"], before) if before in methods_of(row) else {}
            found = condition.measure(summary(row["pictures"], method), old)
            cells.append([*asked, condition.form.format(found), "yes" if condition.kept(found) else "no"])
    return markdown(cells)


def read_rows(path: Path) -> list[Row]:
    """Rows of a file of evaluate_demo.py."""
    return list(json_lines(path, ("kind", "size", "camera", "edges", "pictures"), "evaluate_demo.py"))


def main() -> int:
    parser = Parser(__doc__)
    parser.add_argument("file", type=existing_file, nargs="+")
    parser.add_argument("--methods", nargs="+", help="lines to show [all]")
    parser.add_argument("--single", action="store_true", help="gains of single pictures")
    parser.add_argument("--gate", help="network whose gate to show")
    parser.add_argument("--against", help="network before it, for the gate")
    options = parser.parse_args()
    rows = [row for file in options.file for row in read_rows(file)]
    known = {method for row in rows for method in methods_of(row)}
    if unknown := {*(options.methods or ()), options.gate or PLAIN, options.against or PLAIN} - known:
        parser.error(f"no {', '.join(sorted(unknown))} there; there are: {', '.join(sorted(known))}")
    if options.gate:
        print(gate(rows, options.gate, options.against))
    elif options.single:
        for row in rows:
            shown = [each for each in methods_of(row)[1:] if not options.methods or each in options.methods]
            print(single_table(row, shown) if shown else "", end="\n\n")
    else:
        print(table(rows, options.methods))
    return 0


if __name__ == "__main__":
    start(main)
