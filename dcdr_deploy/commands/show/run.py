"""What a run looks like: results on stdout; notes, progress and failures on stderr."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from dcdr_deploy.commands.show import video
from dcdr_deploy.commands.show.meter import BAR, CAPTION, ELAPSED, LEFT, NAME, PERCENT, REMAINING
from dcdr_deploy.commands.show.progress import Display
from dcdr_deploy.commands.show.text import duration, recovered, with_options
from dcdr_deploy.errors import DcdrError
from dcdr_deploy.run.events import (
    EngineReady,
    FileBegun,
    FileConverted,
    FileFailed,
    FilesFound,
    FramesDone,
    ModelChosen,
)
from dcdr_deploy.run.reports import Failure
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.system.json_text import json_text
from dcdr_deploy.system.progress import Event
from dcdr_deploy.system.words import number_of

if TYPE_CHECKING:
    from dcdr_deploy.run.reports import FileReport, FolderReport

QUIET, NORMAL, VERBOSE = range(3)
"""Results, errors and a model that was found only; notes and progress too; everything."""

_LINE_EVERY = 60.0
"""Seconds between two lines that say how far a video is, where there is no bar."""

_COLUMNS = (CAPTION, NAME, BAR, PERCENT, ELAPSED, LEFT, REMAINING)

_LOG_LEVELS = {QUIET: logging.ERROR, NORMAL: logging.WARNING, VERBOSE: logging.DEBUG}


class Console(Display):
    """Shows a run: a progress bar where stderr is a terminal, plain lines otherwise.

    The bar goes over the files of the run; a file counts by the part of its tiles that is done. A context manager:
    within the block the library's log messages are shown as notes too.
    """

    def __init__(self, *, verbosity: int = NORMAL, as_json: bool = False) -> None:
        """Set up.

        Args:
            verbosity: QUIET, NORMAL or VERBOSE.
            as_json: a line of JSON on stdout for each file, in place of text.
        """
        super().__init__(*(_COLUMNS if verbosity > QUIET else ()))
        self._verbosity = verbosity
        self._as_json = as_json
        self._files = self._begun = 0
        self._told = time.monotonic()
        self._left_behind: set[str] = set()
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
        super().__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event.note and self._verbosity > QUIET:
            self.note(event.note)
        match event:
            case ModelChosen(choice=choice):
                if self._verbosity > QUIET or choice.found:  # one that was found, not named, is told in any case
                    self.line(f"model: {choice}")
            case EngineReady(info=info):
                if self._verbosity > QUIET:
                    self.line(f"backend: {info.backend} on {info.device}")
            case FilesFound(total=total, unchanged=unchanged):
                self._files = total or 0
                self._tell_unchanged(unchanged)
            case FileBegun(source=source):
                self._begun += 1
                self._draw(source.name, 0)
            case FileConverted(report=report):
                self._tell_converted(report)
            case FramesDone():
                self._tell_frames(event)
            case FileFailed(failure=failure):
                self._tell_failed(failure)
            case Event(done=done, total=int(total)):
                self._draw(None, done / max(total, 1))

    def _draw(self, name: str | None, part: float, more: str = "") -> None:
        """Show where the run is: at a part of the file begun last."""
        if self._bar is not None and self._begun:
            caption = f"{self._begun}/{self._files}" + (f"  {more}" if more else "")
            self._bar.draw(name, self._begun - 1 + part, self._files, caption)

    def _tell_frames(self, event: FramesDone) -> None:
        """Move the bar on; without one, say every minute how far the video is."""
        line = video.progress_line(event)
        self._draw(None, event.done / event.total if event.total else 0.0, line)
        now = time.monotonic()
        if self._bar is None and self._verbosity > QUIET and now - self._told >= _LINE_EVERY:
            self._told = now
            self.line(line)

    def _tell_unchanged(self, outputs: tuple[Path, ...]) -> None:
        for path in outputs:
            if self._as_json:
                self.line(json_text({"status": "unchanged", "output": str(path)}), err=False)
            elif self._verbosity == VERBOSE:
                self.line(f"unchanged: {path}")

    def _tell_converted(self, report: FileReport | VideoReport) -> None:
        left_behind = () if isinstance(report, VideoReport) else report.left_behind
        new = [each for each in left_behind if each not in self._left_behind]  # the same for a format's files
        self._left_behind.update(new)
        for sentence in new if self._verbosity > QUIET else ():
            self.note(sentence)
        if self._verbosity > QUIET:
            for sentence in report.notes:
                self.note(f"{report.source}: {sentence}")
        if self._verbosity == VERBOSE:
            self.line(video.details(report) if isinstance(report, VideoReport) else details(report))
        shown = video.summary(report) if isinstance(report, VideoReport) else summary(report)
        text = json_text({"status": "converted", **report.as_dict()}) if self._as_json else shown
        self.line(text, err=False)

    def _tell_failed(self, failure: Failure) -> None:
        """Print a failure: always on stderr, with --json on stdout too."""
        self.line(f"failed: {with_options(failure.error)}")
        if self._as_json:
            self._print_failed(failure)

    def _print_failed(self, failure: Failure) -> None:
        self.line(json_text({"status": "failed", **failure.as_dict()}), err=False)

    @contextmanager
    def single(self, source: Path) -> Iterator[None]:
        """With --json, print on stdout how a single file fails, as for those of a folder; it stays the run's error."""
        try:
            yield
        except DcdrError as error:
            if self._as_json:
                self._print_failed(Failure.of(source, error))
            raise

    def left_out(self, suffixes: Mapping[str, int]) -> None:
        """With --json, print how many files of folders are not taken, by suffix; in text a note says so."""
        if self._as_json and suffixes:
            self.line(json_text({"status": "left out", "suffixes": dict(suffixes)}), err=False)

    def folder_done(self, report: FolderReport, target: Path | str) -> None:
        """Show the sums of a folder run."""
        if self._bar is not None:
            self._bar.close()
        parts = [f"{report.converted} converted into {target}"]
        if report.unchanged:
            parts.append(f"{len(report.unchanged)} unchanged since an earlier run (--overwrite converts them again)")
        if report.failures:
            parts.append(f"{len(report.failures)} failed, listed in {report.failures_file}")
        if report.failures or self._verbosity > QUIET:
            self.line(f"{'; '.join(parts)}; {duration(report.seconds)}")


class _LogHandler(logging.Handler):
    """Shows log messages as notes."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console(Event(note=record.getMessage()))


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


def details(report: FileReport) -> str:
    """Return how a file was made: colours of the input, seconds by stage, tiles, retries."""
    stages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in report.stages.items())
    height, width = report.run.tile_size
    tiles = (
        f"{number_of(report.run.tiles, 'tile')} of {height} x {width}, overlap {report.run.overlap}, "
        f"batch {report.run.batch}"
    )
    sizes = " and ".join("{1}x{0}".format(*size) for size in report.working_sizes)
    worked = f"network at {sizes}" if report.run.tiles else "network not needed"
    dials = "".join(f", {name.replace('_', ' ')} {value:g}" for name, value in report.dials.items())
    scale = f"scale {report.scale}, {worked}{dials}"
    retries = f"{number_of(report.run.retries, 'retry', 'retries')} for lack of memory"
    return f"{report.source}: {report.colour}; {stages}; {scale}; {tiles}; {retries}"
