"""Which settings somebody has chosen."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def changed(settings: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are not at their defaults, by name; all of its fields have one."""
    plain = type(settings)()
    values = {each.name: getattr(settings, each.name) for each in fields(settings)}
    return {name: value for name, value in values.items() if value != getattr(plain, name)}
