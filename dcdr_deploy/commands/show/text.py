"""Text that a terminal can take, in the words of the command line."""

from __future__ import annotations

import re

import click


def printable(text: str) -> str:
    """Make file names that are no valid UTF-8 fit to be printed."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def with_options(text: str, command: click.Command | None = None) -> str:
    """Write the fields that a message of the library names, such as ```max_batch```, as options: ``--max-batch``.

    Args:
        text: any message; what names no option of the command stays as it is.
        command: whose options; of the command that runs by default.
    """
    if command is None:
        context = click.get_current_context(silent=True)
        if context is None:
            return text
        command = context.command
    options = {each.name: max(each.opts, key=len) for each in command.params if isinstance(each, click.Option)}
    return re.sub(r"`(\w+)`", lambda field: options.get(field[1], field[0]), text)
