"""Lines that commands without a display of their own tell on stderr, and the exit code where a part failed."""

from __future__ import annotations

import click

from dcdr_deploy.commands.show.text import printable, with_options

EXIT_SOME_FAILED = 3
"""Of a command that did what it could of several."""


def tell_note(text: str) -> None:
    """Say what may surprise."""
    click.echo(printable(with_options(f"note: {text}")), err=True)


def tell_failure(text: str) -> None:
    """Say which of several failed, and why."""
    click.echo(printable(with_options(f"failed: {text}")), err=True)


def tell_model(choice: object) -> None:
    """Say which model was chosen, and why."""
    click.echo(printable(f"model: {choice}"), err=True)
