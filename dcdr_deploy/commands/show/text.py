"""Text that a terminal can take."""

from __future__ import annotations


def printable(text: str) -> str:
    """Make file names that are no valid UTF-8 fit to be printed."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
