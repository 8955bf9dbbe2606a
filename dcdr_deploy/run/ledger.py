"""The books of a folder run: what is up to date, what is finished, what failed, and when there is no use in going on.

They are the same whoever does the work, threads of this process (folder.py) or those of other machines.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from dcdr_deploy.errors import DcdrError, EngineError, EngineOutOfMemory, InputError, NonFiniteError, OutputError
from dcdr_deploy.run.events import FileConverted, FileFailed, FilesFound
from dcdr_deploy.run.jobs import Job
from dcdr_deploy.run.manifest import Manifest, ManifestEntry, PlannedOutput, describe, settings_key, size_of_file
from dcdr_deploy.run.outputs import ConvertOptions, gain_map_path, preview_path, written_of
from dcdr_deploy.run.reports import Failure, FileReport, FolderReport
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.stages import StopError
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.system.file_faults import unwritable
from dcdr_deploy.system.files import missing, open_to_append, refuse_pipe
from dcdr_deploy.system.json_text import json_text
from dcdr_deploy.system.progress import Event, Listener

FAILURES_NAME = "failures.jsonl"

FAILURES_IN_A_ROW = 3
"""So many failures of the engine, or of writing, one after the other are no matter of single files."""

_OF_ONE_PICTURE = (NonFiniteError, EngineOutOfMemory)
"""Failures of the engine that depend on a picture's values or size."""


def run_settings(runner: Runner, options: ConvertOptions) -> str:
    """Return the digest of all that decides an output's numbers beside the input.

    A runner's tile and overlap decide about the last digits, in contrast to the number of tiles in a batch.
    """
    picture = {
        "scale": str(options.scale),
        "dials": options.dials.turned(),
        "wrap": options.wrap,
        "strip": options.strip,
    }
    engine, tiles = runner.engine.info, {"tile": runner.tile, "overlap": runner.overlap}
    return settings_key(engine, write=asdict(options.write), **picture, **tiles)


def wanted_of(job: Job, settings: str, options: ConvertOptions) -> PlannedOutput | None:
    """Describe the present state of a job's input, ``None`` where it is gone or no file: reading it will say so."""
    with suppress(OSError, InputError):
        refuse_pipe(job.source)
        return describe(job.name, job.source, settings, options.preview)
    return None


def entry_of(wanted: PlannedOutput | None, job: Job, options: ConvertOptions) -> ManifestEntry | None:
    """Return the line on a job that is finished, ``None`` where its files are gone again: the next run makes them."""
    if wanted is not None:
        with suppress(OSError):
            preview = preview_path(job.output) if options.preview else None
            return wanted.done(job.output, preview, gain_map_path(options, job.name))
    return None


class Store:
    """Where inputs and outputs lie: on file systems of this machine."""

    def wanted(self, job: Job, settings: str, options: ConvertOptions) -> PlannedOutput | None:
        """Describe the present state of a job's input, ``None`` where it is gone."""
        return wanted_of(job, settings, options)

    def size(self, path: Path) -> int | None:
        """Bytes of an output, ``None`` where there is none."""
        return size_of_file(path)

    def missing(self, paths: Iterable[Path]) -> list[Path]:
        """Those of the files written that are not there any more."""
        return missing(paths)


