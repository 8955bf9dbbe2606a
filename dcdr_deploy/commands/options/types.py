"""Parameter types that several commands share."""

from __future__ import annotations

import re
from typing import Any

import click


class _PairType(click.ParamType):
    """Two whole numbers with something between them.

    Attributes:
        between: what stands there.
        words: what the two are, and how they are written.
    """

    between: str
    words: str

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse them, or fail with a usage error."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(rf"(\d{{1,9}}){self.between}(\d{{1,9}})", str(value))
        if not match:
            self.fail(f"{value!r} is no {self.words}", param, ctx)
        return int(match[1]), int(match[2])


class SizeType(_PairType):
    """A size written as HEIGHTxWIDTH, e.g. ``1080x1920``; becomes (height, width)."""

    name, between, words = "HxW", "x", "size; write HEIGHTxWIDTH, for example 1080x1920"


class PlaceType(_PairType):
    """A pixel written as X,Y, e.g. ``120,48``; becomes (x, y)."""

    name, between, words = "X,Y", ",", "pixel; write X,Y, for example 120,48"


class NumberOr(click.ParamType):
    """A whole number, or one of some words that stand for a value."""

    name = "number"

    def __init__(self, **words: Any) -> None:
        """Take the words and the values they stand for."""
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number or the word's value."""
        if not isinstance(value, str):
            return value
        if value.lower() in self._words:
            return self._words[value.lower()]
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a whole number nor one of: {', '.join(self._words)}", param, ctx)
