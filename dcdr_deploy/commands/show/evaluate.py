"""What ``dcdr-deploy evaluate`` shows."""

from __future__ import annotations

from dcdr_deploy.commands.show.progress import BAR, COUNT, NAME, REMAINING, Display, few_lines


def display() -> Display:
    """Pairs that are scored, by name."""
    return Display(COUNT, NAME, BAR, REMAINING, lines=few_lines)