class Ledger:
    """The books of one run. Called on one thread, but for :meth:`enter`.

    Attributes:
        settings: of :func:`run_settings`.
    """

    def __init__(
        self,
        target: Path,
        settings: str,
        options: ConvertOptions,
        listener: Listener,
        *,
        store: Store | None = None,
        keep_reports: bool = True,
    ) -> None:
        """Open the manifest of an output folder.

        Args:
            target: the output folder.
            settings: of :func:`run_settings`.
            options: what is made of a picture.
            listener: told what is found, converted, failed.
            store: where inputs and outputs lie.
            keep_reports: hold the report of every file to the end; without, memory does not grow with their number.

        Raises:
            OutputError: the manifest cannot be read.
        """
        self.settings = settings
        self._options = options
        self._listener = listener
        self._store = store or Store()
        self._keep_reports = keep_reports
        self._manifest = Manifest(target)
        self._failures_file = target / FAILURES_NAME
        self._started = time.perf_counter()
        self._unchanged: tuple[Path, ...] = ()
        self._files: list[FileReport | VideoReport] = []
        self._converted = 0
        self._failures: list[Failure] = []
        self._jobs: tuple[Job, ...] = ()
        self._failed: set[str] = set()
        self._engine_failures = self._write_failures = 0  # in a row

    def begin(self, jobs: Sequence[Job], *, overwrite: bool) -> list[Job]:
        """Make the output folder, begin the list of failures anew, and return the jobs that are to be done.

        Raises:
            OutputError: the folder or its manifest cannot be made, or the old list not be removed.
        """
        self._started = time.perf_counter()
        self._manifest.begin()
        self._jobs = tuple(jobs)
        self._forget_failures()
        unchanged = [] if overwrite else [job for job in jobs if self._is_unchanged(job)]
        done = {job.name for job in unchanged}
        waiting = [job for job in jobs if job.name not in done]
        self._unchanged = tuple(job.output for job in unchanged)
        self._listener(FilesFound(total=len(waiting), unchanged=self._unchanged))
        return waiting

    def _is_unchanged(self, job: Job) -> bool:
        # Inputs are known by their content. A folder that was never run is not read through for that before it begins.
        known = self._manifest.knows(job.name)
        wanted = self._store.wanted(job, self.settings, self._options) if known else None
        if wanted is None:
            return False
        other = self._manifest.replaces(wanted)
        if other:
            self._listener(Event(note=f"{job.output}: was made of {other}; {job.source} replaces it"))
        gain_map = gain_map_path(self._options, job.name)
        return self._manifest.holds(wanted, job.output, preview_path(job.output), gain_map, self._store.size)

    def require_folder(self) -> None:
        """Refuse to write into an output folder that is not there any more, or is another one; from any thread.

        Raises:
            OutputError: so it is.
        """
        self._manifest.require_folder()

    def enter(self, entry: ManifestEntry | None) -> None:
        """Write a finished output down; from any thread.

        Raises:
            OutputError: the manifest cannot be written, or is gone.
        """
        if entry is not None:
            self._manifest.add(entry)

    def done(self, report: FileReport | VideoReport) -> None:
        """Count a file that was converted."""
        self._write_failures = 0
        self._converted += 1
        if self._keep_reports:
            self._files.append(report)
        self._listener(FileConverted(report=report))

    def engine_works(self) -> None:
        """Note that the engine did a picture: its failures before were no row."""
        self._engine_failures = 0

    def failed(self, job: Job, error: DcdrError) -> None:
        """Record a failure of one file.

        Raises:
            StopError: it is the last of several that the next files would meet too, the output folder is gone, or the
                list cannot be written.
        """
        try:
            self.require_folder()
        except OutputError as gone:
            raise StopError(gone) from error
        self._record(job, error)
        if isinstance(error, OutputError):
            self._write_failures += 1
        elif isinstance(error, EngineError) and not isinstance(error, _OF_ONE_PICTURE):
            self._engine_failures += 1
        if max(self._write_failures, self._engine_failures) >= FAILURES_IN_A_ROW:
            raise StopError(type(error)(f"stopped after {FAILURES_IN_A_ROW} failures in a row: {error}"))

    def _record(self, job: Job, error: DcdrError) -> None:
        failure = Failure.of(job.source, error)
        self._failed.add(job.name)
        self._failures.append(failure)
        self._listener(FileFailed(failure=failure))
        self._write_failure(failure)

    def finish(self) -> FolderReport:
        """Return what the run did. A file that was written and is gone again has failed.

        Raises:
            OutputError: the output folder is gone, or the list of failures cannot be written.
        """
        self.require_folder()
        written = {
            path: job
            for job in self._jobs
            if job.name not in self._failed
            for path in written_of(job.output, self._options, job.name)
        }
        unchanged = frozenset(self._unchanged)
        for path in self._store.missing(written):
            job = written[path]
            if job.name in self._failed:
                continue  # a preview and its picture
            self._converted -= job.output not in unchanged
            try:
                self._record(job, OutputError(f"{path}: is gone since it was written; run the same command again"))
            except StopError as stop:
                raise stop.reason from stop
        lost = {job.output for job in self._jobs if job.name in self._failed}
        self._unchanged = tuple(path for path in self._unchanged if path not in lost)
        return FolderReport(
            files=tuple(report for report in self._files if report.output not in lost),
            unchanged=self._unchanged,
            failures=tuple(self._failures),
            failures_file=self._failures_file if self._failures else None,
            seconds=time.perf_counter() - self._started,
            converted=self._converted,
        )

    def _forget_failures(self) -> None:
        try:
            self._failures_file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self._failures_file}: cannot be replaced: {error.strerror or error}; mend its permissions"
            ) from error

    def _write_failure(self, failure: Failure) -> None:
        try:
            with open_to_append(self._failures_file) as stream:
                stream.write(json_text(failure.as_dict()) + "\n")
        except OSError as error:
            raise StopError(unwritable(self._failures_file, error)) from error
