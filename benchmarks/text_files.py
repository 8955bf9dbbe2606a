"""Files of text: written whole or not at all, and figures kept as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.system.files import atomic_path, make_folder


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all, in a folder that need not be there.

    Raises:
        OutputError: it cannot be written.
    """
    make_folder(path.parent)
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error


def json_lines(path: Path, keys: Iterable[str], origin: str) -> list[dict[str, Any]]:
    """Read what a script kept, an object a line.

    Args:
        path: the file.
        keys: that each object has, others beside them.
        origin: name of the script.

    Raises:
        InputError: the file cannot be read, is empty, or is of something else.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not all(row.keys() >= set(keys) for row in rows):
            raise ValueError("other keys")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is no file of {origin}; give what its option -o has kept") from error
    if not rows:
        raise InputError(f"{path} is empty: {origin} was ended before it had figures; run it again")
    return rows
