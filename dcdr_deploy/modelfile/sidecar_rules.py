"""What each entry of a sidecar may be. A checksum only says that an entry is as somebody wrote it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from dcdr_deploy.modelfile.metadata import LARGEST_EDGE


def first_nonsense(data: Mapping[str, Any]) -> str:
    """Return the first entry that has a wrong type or is out of range, as ``name = value``; empty if there is none.

    Args:
        data: all entries of a sidecar, as JSON gives them.
    """
    for name, fits in _RULES.items():
        if not fits(data[name]):
            text = json.dumps(data[name])
            return f"{name} = {text if len(text) <= _LONGEST else text[: _LONGEST - 3] + '...'}"
    return ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_count(value: Any, least: int = 0, most: int = LARGEST_EDGE) -> bool:
    return type(value) is int and least <= value <= most  # True and False are ints too


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_count(size, 1) for size in value)


_RULES: dict[str, Callable[[Any], bool]] = {
    "package": _is_text,
    "package_version": _is_text,
    "sms": lambda value: isinstance(value, list) and bool(value) and all(_is_count(sm, 1, 9999) for sm in value),
    "precision": _is_text,
    "min_shape": _is_shape,
    "opt_shape": _is_shape,
    "max_shape": _is_shape,
    "onnx_sha256": _is_text,
    "engine_sha256": _is_text,
    "metadata": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
    "plugin": _is_text_or_none,
    "plugin_version": _is_text_or_none,
    "plugin_layers": _is_count,
    "kernel_hash": _is_text_or_none,
    "workspace": lambda value: value is None or _is_number(value),
    "tool_version": _is_text,
    "verified": lambda value: isinstance(value, bool),
    "gate": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    "format": lambda value: _is_count(value, 1),
}

_LONGEST = 40  # characters that are shown
