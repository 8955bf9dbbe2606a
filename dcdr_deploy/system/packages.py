"""Versions of installed packages, found without importing them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterable


def version(distribution: str) -> str | None:
    """Return a distribution's version, ``None`` if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    found = {name: version(name) for name in distributions}
    return {name: number for name, number in found.items() if number is not None}


def installed(module: str) -> bool:
    """Tell whether a top-level module could be imported."""
    return importlib.util.find_spec(module) is not None
