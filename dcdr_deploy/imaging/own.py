"""Which pictures and videos this tool has written: others are never replaced."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from dcdr_deploy._version import __version__
from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.formats import SIGNATURE_BYTES, SUFFIXES, VIDEO, name_of

THIS_TOOL = f"dcdr-deploy {__version__}"
"""What files say of who wrote them."""

_MARK = b"dcdr-deploy"

_MARK_WITHIN = 2**18
"""Bytes from the begin or the end of a file within which that is: formats put texts before or behind the pixels."""

_MOSTLY_WITHIN = 2**12
"""Where it mostly is: folders may hold a million outputs."""

_MARK_WITHIN_VIDEO = 2**26
"""The same of a video: fonts, covers and the index of its samples may lie between."""


def check_replaced(output: Path) -> None:
    """Refuse to replace a picture or a video that this tool has not written.

    In ``run a.jpg b.jpg`` an output was forgotten, and b.jpg is perhaps the only copy; in ``run plates/ comp/`` there
    may be renders of other programs. What is neither by its content is replaced, unless inputs have its suffix.

    Raises:
        InputError: there is such a file.
    """
    if not os.path.isfile(output):  # noqa: PTH113 - Path raises for long names
        return
    with suppress(OSError), output.open("rb") as file:  # what cannot be read fails where it is written
        name = name_of(file.read(SIGNATURE_BYTES))
        size = os.fstat(file.fileno()).st_size
        if not size or not (name or output.suffix.lower() in SUFFIXES):
            return
        within = min(size, _MARK_WITHIN_VIDEO if name == VIDEO else _MARK_WITHIN)
        for start, count in ((0, _MOSTLY_WITHIN), (0, within), (size - within, within)):
            file.seek(start)
            if _MARK in file.read(count):
                return
        what = VIDEO if name == VIDEO else "a picture"
        raise InputError(f"{output}: is {what} that dcdr-deploy has not written; choose another name, or delete it")
