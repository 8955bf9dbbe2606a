"""What ``dcdr-deploy view`` and ``preview`` show."""

from __future__ import annotations

from dcdr_deploy.commands.show.meter import BAR, COUNT, NAME, REMAINING
from dcdr_deploy.commands.show.progress import Display, few_lines
from dcdr_deploy.system.words import number_of
from dcdr_deploy.view.page import PageReport

_LARGE = 64_000_000
"""Bytes of a page from which on opening it takes long."""


def display() -> Display:
    """Pictures that are on the page, by name."""
    return Display(COUNT, NAME, BAR, REMAINING, lines=few_lines)


def size_notes(report: PageReport, *, chosen: bool) -> list[str]:
    """What a user should know of a page's size; ``chosen`` says whether the pictures' size was asked for."""
    notes = []
    smaller = [each for each in report.pictures if each.shown != each.size]
    if smaller and not chosen:
        edge = max(max(each.shown) for each in smaller)
        of = number_of(len(report.pictures), "picture")
        which = f"{len(smaller)} of {of} averaged down to an edge of at most {edge} pixels"
        notes.append(f"{which}, so that the page stays small; `max_edge` says otherwise")
    if report.size > _LARGE:
        notes.append("browsers take long to open a page as large as this; `max_edge` makes it smaller")
    return notes


def page_line(report: PageReport) -> str:
    """The page that was written."""
    size = f"{report.size / 1e6:.1f} MB" if report.size >= 1e6 else f"{report.size / 1e3:.0f} kB"
    return f"{report.output}  {number_of(len(report.pictures), 'picture')}  {size}"
