"""How good the demo weights are on pictures that training never saw: photographs and panoramas, apart.

    python benchmarks/evaluate_demo.py --photos photos/ --panoramas data/hdri --panoramas hdri2/ [--split validation]
    python benchmarks/evaluate_demo.py ... --sizes 256 768 1536 --cameras all --camera-sizes 256 --everything
    python benchmarks/evaluate_demo.py ... --device cuda --workers 16 --seconds 100 --blend runs/demo/weights.pth
    python benchmarks/evaluation_table.py evaluation.jsonl                                  tables of what -o kept

Photographs are linearised and exposed up by 0.75 to 2.25 stops, so that they clip and the truth is known; panoramas are
seen in square views with 1 to 35 % of their pixels clipped. Both pass the sRGB curve and 8 bits, nothing else, unless
other cameras are named. Photographs are never enlarged: one that is smaller than a size is judged at its own, and left
out where that is less than half of it. Views larger than a panorama's own detail are smooth; they show what the working
scale does to large pictures, not what finer detail would.

Networks work at the scale that ``run`` takes, through the same code; several files, and blends of new weights with
others (--blend, --base, --parts), are judged side by side. Figures are explained in judgement.py; --everything adds
the slow ones and the conversions of baselines.py. One process holds the networks, --workers others do the rest
(judging.py).
Sizes are taken in their order, and a row is kept when it is whole: with --seconds the last ones may be missing.

The split "test" is for the end: a choice that has seen its figures has spent it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from candidates import Candidate, candidates
from command_line import Parser, above_zero, existing_file, existing_folder, new_file, start, whole_number
from evaluation_table import head, lines_of
from held_out import CAMERAS, SOURCES
from judgement import PLAIN
from judging import Judged, Settings, Task, judge

from dcdr_deploy.engines.base import PRECISIONS, Engine, EngineOptions
from dcdr_deploy.errors import InputError
from dcdr_deploy.run.selection import DEMO_MODEL
from dcdr_deploy.run.working_scale import parse_scale
from dcdr_deploy.system.files import make_folder

CHECKPOINT = DEMO_MODEL.with_suffix(".safetensors")
PARTS = (0.5, 0.7, 0.85, 1.0)
SECONDS_BETWEEN_NOTES = 5.0

Row = dict[str, Any]
"""``kind``, ``size``, ``camera``, ``edges`` (smallest and largest long side), and ``pictures``: figures by method."""


def planned(options: argparse.Namespace) -> list[Task]:
    """All pictures in the order of their importance: by size, then plain pictures before other cameras."""
    folders = {"photograph": options.photos, "panorama": options.panoramas}
    sources = {
        kind: SOURCES[kind](given, options.split, options.most) for kind, given in folders.items() if given
    }  # read once: the lists are the same at every size
    tasks = []
    for size in options.sizes:
        for camera in options.cameras:
            if camera != options.cameras[0] and options.camera_sizes and size not in options.camera_sizes:
                continue
            for kind, found in sources.items():
                tasks += [Task(f"{kind}, {size} px, {camera}", source, size, camera) for source in found]
    return tasks


def row_of(done: Sequence[Judged]) -> Row | None:
    """A row of the judged pictures that belong to it; ``None`` where none of them exists at its size."""
    found = [each for each in done if each.figures is not None]
    if not found:
        return None
    task = found[0].task
    return {
        "kind": task.row.partition(",")[0],
        "size": task.size,
        "camera": task.camera,
        "edges": [min(each.edge for each in found), max(each.edge for each in found)],
        "pictures": {each.name: each.figures for each in sorted(found, key=lambda each: each.name)},
    }


def rounded(value: Any) -> Any:
    """JSON of it with numbers of 7 digits, a third as long."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return value


def collect(
    tasks: Sequence[Task], chosen: Sequence[Candidate], options: argparse.Namespace, settings: Settings
) -> list[Row]:
    """Judge everything, showing and keeping each row that is done, until the time is over."""
    book = Book(tasks, [PLAIN, *(each.name for each in chosen)], options)

    def load() -> dict[str, Engine]:
        wanted = EngineOptions(device=options.device or "auto", precision=options.precision, threads=options.threads)
        engines = {each.name: each.engine(wanted, options.backend) for each in chosen}
        for name, engine in engines.items():
            book.note(f"{name}: {engine.info.backend}, {engine.info.device}, {engine.info.precision}")
        return engines

    noted = 0.0
    try:
        with closing(judge(tasks, load, settings, options.workers)) as results:
            for count, each in enumerate(results, start=1):
                book.add(each)
                if book.seconds > noted + SECONDS_BETWEEN_NOTES:
                    noted = book.seconds
                    book.note(f"{count} of {len(tasks)} pictures")
                if options.seconds and book.seconds > options.seconds:
                    book.note(f"time is over; left out: {', '.join(book.unfinished) or 'nothing'}")
                    break
    finally:
        book.keep_whole(in_order=False)
    return book.rows


