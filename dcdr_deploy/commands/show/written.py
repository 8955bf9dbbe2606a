"""What a command wrote, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from dcdr_deploy.commands.show.text import printable
from dcdr_deploy.commands.show.told import tell_note
from dcdr_deploy.system.json_text import json_text


def show_written(files: Mapping[str, Path], notes: Iterable[str], *, as_json: bool) -> None:
    """Print notes to stderr, and files to stdout: a line each, or all as one JSON object by their names here."""
    for note in notes:
        tell_note(note)
    if as_json:
        click.echo(json_text({name: str(path) for name, path in files.items()}))
        return
    for path in files.values():
        click.echo(printable(str(path)))
