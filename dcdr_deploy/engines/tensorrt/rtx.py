"""TensorRT-RTX: the same as :mod:`dcdr_deploy.engines.tensorrt.engine`, for engines that this package built."""

from __future__ import annotations

from pathlib import Path

from dcdr_deploy.engines.base import DEFAULT_OPTIONS, Availability, Engine, EngineOptions
from dcdr_deploy.engines.tensorrt.engine import load_checked, package_availability, package_refusal

NAME = "tensorrt-rtx"


def availability(*, deep: bool = False) -> Availability:
    """Tell whether engines of the package ``tensorrt-rtx`` can be run; imports it only when ``deep``."""
    return package_availability(NAME, deep=deep)


def load(path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> Engine:
    """Load an engine of the package ``tensorrt-rtx``; see :func:`~dcdr_deploy.engines.tensorrt.engine.load_checked`."""
    return load_checked(NAME, path, options)


def refusal(path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> str:
    """Return why the package ``tensorrt-rtx`` is not the one for an engine; see ``package_refusal``."""
    return package_refusal(NAME, path)
