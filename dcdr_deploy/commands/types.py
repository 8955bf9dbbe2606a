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
