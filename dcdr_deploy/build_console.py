"""What a build looks like: a progress bar on stderr where that is a terminal, a line a stage otherwise."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import click

from dcdr_deploy.cli import printable
from dcdr_deploy.engines.build.pipeline import BuildListener
from dcdr_deploy.model_selection import ModelChoice


class BuildConsole(BuildListener):
    """Shows a build; a context manager that takes the bar away at its end."""

    def __init__(self) -> None:
        self._progress: Any = _bar() if sys.stderr.isatty() else None
        self._task = None if self._progress is None else self._progress.add_task("", total=None)

    def __enter__(self) -> BuildConsole:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def model_chosen(self, choice: ModelChoice) -> None:
        """Show the ONNX file and the reason."""
        for sentence in choice.notes:
            self.note(sentence)
        self._line(f"model: {choice}")

    def stage(self, name: str) -> None:
        """Name the stage; its length is not known."""
        if self._progress is None:
            self._line(f"{name} ...")
        else:
            self._progress.reset(self._task, description=name, total=None)

    def progress(self, phase: str, done: int, total: int) -> None:
        """Move the bar; without one phases go by in silence, as there are hundreds."""
        if self._progress is not None:
            self._progress.update(self._task, description=phase, completed=done, total=max(total, 1))

    def note(self, sentence: str) -> None:
        """Show a sentence."""
        self._line(f"note: {sentence}")

    def _line(self, text: str) -> None:
        if self._progress is None:
            click.echo(printable(text), err=True)
        else:  # rich puts it above the bar
            self._progress.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # would send results to stderr
        redirect_stderr=False,
    )
