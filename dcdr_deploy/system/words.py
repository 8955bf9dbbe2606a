"""Numbers of things, and shares, in sentences for people."""

from __future__ import annotations


def number_of(count: float, one: str, many: str = "", form: str = "") -> str:
    """Return a number with the word for so many: ``"1 file"``, ``"2 files"``.

    Args:
        count: how many.
        one, many: the word for one, and for any other number; left out, that ends in an s more.
        form: how the number is written, such as ``","``.
    """
    return f"{count:{form}} {word_for(count, one, many)}"


def word_for(count: float, one: str, many: str = "") -> str:
    """Return the word for so many, as :func:`number_of` does without the number."""
    return one if count == 1 else many or f"{one}s"


def share_of(part: float, unit: str = "%") -> str:
    """Return a share in [0, 1] in percent, to a tenth: ``"12.3%"``; what is little is told from nothing."""
    return f"under 0.1{unit}" if 0 < part < 0.0005 else f"{100 * part:.1f}{unit}"
