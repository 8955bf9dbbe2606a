"""Child processes of Python import nothing that happens to lie in the working directory.

``python -c`` and ``python -m`` put the working directory first on the path, and that is how multiprocessing and others
start their children: a ``pickle.py`` beside somebody's pictures would run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import util
from pathlib import Path

from dcdr_deploy.errors import EngineError

SAFE_PATH = "PYTHONSAFEPATH"
"""Environment variable that keeps the working directory off the path, from Python 3.11 on."""

HAS_SAFE_PATH = sys.version_info >= (3, 11)


def module_command(module: str, *folders: Path) -> tuple[str, ...]:
    """Return the command that calls a module's ``main()``, as ``python -m`` does, in any version of Python.

    The first statement of ``-c`` runs before anything is imported from the path.

    Args:
        module: by its name.
        folders: in which it is looked for before those of the path.
    """
    first = [str(folder) for folder in folders]
    code = f"import sys; sys.path[:] = [*{first!r}, *filter(None, sys.path)]; from {module} import main; main()"
    return (sys.executable, "-c", code)


@contextmanager
def safe_path() -> Iterator[None]:
    """Keep the working directory off the path of processes that multiprocessing starts in the block.

    They get this process's path from it before they import anything but the standard library.
    """
    if HAS_SAFE_PATH:
        before = os.environ.get(SAFE_PATH)
        os.environ[SAFE_PATH] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ[SAFE_PATH]
            else:
                os.environ[SAFE_PATH] = before
        return
    # Python 3.10 has the isolated mode only, and multiprocessing no setting for its children's options.
    flags = util._args_from_interpreter_flags  # type: ignore[attr-defined]
    util._args_from_interpreter_flags = lambda: [*flags(), "-I"]  # type: ignore[attr-defined]
    try:
        yield
    finally:
        util._args_from_interpreter_flags = flags  # type: ignore[attr-defined]


@contextmanager
def killed_workers_told(remedy: str) -> Iterator[None]:
    """Say of a pool of processes in the block that one of them was killed, as systems without free memory do.

    Args:
        remedy: what helps: how to have fewer of them.

    Raises:
        EngineError: one was.
    """
    from concurrent.futures.process import BrokenProcessPool  # only for those who have a pool

    try:
        yield
    except BrokenProcessPool as error:
        raise killed_worker(remedy) from error


def killed_worker(remedy: str) -> EngineError:
    """Return the error for a worker process that ended by no doing of ours."""
    return EngineError(f"a worker process ended without a word, probably for want of memory; {remedy}")
