"""Files that take long to make and that the workers of one run of the tests share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dcdr_deploy.system.locks import IsLocked, locked


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The file ``name`` in a folder of this run; ``make(path)`` is called by the first worker that asks for it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-once"
    folder.mkdir(exist_ok=True)
    target = folder / name
    while not target.exists():
        try:
            with locked(folder / f"{name}.lock"):
                if not target.exists():
                    made = folder / f"unfinished-{name}"
                    make(made)
                    made.replace(target)
        except IsLocked:
            time.sleep(0.05)
    return target
