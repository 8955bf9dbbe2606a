"""What a run looks like: results on stdout; notes, progress and failures on stderr."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from dcdr_deploy.commands.show.progress import BAR, CAPTION, ELAPSED, LEFT, NAME, PERCENT, REMAINING, Display
from dcdr_deploy.run.events import EngineReady, FileBegun, FileConverted, FileFailed, FilesFound, ModelChosen
from dcdr_deploy.system.progress import Event

if TYPE_CHECKING:
    from dcdr_deploy.run.recovery import Recovery
    from dcdr_deploy.run.reports import Failure, FileReport, FolderReport

QUIET, NORMAL, VERBOSE = range(3)
"""Results, errors and a model that was found only; notes and progress too; everything."""

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
            case FileFailed(failure=failure):
                self._tell_failed(failure)
            case Event(done=done, total=int(total)):
                self._draw(None, done / max(total, 1))

    def _draw(self, name: str | None, part: float) -> None:
        """Show where the run is: at a part of the file begun last."""
        if self._bar is not None and self._begun:
            self._bar.draw(name, self._begun - 1 + part, self._files, f"{self._begun}/{self._files}")

    def _tell_unchanged(self, outputs: tuple[Path, ...]) -> None:
        for path in outputs:
            if self._as_json:
                self.line(json.dumps({"status": "unchanged", "output": str(path)}), err=False)
            elif self._verbosity == VERBOSE:
                self.line(f"unchanged: {path}")

    def _tell_converted(self, report: FileReport) -> None:
        if self._verbosity > QUIET:
            for sentence in report.notes:
                self.line(f"note: {report.source}: {sentence}")
        if self._verbosity == VERBOSE:
            self.line(details(report))
        text = json.dumps({"status": "converted", **report.as_dict()}) if self._as_json else summary(report)
        self.line(text, err=False)

    def _tell_failed(self, failure: Failure) -> None:
        """Print a failure: always on stderr, with --json on stdout too."""
        self.line(f"failed: {failure.error}")
        if self._as_json:
            self.line(json.dumps({"status": "failed", **failure.as_dict()}), err=False)

    def left_out(self, suffixes: Mapping[str, int]) -> None:
        """With --json, print how many files of folders are not taken, by suffix; in text a note says so."""
        if self._as_json and suffixes:
            self.line(json.dumps({"status": "left out", "suffixes": dict(suffixes)}), err=False)

    def folder_done(self, report: FolderReport, target: Path) -> None:
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
