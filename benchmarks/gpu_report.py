"""What gpu_check.py reports: rows, the floors they are compared with, and their forms as tables and JSON. No GPU here.

A floor is the least time that a piece of work can take on a GPU: its arithmetic at the rate of a large FP16 matrix
product, its traffic at the rate of a large copy, or its gathers at the rate of the first-level caches. The first two
rates are measured on the GPU at hand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

SIZES = {"1920x1080": (1080, 1920), "3840x2160": (2160, 3840)}
"""Frames by name, as (height, width)."""

MACS_PER_PIXEL = 404_694
"""Multiplications of the ``paper`` network per input pixel."""

ELEMENTS_PER_PIXEL = 2633.6875
"""Values per input pixel that its convolutions read and write, all else fused into them."""

DEFORM_FLOP = 2 * 9 * 64 * 64
"""Of one deformable convolution of 64 channels, per pixel."""

DEFORM_BYTES = {"to SFT": 2 * (64 + 18 + 64 + 2 * 64), "to sum": 2 * (64 + 18 + 64 + 64)}
"""FP16 input, offsets, output, and the maps of the epilogue: SFT's gain and shift, or the residual."""

DEFORM_CACHE_BYTES = 9 * 4 * 64 * 2 + 9 * 64 * 64 * 2 // 32
"""Per pixel: four corners a tap through L1, and the weights out of shared memory once for 32 pixels of a warp."""

FRAME_DEFORM_PIXELS = 2 * (4 / 4 + 4 / 16)
"""Pixels that the 16 deformable convolutions of the network compute, per input pixel: four blocks at each scale."""

MILLISECONDS = 1e3


@dataclass(frozen=True)
class Ceilings:
    """The rates of a GPU.

    Attributes:
        flops: FP16 operations a second of a large matrix product.
        bandwidth: bytes a second of a large copy, read and written.
        cache: bytes a second of all first-level caches at the highest clock; ``None`` if the clock is not known.
    """

    flops: float
    bandwidth: float
    cache: float | None = None


@dataclass(frozen=True)
class Work:
    """What has to be done: floating-point operations, bytes of memory, bytes through the first-level caches."""

    flop: float
    traffic: float
    cached: float = 0.0

    def floors(self, ceilings: Ceilings) -> dict[str, float]:
        """Return the least times in milliseconds by what bounds them."""
        floors = {"arithmetic": self.flop / ceilings.flops, "traffic": self.traffic / ceilings.bandwidth}
        if self.cached and ceilings.cache:
            floors["L1"] = self.cached / ceilings.cache
        return {name: seconds * MILLISECONDS for name, seconds in floors.items()}


def frame_work(height: int, width: int) -> Work:
    """The whole network, FP16, everything but convolutions fused into them."""
    pixels = height * width
    return Work(2 * MACS_PER_PIXEL * pixels, 2 * ELEMENTS_PER_PIXEL * pixels)


def deform_work(height: int, width: int) -> Work:
    """One deformable convolution, the mean of the two of a block, at its own height and width."""
    pixels = height * width
    traffic = sum(DEFORM_BYTES.values()) / len(DEFORM_BYTES)
    return Work(DEFORM_FLOP * pixels, traffic * pixels, DEFORM_CACHE_BYTES * pixels)


def plain_work(height: int, width: int) -> Work:
    """One plain 3x3 convolution of 64 channels."""
    return Work(DEFORM_FLOP * height * width, 2 * (64 + 64) * height * width)


@dataclass(frozen=True)
class Timing:
    """A row of times.

    Attributes:
        group: the table it belongs to.
        size: what was computed, e.g. ``"3840x2160"``.
        name: by what.
        milliseconds: median; ``None`` where there is none, and ``note`` says why.
        spread: (10th, 90th percentile) in milliseconds.
        repeats: times that it was measured.
        work: for the shares of the floors.
        note: what has to be known of it.
    """

    group: str
    size: str
    name: str
    milliseconds: float | None = None
    spread: tuple[float, float] | None = None
    repeats: int = 0
    work: Work | None = None
    note: str = ""


