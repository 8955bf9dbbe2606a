"""What ``dcdr-deploy evaluate`` shows."""

from __future__ import annotations

from dcdr_deploy.commands.show.meter import BAR, COUNT, NAME, REMAINING
from dcdr_deploy.commands.show.progress import Display, few_lines
from dcdr_deploy.commands.show.told import tell_note
from dcdr_deploy.evaluation.align import NONE
from dcdr_deploy.evaluation.report import EvaluationReport
from dcdr_deploy.system.words import number_of, word_for


def display() -> Display:
    """Pairs that are scored, by name."""
    return Display(COUNT, NAME, BAR, REMAINING, lines=few_lines)


def tell(report: EvaluationReport, left_out: list[str], *, as_table: bool) -> None:
    """Show notes on stderr; the table says by itself what was not computed."""
    for note in (*left_out, *_summed_up(report.notes)):
        tell_note(note)
    if report.masked:
        do = number_of(report.masked, "pixel with NaN or infinity does", "pixels with NaN or infinity do", ",")
        tell_note(f"{do} not count")
    if report.misaligned and report.align == NONE:
        first = report.misaligned[0]
        tell_note(
            f"{len(report.misaligned)} of {number_of(len(report.pairs), 'prediction')} "
            f"{word_for(len(report.misaligned), 'differs from its truth', 'differ from their truths')} by more "
            f"than half a stop in the median ({first.name} by {first.stops:+.1f}); where light is relative, "
            "--align gain takes that out"
        )
    if report.beyond:
        tell_note(
            f"{number_of(report.beyond, 'truth has', 'truths have')} values above full scale; PSNR-L, SSIM, LPIPS and "
            "the paper's HDR-VDP-2 take them as full scale, as 16-bit files would"
        )
    if not as_table:
        for name, reason in report.reasons.items():
            tell_note(f"{name}: not computed: {reason}")


def _summed_up(notes: tuple[str, ...]) -> list[str]:
    """One line for each sentence, with the first of its files and how many others it is true of."""
    files: dict[str, list[str]] = {}
    for note in notes:
        file, _, sentence = note.partition(": ")
        files.setdefault(sentence, []).append(file)
    return [
        " and ".join([names[0], *([number_of(len(names) - 1, "other")] if names[1:] else [])]) + f": {sentence}"
        for sentence, names in files.items()
    ]
