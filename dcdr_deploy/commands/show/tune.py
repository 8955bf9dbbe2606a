"""What ``dcdr-deploy tune`` shows."""

from __future__ import annotations

from collections.abc import Iterator

from dcdr_deploy.commands.show.meter import BAR, COUNT, ELAPSED, NAME
from dcdr_deploy.commands.show.progress import Display, stage_line
from dcdr_deploy.engines.cuda.tuning.decision import Times
from dcdr_deploy.engines.cuda.tuning.report import Report
from dcdr_deploy.system.progress import Event

_STAYS = "as before"


def display() -> Display:
    """Show the kernels one after the other, on a bar where stderr is a terminal."""
    return Display(COUNT, NAME, BAR, ELAPSED, lines=_line)


def _line(event: Event) -> str:
    return stage_line(event) if event.total is None else f"{event.done}/{event.total} {event.stage}"


def as_text(report: Report) -> str:
    """The report for people: milliseconds of a frame, before and after, and where the result is kept."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    gpu = report.gpu
    tried = sum(len(choice.tried) for choice in report.choices)
    own = len(report.choices)
    yield f"{gpu.name}, SM{gpu.sm}: {tried} kernels beside the {own} of the package, {report.seconds:.0f} s"
    yield from _table(report)
    if report.left_out:
        yield f"not fit to be taken: {len(report.left_out)}"
    for kind, label, why in report.left_out:
        yield f"  {kind} {label}: {why}"
    if report.late:
        yield f"no time was left for {', '.join(report.late)}: --seconds gives more"
    yield from (f"note: {each}" for each in report.notes)
    if not report.adopted:
        yield "the kernels of the package stay" + ("" if report.chosen else ": nothing was clearly faster")
    elif report.file is None:
        yield "not kept: this GPU goes on with the kernels of the package"
    else:
        yield f"kept in {report.file}: backend cuda takes it on this GPU from now on"


def _table(report: Report) -> Iterator[str]:
    sizes = tuple(report.before)
    rows = [("ms in a frame of", *sizes, "")]
    for choice in report.choices:
        rows.append((choice.kind, *_changes(choice.table, choice.taken, sizes), choice.chosen or _STAYS))
    form = report.cut if report.cut != report.table_cut else _STAYS
    rows.append(("whole frame", *_changes(report.before, report.after, sizes), form))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _changes(before: Times, after: Times, sizes: tuple[str, ...]) -> list[str]:
    return [
        f"{before[size]:.3f}" if before[size] == after[size] else f"{before[size]:.3f} -> {after[size]:.3f}"
        for size in sizes
    ]
