"""What ``dcdr-deploy evaluate`` shows."""

from __future__ import annotations

from dcdr_deploy.commands.show.progress import BAR, COUNT, NAME, REMAINING, Display
from dcdr_deploy.system.progress import Event

_LINES = 10
"""At most about so many, where stderr is no terminal."""


def display() -> Display:
    """Pairs that are scored, by name."""
    return Display(COUNT, NAME, BAR, REMAINING, lines=_line)


def _line(event: Event) -> str:
    if not event.done or event.total is None:
        return ""
    due = event.done % max(1, event.total // _LINES) == 0 or event.done == event.total
    return f"{event.done}/{event.total} {event.stage}" if due else ""
