"""What a run looks like: results on stdout; notes, progress and failures on stderr."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from dcdr_deploy.commands.show.text import printable, with_options
from dcdr_deploy.run.events import Listener
from dcdr_deploy.run.reports import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcdr_deploy.engines.base import EngineInfo
    from dcdr_deploy.run.recovery import Recovery
    from dcdr_deploy.run.reports import FileReport, FolderReport
    from dcdr_deploy.run.selection import ModelChoice

QUIET, NORMAL, VERBOSE = range(3)
"""Results, errors and a model that was found only; notes and progress too; everything."""

_LOG_LEVELS = {QUIET: logging.ERROR, NORMAL: logging.WARNING, VERBOSE: logging.DEBUG}


class Console(Listener):
    """Shows a run: a progress bar where stderr is a terminal, plain lines otherwise.

    A context manager: within the block the library's log messages are shown as notes too.
    """

    def __init__(self, *, verbosity: int = NORMAL, as_json: bool = False) -> None:
        """Set up.

        Args:
            verbosity: QUIET, NORMAL or VERBOSE.
            as_json: a line of JSON on stdout for each file, in place of text.
        """
        self._verbosity = verbosity
        self._as_json = as_json
        self._bar = _Bar() if verbosity > QUIET and sys.stderr.isatty() else None
        self._handler = _LogHandler(self)

    def __enter__(self) -> Console:
        logger = logging.getLogger("dcdr_deploy")
        logger.addHandler(self._handler)
        logger.setLevel(_LOG_LEVELS[self._verbosity])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("dcdr_deploy").removeHandler(self._handler)
        if self._bar is not None:
            self._bar.close()

    def note(self, sentence: str) -> None:
        """Show a sentence on stderr."""
        if self._verbosity > QUIET:
            self._line(f"note: {with_options(sentence)}", err=True)

    def model_chosen(self, choice: ModelChoice) -> None:
        """Show the model and the reason; a model that was found rather than named is shown in any case."""
        if self._verbosity > QUIET or choice.found:
            self._line(f"model: {choice}", err=True)

    def engine_ready(self, info: EngineInfo) -> None:
        """Show what it runs on."""
        if self._verbosity > QUIET:
            self._line(f"backend: {info.backend} on {info.device}", err=True)

    def files_found(self, count: int, unchanged: Sequence[Path]) -> None:
        """Begin the bar; name what is skipped."""
        for path in unchanged:
            if self._as_json:
                self._line(json.dumps({"status": "unchanged", "output": str(path)}))
            elif self._verbosity == VERBOSE:
                self._line(f"unchanged: {path}", err=True)
        if self._bar is not None:
            self._bar.begin(count)

    def file_begun(self, source: Path) -> None:
        """Show the file's name in the bar."""
        if self._bar is not None:
            self._bar.next_file(printable(source.name))

    def tiles_done(self, done: int, total: int) -> None:
        """Move the bar on."""
        if self._bar is not None:
            self._bar.tiles(done, total)

    def file_converted(self, report: FileReport) -> None:
        """Print a file's line."""
        if self._verbosity > QUIET:
            for sentence in report.notes:
                self._line(f"note: {report.source}: {sentence}", err=True)
        if self._verbosity == VERBOSE:
            self._line(details(report), err=True)
        self._line(json.dumps({"status": "converted", **report.as_dict()}) if self._as_json else summary(report))

    def file_failed(self, failure: Failure) -> None:
        """Print a failure: always on stderr, with --json on stdout too."""
        self._line(f"failed: {failure.error}", err=True)
        if self._as_json:
            self._line(json.dumps({"status": "failed", **failure.as_dict()}))

    def folder_done(self, report: FolderReport, target: Path) -> None:
        """Show the sums of a folder run."""
        if self._bar is not None:
            self._bar.close()
        parts = [f"{len(report.files)} converted into {target}"]
        if report.unchanged:
            parts.append(f"{len(report.unchanged)} unchanged since an earlier run (--overwrite converts them again)")
        if report.failures:
            parts.append(f"{len(report.failures)} failed, listed in {report.failures_file}")
        if report.failures or self._verbosity > QUIET:
            self._line(f"{'; '.join(parts)}; {duration(report.seconds)}", err=True)

    def _line(self, text: str, *, err: bool = False) -> None:
        with self._bar.aside() if self._bar is not None else _nothing():
            click.echo(printable(text), err=err)


class _LogHandler(logging.Handler):
    """Shows log messages as notes."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.note(record.getMessage())


class _Bar:
    """A progress bar over the files of a run; a file counts by the part of its tiles that is done."""

    def __init__(self) -> None:
        self._progress: Any = None
        self._task: Any = None
        self._begun = 0
        self._lock = threading.RLock()

    def begin(self, files: int) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        # The clock starts with the first file: loading the model is over by then.
        self._progress = Progress(
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=RichConsole(stderr=True),
            transient=True,
            redirect_stdout=False,  # would send results to stderr
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=max(files, 1), start=False, count="")
        self._files = files

    def next_file(self, name: str) -> None:
        if self._progress is None:
            return
        if not self._begun:
            self._progress.start()
            self._progress.start_task(self._task)
        self._begun += 1
        self._progress.update(
            self._task, completed=self._begun - 1, description=name, count=f"{self._begun}/{self._files}"
        )

    def tiles(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=self._begun - 1 + done / total)

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
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def summary(report: FileReport) -> str:
    """Return a file's line: output, size, model, backend, time and the picture's range in units of SDR white."""
    levels = "  ".join(f"{name} {value:.3g}" for name, value in report.statistics.items())
    fields = [
        str(report.output),
        f"{report.width}x{report.height}",
        report.model,
        f"{report.backend} on {report.device}",
        duration(report.seconds),
        f"{levels}  (1 = SDR white)",
        recovered(report.recovery),
    ]
    if report.gain_map is not None:
        fields.append(f"gain map {report.gain_map}")
    if report.preview is not None:
        fields.append(f"preview {report.preview}")
    return "  ".join(fields)


def recovered(recovery: Recovery) -> str:
    """Return what was recovered: share of clipped pixels, stops, and whether it was restored or guessed."""
    if not recovery.clipped:
        return recovery.word
    share = recovery.clipped_share
    shown = f"{share:.1%}" if share >= 0.0005 else "under 0.1%"
    return f"{shown} clipped, {recovery.stops_recovered:.1f} stops recovered, {recovery.word}"


def details(report: FileReport) -> str:
    """Return how a file was made: colours of the input, seconds by stage, tiles, retries."""
    stages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in report.stages.items())
    height, width = report.run.tile_size
    tiles = f"{report.run.tiles} tiles of {height} x {width}, overlap {report.run.overlap}, batch {report.run.batch}"
    sizes = " and ".join("{1}x{0}".format(*size) for size in report.working_sizes)
    worked = f"network at {sizes}" if report.run.tiles else "network not needed"
    dials = "".join(f", {name.replace('_', ' ')} {value:g}" for name, value in report.dials.items())
    scale = f"scale {report.scale}, {worked}{dials}"
    retries = f"{report.run.retries} retries for lack of memory"
    return f"{report.source}: {report.colour}; {stages}; {scale}; {tiles}; {retries}"


def duration(seconds: float) -> str:
    """Return a time as people read it: 0.42 s, 12.3 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