@dataclass(frozen=True)
class Check:
    """A row of the check for right results: a measure, and the bound that it has to keep.

    ``at_least`` tells on which side of the bound the value must lie. Without a value ``note`` says why.
    """

    name: str
    measure: str
    value: float | None
    bound: float
    at_least: bool = False
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the bound is kept; never by NaN. ``None`` where nothing was measured."""
        if self.value is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass
class Report:
    """Everything that a run finds out; parts that did not run are simply missing, parts that failed have a note."""

    device: dict[str, Any] = field(default_factory=dict)
    ceilings: Ceilings | None = None
    checks: list[Check] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    seconds: float = 0.0

    def find(self, group: str, size: str, name: str) -> float | None:
        """Return the milliseconds of a row, ``None`` if it was not measured."""
        for row in self.timings:
            if (row.group, row.size, row.name) == (group, size, name):
                return row.milliseconds
        return None

    def failed(self) -> list[Check]:
        """The checks whose bound was not kept; a check that could not run is none of them."""
        return [check for check in self.checks if check.passed is False]


DEFORM, FRAME = "One deformable convolution, 64 channels, FP16", "Whole frame"
HOST = "Whole frame, from host memory to host memory"
OURS_DEFORM, TORCHVISION = "half a fused block", "torchvision"
OWN_DEFORM = "half a block from hidden maps"
OURS_FRAME, EAGER = "fused, CUDA graph", "torch eager, torchvision"
OWN_FRAME, OWN_HOST = "engine cuda", "engine cuda"
COMPILED_FRAME = "fused, torch.compile, CUDA graph"
HALF_FRAME = "engine cuda, network at half the size"
LARGEST_FRAME = "3840x2160"
LARGEST_DEFORM = "1920x1080"
"""Size of the features at half the scale of the larger frame."""


def targets(report: Report) -> list[Check]:
    """The targets of the project (set for an H200) as checks; the best of our own rows counts."""

    def best(group: str, size: str, *names: str) -> float | None:
        times = [report.find(group, size, name) for name in names]
        return min((time for time in times if time is not None), default=None)

    def ratio(slow: float | None, fast: float | None) -> float | None:
        return None if slow is None or not fast else slow / fast

    def frame(size: str) -> float | None:
        return best(FRAME, size, OWN_FRAME, OURS_FRAME, COMPILED_FRAME)

    def eager(size: str) -> float | None:
        names = {row.name for row in report.timings if row.group == FRAME and row.name.startswith(EAGER)}
        return best(FRAME, size, *names)

    size, smaller = LARGEST_FRAME, "1920x1080"
    ours = best(DEFORM, LARGEST_DEFORM, OURS_DEFORM, OWN_DEFORM)
    deform = ratio(report.find(DEFORM, LARGEST_DEFORM, TORCHVISION), ours)
    compiled = ratio(report.find(FRAME, size, COMPILED_FRAME), report.find(FRAME, size, OWN_FRAME))
    around = ratio(report.find(HOST, size, OWN_HOST), report.find(FRAME, size, OWN_FRAME))
    times = "times as fast as"
    return [
        Check(f"deformable convolution, {LARGEST_DEFORM}", f"{times} torchvision", deform, 8.0, at_least=True),
        Check(f"frame, {size}", "milliseconds on the device", frame(size), 30.0),
        Check(f"frame, {size}, next", "milliseconds on the device", frame(size), 16.7),
        Check(f"frame, {smaller}", "milliseconds on the device", frame(smaller), 7.5),
        Check(
            f"frame, {size}, network at half", "milliseconds on the device", report.find(FRAME, size, HALF_FRAME), 9.0
        ),
        Check(f"frame, {size}", f"{times} torch eager", ratio(eager(size), frame(size)), 5.0, at_least=True),
        Check(f"frame, {size}, engine cuda", f"{times} torch.compile, fused", compiled, 2.0, at_least=True),
        Check(f"frame, {size}, engine cuda", "host to host over device", around, 1.15),
    ]


def markdown(report: Report) -> str:
    """The report as Markdown."""
    parts = [f"# {report.device.get('name', 'GPU')}", ""]
    parts += [f"- {key}: {value}" for key, value in report.device.items() if key != "name"]
    if report.ceilings is not None:
        parts += [
            f"- measured: {report.ceilings.flops / 1e12:.0f} TFLOP/s FP16, {report.ceilings.bandwidth / 1e12:.2f} TB/s"
            + ("" if report.ceilings.cache is None else f"; L1 by its clock: {report.ceilings.cache / 1e12:.1f} TB/s")
        ]
    parts += [f"- the whole check took {report.seconds:.0f} s", "", "## Right results", "", *_checks(report.checks)]
    for group in dict.fromkeys(row.group for row in report.timings):
        rows = [row for row in report.timings if row.group == group]
        parts += ["", f"## {group}", "", *_timings(rows, report.ceilings)]
    parts += ["", "## Targets (set for an H200)", "", *_checks(targets(report)), ""]
    return "\n".join(parts)


def _checks(checks: Iterable[Check]) -> list[str]:
    words = {True: "yes", False: "**no**", None: "not measured"}
    rows = [
        (
            check.name,
            check.measure,
            "-" if check.value is None else number(check.value),
            f"{'>=' if check.at_least else '<='} {number(check.bound)}",
            words[check.passed] + (f": {check.note}" if check.note else ""),
        )
        for check in checks
    ]
    return table(("what", "measure", "value", "bound", "kept"), rows)


def _timings(timings: Sequence[Timing], ceilings: Ceilings | None) -> list[str]:
    rows = []
    for row in timings:
        floors = {} if row.work is None or ceilings is None else row.work.floors(ceilings)
        shares = ["-"] * 3
        if row.milliseconds is not None and floors:
            shares = [share(floors.get(name), row.milliseconds) for name in ("arithmetic", "traffic", "L1")]
        time = "-" if row.milliseconds is None else f"{row.milliseconds:.2f}"
        spread = "-" if row.spread is None else f"{row.spread[0]:.2f}-{row.spread[1]:.2f}"
        rows.append((row.size, row.name, time, spread, *shares, row.note))
    heads = ("size", "by", "ms, median", "10-90 %", "of arithmetic floor", "of traffic floor", "of L1 floor", "note")
    return table(heads, rows)


def share(floor: float | None, milliseconds: float) -> str:
    """Return which part of the time the floor is: 100 % would be as fast as the GPU can be."""
    return "-" if floor is None else f"{floor / milliseconds:.0%}"


def number(value: float) -> str:
    """Return a number with three digits that count."""
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; cells are made safe for it."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in line) + " |" for line in lines]


def to_json(report: Report) -> str:
    """The report as JSON, with floors in milliseconds beside the rows that have some."""
    data = asdict(report)
    for row, stored in zip(report.timings, data["timings"], strict=True):
        stored.pop("work")
        if row.work is not None and report.ceilings is not None:
            stored["floors_ms"] = row.work.floors(report.ceilings)
    for name, checks in (("checks", report.checks), ("targets", targets(report))):
        data[name] = [{**asdict(check), "passed": check.passed} for check in checks]
    return json.dumps(_plain(data), indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """NaN and infinity as words: JSON has no numbers for them."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
