"""What a command line needs of its process before it starts: streams that cannot fail on a name, and signals."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from types import FrameType

from dcdr_deploy.system.interrupts import SIGNALS

_AT_ONCE = 3.0
"""Seconds within which further interrupts belong to the first: cleaning up is not cleaned up itself."""


def prepare_process() -> None:
    """Make streams and signals of this process those of a command: called once, before a command runs."""
    _prepare_streams()
    if threading.current_thread() is threading.main_thread():
        _prepare_signals()


def _prepare_streams() -> None:
    """Write names that the terminal's encoding does not have as escapes, and nothing where a stream is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # as `2>&-` leaves it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - lives as long as we do
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _prepare_signals() -> None:
    """Treat the end of a terminal or of a batch job like Ctrl-C: what is unfinished goes, what is done stays."""
    interrupt = _Interrupt()
    for number in SIGNALS:
        # Whoever started us may have had a signal ignored (nohup, a shell's background job); that stays so.
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)


def ignore_signals() -> None:
    """Let nothing disturb the end of a process that was interrupted: Python gives signals back before it is over."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if isinstance(signal.getsignal(number), _Interrupt):
            signal.signal(number, signal.SIG_IGN)


class _Interrupt:
    """Raises KeyboardInterrupt for the first of several signals that come together."""

    def __init__(self) -> None:
        self._last = -_AT_ONCE

    def __call__(self, number: int, frame: FrameType | None) -> None:
        first, self._last = time.monotonic() - self._last >= _AT_ONCE, time.monotonic()
        if first:
            raise KeyboardInterrupt
