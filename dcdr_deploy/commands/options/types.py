"""Parameter types that several commands share."""

from __future__ import annotations

import re
from typing import Any

import click


class SizeType(click.ParamType):
    """A size written as HEIGHTxWIDTH, e.g. ``1080x1920``; becomes (height, width)."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse a size, or fail with a usage error."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)x(\d+)", str(value))
        if not match:
            self.fail(f"{value!r} is no size; write HEIGHTxWIDTH, for example 1080x1920", param, ctx)
        return int(match.group(1)), int(match.group(2))


class PlaceType(click.ParamType):
    """A pixel written as X,Y, e.g. ``120,48``; becomes (x, y)."""

    name = "X,Y"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse a pixel, or fail with a usage error."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+),(\d+)", str(value))
        if not match:
            self.fail(f"{value!r} is no pixel; write X,Y, for example 120,48", param, ctx)
        return int(match.group(1)), int(match.group(2))


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
