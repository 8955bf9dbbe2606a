"""Signals: which ask a process to end, what they are called, and how they wait.

Python runs a signal's handler in whatever Python code comes next. Within a callback that is the callback's, and what
the handler raises there becomes one of the library's own errors, or is lost: Ctrl-C would be taken for a model that
cannot be read.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
"""Those by which people, terminals and systems ask a process to end; not every system has all."""


def name_of(number: int) -> str:
    """Return ``"SIGKILL"`` and the like; ``"signal 35"`` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def unheard_by_children() -> Iterator[None]:
    """Leave Ctrl-C to this process: those started in the block inherit that it is held back, imports included.

    This process gets what was held back when the block ends. Windows has no such mask; there nothing is done.
    """
    if sys.platform == "win32":
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # started in the block, as by the first process, it would let Ctrl-C through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def held() -> Iterator[None]:
    """Let signals wait until the block is over, however it ends; then their handlers are called, as if they came then.

    For blocks of a second or two. Signals without a handler in Python end the process as ever, and in threads other
    than the main one, which no signal meets, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Any] = {}
    came: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        came.append(number)

    try:
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
                signal.signal(number, wait)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in came:
            handlers[number](number, None)
