"""Progress on stderr, the same for every command: one bar on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

import click

from dcdr_deploy.commands.show.meter import Work
from dcdr_deploy.commands.show.text import printable, with_options
from dcdr_deploy.system.progress import Event

if TYPE_CHECKING:
    from typing_extensions import Self

_EVERY = 0.1
"""Seconds after which the bar is drawn again: its clock goes on while nothing else happens."""
_ECHO = 2
"""Characters that a terminal writes behind the bar at Ctrl-C."""


class Bar:
    """The bar. It appears, and its clock starts, when it is drawn first."""

    def __init__(self, *columns: str, keep: bool = False) -> None:
        """Take the columns, and whether the bar stays on the terminal when it is closed."""
        self._columns, self._keep = columns, keep
        self._work: Work | None = None
        self._line: _Line | None = None
        self._closed = threading.Event()
        self._lock = threading.RLock()

    def draw(self, name: str | None, done: float, total: float | None, caption: str = "") -> None:
        """Show how far something is; where ``total`` is not known the bar only tells that it is alive.

        Args:
            name: of what is done; ``None`` leaves the name as it is.
            done, total: in the same unit.
            caption: for the column of that name.
        """
        now = time.monotonic()
        with self._lock:
            if self._work is None:
                self._work = Work(now)
            if name is not None:
                self._work.name = printable(name)
            self._work.caption = printable(caption)
            self._work.follow(done, None if total is None else max(total, 1), now)
            if self._line is None:
                self._line = _Line(sys.stderr)
                self._closed = threading.Event()
                threading.Thread(target=self._go_on, args=(self._closed,), daemon=True).start()
                self._show()

    def _show(self) -> None:
        with self._lock:
            if self._line is not None and self._work is not None:
                width, ascii_only = self._line.width(), self._line.ascii_only
                self._line.write(self._work.line(self._columns, time.monotonic(), width, ascii_only=ascii_only))

    def _go_on(self, closed: threading.Event) -> None:
        try:
            while not closed.wait(_EVERY):
                self._show()
        except OSError:  # the terminal is gone; whoever prints next will say so
            return

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar away while a line is printed."""
        with self._lock:
            if self._line is not None:
                self._line.erase()
            try:
                yield
            finally:
                self._show()

    def close(self) -> None:
        """Take the bar away, or leave its last state where it is to be kept."""
        self._closed.set()
        with self._lock:
            if self._line is not None:
                self._line.erase()
                if self._keep:
                    self._show()
                    self._line.end()
            self._work = self._line = None


class _Line:
    """The line of a terminal at which its cursor stands."""

    def __init__(self, stream: TextIO) -> None:
        from tqdm import tqdm

        self._stream = stream
        self._print: Callable[[str], None] = tqdm.status_printer(stream)
        self._shown = ""
        self.ascii_only = not (stream.encoding or "").lower().startswith("utf")

    def width(self) -> int:
        """Characters that can be written so that what Ctrl-C echoes, and the cursor, still stand in the same line."""
        return max(self._columns() - _ECHO - 1, 1)

    def _columns(self) -> int:
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):  # a stream that is no file
            columns = 0
        return columns or shutil.get_terminal_size().columns

    def write(self, text: str) -> None:
        """Put a text in the place of the one before."""
        if text != self._shown:
            self._print(text)
            self._shown = text

    def erase(self) -> None:
        """Make the line empty, and let the cursor stand at its beginning."""
        self._stream.write(f"\r{' ' * (self._columns() - 1)}\r")
        self._stream.flush()
        self._shown = ""

    def end(self) -> None:
        """Leave the line as it is."""
        self._stream.write("\n")
        self._stream.flush()


class Display:
    """A listener that draws the bar where stderr is a terminal and prints lines elsewhere; notes are always printed.

    A context manager that closes the bar at its end.
    """

    def __init__(
        self,
        *columns: str,
        lines: Callable[[Event], str] = lambda event: "",
        caption: Callable[[Event], str] = lambda event: "",
        keep: bool = False,
    ) -> None:
        """Set up.

        Args:
            columns: of the bar; without any there is none, and lines are printed on terminals too.
            lines: gives the line for an event; an empty one is not printed.
            caption: gives the bar's caption for an event.
            keep: the bar stays when it is closed.
        """
        self._bar = Bar(*columns, keep=keep) if columns and sys.stderr.isatty() else None
        self._lines, self._caption = lines, caption

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event.note:
            self.note(event.note)
        if self._bar is None:
            line = self._lines(event)
            if line:
                self.line(line)
        elif event.stage or event.total is not None:
            self._bar.draw(event.stage or None, event.done, event.total, self._caption(event))

    def note(self, sentence: str) -> None:
        """Print a note of the library, in the words of the command."""
        self.line(f"note: {with_options(sentence)}")

    def line(self, text: str, *, err: bool = True) -> None:
        """Print a line above the bar, on stderr or as a result on stdout."""
        with nullcontext() if self._bar is None else self._bar.aside():
            click.echo(printable(text), err=err)


_LINES = 10
"""At most about so many lines of progress, where stderr is no terminal."""


def few_lines(event: Event) -> str:
    """The line of something that is done, for about every tenth: ``3/10 name``."""
    if not event.done or event.total is None:
        return ""
    due = event.done % max(1, event.total // _LINES) == 0 or event.done == event.total
    return f"{event.done}/{event.total} {event.stage}" if due else ""


def stage_line(event: Event) -> str:
    """The line of a stage that begins; steps within one pass in silence."""
    return f"{event.stage} ..." if event.stage and event.total is None else ""
