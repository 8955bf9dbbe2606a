"""Progress on stderr, the same for every command: one bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from dcdr_deploy.commands.show.text import printable, with_options
from dcdr_deploy.system.progress import Event

if TYPE_CHECKING:
    from rich.progress import ProgressColumn
    from typing_extensions import Self

CAPTION, COUNT, NAME, BAR, PERCENT, ELAPSED, LEFT, REMAINING = (
    "caption", "count", "name", "bar", "percent", "elapsed", "left", "remaining",
)  # fmt: skip
"""Columns of a bar: a text of the command's own, "3/10", the stage, the bar itself, its percentage, the time since it
began, the word "left", and the time that is."""


def _columns(names: tuple[str, ...]) -> list[ProgressColumn]:
    from rich import progress

    made: dict[str, Callable[[], ProgressColumn]] = {
        CAPTION: lambda: progress.TextColumn("{task.fields[caption]}", markup=False),
        COUNT: progress.MofNCompleteColumn,
        NAME: lambda: progress.TextColumn("{task.description}", markup=False),
        BAR: progress.BarColumn,
        PERCENT: lambda: progress.TextColumn("{task.percentage:>3.0f}%"),
        ELAPSED: progress.TimeElapsedColumn,
        LEFT: lambda: progress.TextColumn("left"),
        REMAINING: progress.TimeRemainingColumn,
    }
    return [made[name]() for name in names]


class Bar:
    """The bar. It appears, and its clock starts, when it is drawn first."""

    def __init__(self, *columns: str, keep: bool = False) -> None:
        """Take the columns, and whether the bar stays on the terminal when it is closed."""
        self._columns, self._keep = columns, keep
        self._progress: Any = None
        self._task: Any = None
        self._lock = threading.RLock()

    def draw(self, name: str | None, done: float, total: float | None, caption: str = "") -> None:
        """Show how far something is; where ``total`` is not known the bar only tells that it is alive.

        Args:
            name: of what is done; ``None`` leaves the name as it is.
            done, total: in the same unit.
            caption: for the column of that name.
        """
        first = self._progress is None
        if first:
            self._begin()
        changed = {"caption": printable(caption)} | ({} if name is None else {"description": printable(name)})
        if total is None:
            self._progress.reset(self._task, completed=int(done), total=None, **changed)
        else:
            self._progress.update(self._task, completed=done, total=max(total, 1), **changed)
        if first:
            self._progress.start()

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._progress = Progress(
            *_columns(self._columns),
            console=Console(stderr=True),
            transient=not self._keep,
            redirect_stdout=False,  # would send results to stderr
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=None, caption="")

    @property
    def state(self) -> tuple[str, float, float | None]:
        """Name, done and total as drawn last."""
        task = self._progress.tasks[0]
        return task.description, task.completed, task.total

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar away while a line is printed."""
        with self._lock:
            shown = self._progress is not None and self._progress.live.is_started
            if shown:
                self._progress.stop()
            try:
                yield
            finally:
                if shown:
                    self._progress.start()

    def close(self) -> None:
        """Take the bar away, or leave its last state where it is to be kept."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


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
