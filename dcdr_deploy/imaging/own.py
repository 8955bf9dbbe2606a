"""Which pictures this tool has written: others are never replaced."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from dcdr_deploy._version import __version__
from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.formats import SUFFIXES

THIS_TOOL = f"dcdr-deploy {__version__}"
"""What files say of who wrote them."""

_MARK = b"dcdr-deploy"

_MARK_WITHIN = 2**18
"""Bytes from the begin or the end of a file within which that is: formats put texts before or behind the pixels."""


def check_replaced(output: Path) -> None:
    """Refuse to replace a picture that this tool has not written, where outputs and inputs have one kind of file.

    ``run a.jpg b.jpg`` is a forgotten output, and b.jpg perhaps the only copy.

    Raises:
        InputError: there is such a picture.
    """
    if output.suffix.lower() not in SUFFIXES or not os.path.isfile(output):  # noqa: PTH113 - Path raises for long names
        return
    with suppress(OSError), output.open("rb") as file:  # what cannot be read fails where it is written
        head = file.read(_MARK_WITHIN)
        file.seek(-min(_MARK_WITHIN, os.fstat(file.fileno()).st_size), os.SEEK_END)
        if not head or _MARK in head or _MARK in file.read():
            return
        raise InputError(f"{output}: is a picture that dcdr-deploy has not written; choose another name, or delete it")