class Book:
    """Rows that are shown, and kept in the output file, as soon as they are whole."""

    def __init__(self, tasks: Sequence[Task], names: Sequence[str], options: argparse.Namespace) -> None:
        self.rows: list[Row] = []
        self._names, self._options = names, options
        self._missing = Counter(task.row for task in tasks)
        self._judged: dict[str, list[Judged]] = {row: [] for row in self._missing}
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._started

    @property
    def unfinished(self) -> list[str]:
        """Rows of which pictures are missing."""
        return [row for row, number in self._missing.items() if number]

    def add(self, judged: Judged) -> None:
        """Add a picture, and keep what is whole by it."""
        self._judged[judged.task.row].append(judged)
        self._missing[judged.task.row] -= 1
        self.keep_whole(in_order=True)

    def keep_whole(self, *, in_order: bool) -> None:
        """Keep the rows that are whole; ``in_order``: those whose earlier ones are, since workers overtake."""
        for name in list(self._judged):
            if not self._missing[name]:
                self._keep(name, row_of(self._judged.pop(name)))
            elif in_order:
                break

    def _keep(self, name: str, row: Row | None) -> None:
        self.note(f"{name}: {len(row['pictures']) if row else 'no'} pictures")
        if row is None:
            return
        everything = self._options.everything
        shown = lines_of(row, self._names, everything)
        print("\n".join(([] if self.rows else head(everything)) + shown), flush=True)
        self.rows.append(row)
        if self._options.output:
            with self._options.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rounded(row)) + "\n")

    def note(self, text: str) -> None:
        """Say something on stderr, with the time."""
        print(f"{self.seconds:6.1f} s  {text}", file=sys.stderr, flush=True)


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--model", type=existing_file, action="append", default=[], help="file as it is [demo]; repeatable"
    )
    parser.add_argument(
        "--blend", type=existing_file, action="append", default=[], help="checkpoint to mix; repeatable"
    )
    parser.add_argument(
        "--base", type=existing_file, default=CHECKPOINT, help="checkpoint that --blend mixes in [demo]"
    )
    parser.add_argument("--parts", type=float, nargs="+", default=PARTS, help="of the blended file's weights")
    parser.add_argument("--photos", type=existing_folder, action="append", default=[], help="repeatable")
    parser.add_argument("--panoramas", type=existing_folder, action="append", default=[], help="repeatable")
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--sizes", type=whole_number, nargs="+", default=[256, 768], help="long sides in pixels")
    parser.add_argument("--cameras", default="plain", help=f"all, or comma-separated: {', '.join(CAMERAS)}")
    parser.add_argument(
        "--camera-sizes", type=whole_number, nargs="+", help="sizes for the cameras after the first [all]"
    )
    parser.add_argument("--most", type=whole_number, help="pictures of a kind at most, evenly spread")
    parser.add_argument("--device", help="auto, cpu or cuda; where it is given the demo weights run by torch")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--backend", default="auto", help="engine for --model")
    parser.add_argument("--threads", type=whole_number, help="processor threads of an engine")
    parser.add_argument("--scale", default="auto", help="working scale, as of run")
    parser.add_argument("--everything", action="store_true", help="baselines and slow metrics too")
    parser.add_argument(
        "--workers", type=whole_number, default=os.cpu_count() or 1, help="processes beside the networks' one"
    )
    parser.add_argument("--seconds", type=above_zero, help="end after this time, with the rows that are whole")
    parser.add_argument("-o", "--output", type=new_file, help="file for all figures, one row a line (JSON Lines)")
    options = parser.parse_args(arguments)
    options.cameras = list(CAMERAS) if options.cameras == "all" else options.cameras.split(",")
    if unknown := [camera for camera in options.cameras if camera not in CAMERAS]:
        parser.error(f"no camera {', '.join(unknown)}; use all, or of: {', '.join(CAMERAS)}")
    if not options.photos and not options.panoramas:
        parser.error("nothing to judge; give --photos or --panoramas")
    if wrong := [part for part in options.parts if not 0 <= part <= 1]:
        parser.error(f"--parts lie in 0..1, not {wrong[0]}")
    return options


def main() -> int:
    options = parsed()
    models = options.model or [CHECKPOINT if options.device else DEMO_MODEL]
    chosen = candidates(models, options.blend, options.base, options.parts)
    tasks = planned(options)
    if not tasks:
        folders = ", ".join(map(str, [*options.photos, *options.panoramas]))
        raise InputError(f"{folders}: no picture of the split {options.split!r}; name other folders")
    settings = Settings(parse_scale(options.scale), options.everything, max(options.sizes))
    if options.output:
        make_folder(options.output.parent)
        options.output.unlink(missing_ok=True)
    return 0 if collect(tasks, chosen, options, settings) else 1


if __name__ == "__main__":
    start(main)
