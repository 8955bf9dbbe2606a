"""OpenEXR without its words about damaged files, which our own error says once.

The binding prints through Python's stdout, the C library to the second file descriptor. Both are the whole process's:
threads that read at the same time share one switch, which the first in sets and the last out puts back.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_STDERR = 2
_lock = threading.Lock()
_reading: set[int] = set()
_restore: list[Any] = []


class _ForOthers:
    """Standard output for all threads but those that read."""

    def __init__(self, stream: Any) -> None:
        self._stream = io.StringIO() if stream is None else stream

    def write(self, text: str) -> int:
        """Write what is no word of the library."""
        return len(text) if threading.get_ident() in _reading else int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def quiet_library() -> Iterator[None]:
    """Keep off both streams what the library prints in a block of this thread, which holds no other such block."""
    with _lock:
        if not _reading:
            _restore[:] = [sys.stdout, _without_stderr()]
            sys.stdout = _ForOthers(sys.stdout)
        _reading.add(threading.get_ident())
    try:
        yield
    finally:
        with _lock:
            _reading.discard(threading.get_ident())
            if not _reading:
                stdout, stderr = _restore
                if isinstance(sys.stdout, _ForOthers):  # or somebody else has put in another one
                    sys.stdout = stdout
                if stderr is not None:
                    os.dup2(stderr, _STDERR)
                    os.close(stderr)


def _without_stderr() -> int | None:
    """Have nothing come of the second file descriptor; return the file that it was, ``None`` where there was none."""
    with suppress(OSError):  # closed by whoever started us: nobody reads it
        saved = os.dup(_STDERR)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STDERR)
        os.close(nowhere)
        return saved
    return None
