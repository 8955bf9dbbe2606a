"""Text that a terminal can take, in the words of the command line."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import click

from dcdr_deploy.system.words import share_of

if TYPE_CHECKING:
    from dcdr_deploy.run.recovery import Recovery

_BIDIRECTIONAL = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
"""Characters that turn the writing direction: with them a name can look like another one."""


def printable(text: str) -> str:
    """Make names and metadata of strangers fit to be printed: no escape sequences, no line breaks, valid UTF-8."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(_escaped(each) if _acts(each) else each for each in text)


def printable_lines(text: str) -> str:
    """Make a text of several lines fit to be printed; see :func:`printable`."""
    return "\n".join(map(printable, text.split("\n")))


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


def duration(seconds: float) -> str:
    """Return a time as people read it: 0.42 s, 12.3 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def recovered(recovery: Recovery) -> str:
    """Return what was recovered: share of clipped pixels, stops, and whether it was restored or guessed."""
    if not recovery.clipped:
        return recovery.word
    shown = share_of(recovery.clipped_share)
    if not recovery.anything:
        return f"{shown} clipped, {recovery.word}"
    return f"{shown} clipped, {recovery.stops_recovered:.1f} stops recovered, {recovery.word}"


def _acts(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Zl", "Zp") or character in _BIDIRECTIONAL


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
