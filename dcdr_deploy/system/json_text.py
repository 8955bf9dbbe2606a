"""JSON as others read it: RFC 8259 (section 6) knows neither NaN nor infinity, which Python's writer lets pass."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return plain data as JSON; a number that is none, or not finite, is ``null``.

    Args:
        value: what ``json.dumps`` takes.
        indent: spaces a level; all in one line without.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
