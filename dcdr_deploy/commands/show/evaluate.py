"""What ``dcdr-deploy evaluate`` shows."""

from __future__ import annotations

import click

from dcdr_deploy.commands.show.progress import BAR, COUNT, NAME, REMAINING, Display, few_lines
from dcdr_deploy.commands.show.text import printable, with_options
from dcdr_deploy.evaluation.align import NONE
from dcdr_deploy.evaluation.report import EvaluationReport


def display() -> Display:
    """Pairs that are scored, by name."""
    return Display(COUNT, NAME, BAR, REMAINING, lines=few_lines)


def tell(report: EvaluationReport, left_out: list[str], *, as_table: bool) -> None:
    """Show notes on stderr; the table says by itself what was not computed."""
    for note in left_out:
        click.echo(printable(f"note: {note}"), err=True)
    for note in _summed_up(report.notes):
        click.echo(printable(f"note: {note}"), err=True)
    if report.masked:
        click.echo(f"note: {report.masked:,} pixels with NaN or infinity do not count", err=True)
    if report.misaligned and report.align == NONE:
        first = report.misaligned[0]
        click.echo(
            printable(
                f"note: {len(report.misaligned)} of {len(report.pairs)} predictions differ from their truths by more "
                f"than half a stop in the median ({first.name} by {first.stops:+.1f}); where light is relative, "
                "--align gain takes that out"
            ),
            err=True,
        )
    if report.beyond:
        click.echo(
            f"note: {report.beyond} truths have values above full scale; PSNR-L, SSIM, LPIPS and the paper's HDR-VDP-2 "
            "take them as full scale, as 16-bit files would",
            err=True,
        )
    if not as_table:
        for name, reason in report.reasons.items():
            click.echo(with_options(f"note: {name}: not computed: {reason}"), err=True)


def _summed_up(notes: tuple[str, ...]) -> list[str]:
    """One line for each sentence, with the first of its files and how many others it is true of."""
    files: dict[str, list[str]] = {}
    for note in notes:
        file, _, sentence = note.partition(": ")
        files.setdefault(sentence, []).append(file)
    return [
        f"{names[0]}{f' and {len(names) - 1} others' if names[1:] else ''}: {sentence}"
        for sentence, names in files.items()
    ]
