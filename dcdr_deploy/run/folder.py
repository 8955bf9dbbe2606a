"""Folder runs: every picture of a folder, with a manifest of what is done and a list of what failed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from dcdr_deploy.engines.base import DEVICE_CUDA
from dcdr_deploy.errors import DcdrError, EngineError, EngineOutOfMemory, NonFiniteError, OutputError
from dcdr_deploy.run.events import FileBegun, FileConverted, FileFailed, FilesFound
from dcdr_deploy.run.file import Decoded, Inferred, begin, decode, encode
from dcdr_deploy.run.jobs import FolderPlan, Job, plan_folder
from dcdr_deploy.run.manifest import Manifest, Wanted, describe, settings_key
from dcdr_deploy.run.outputs import DEFAULT_OPTIONS, ConvertOptions, gain_map_path, preview_path
from dcdr_deploy.run.reports import Failure, FileReport, FolderReport
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.stages import Begun, Pipeline, Stages, workers_for
from dcdr_deploy.system import hardware
from dcdr_deploy.system.files import open_to_append
from dcdr_deploy.system.progress import Event, Listener, silent

FAILURES_NAME = "failures.jsonl"

PIXELS_BEING_WRITTEN = 64_000_000
"""Pixels that may be encoded at a time in any case. With its copies on the way into a file one takes about 30 bytes."""

BYTES_OF_A_PIXEL = 30
MEMORY_SHARE = 0.25
"""Part of the free memory that the pixels being encoded may take where many threads do so."""

FAILURES_IN_A_ROW = 3
"""So many failures of the engine, or of writing, one after the other are no matter of single files."""

_OF_ONE_PICTURE = (NonFiniteError, EngineOutOfMemory)
"""Failures of the engine that depend on a picture's values or size."""


def convert_folder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    runner: Runner,
    options: ConvertOptions = DEFAULT_OPTIONS,
    *,
    recursive: bool = False,
    overwrite: bool = False,
    listener: Listener = silent,
) -> FolderReport:
    """Convert all pictures of a folder.

    A picture that cannot be converted is listed in ``failures.jsonl`` in the output folder, and the run goes on.
    Outputs that are in the manifest (manifest.py) and still exist are left as they are. Decoding, inference and
    encoding of neighbouring pictures overlap.

    Args:
        source: folder of pictures; :func:`dcdr_deploy.run.jobs.plan_folder` says which are taken.
        target: output folder; made if need be.
        runner: from :func:`~dcdr_deploy.run.opening.open_runner`.
        options: what is written.
        recursive: go into sub-folders too, and make the same ones in the output folder.
        overwrite: convert what is up to date again.
        listener: told of progress, and of what run/events.py lists.

    Raises:
        InputError: the folder holds no pictures, or input and output do not go together.
        OutputError: the output folder cannot be written, at the start or for several files in a row.
        EngineError: the backend fails for several files in a row.
    """
    plan = plan_folder(Path(source), Path(target), options, recursive=recursive)
    for note in plan.notes:
        listener(Event(note=note))
    return convert_planned(plan, Path(target), runner, options, overwrite=overwrite, listener=listener)


def convert_planned(
    plan: FolderPlan,
    target: Path,
    runner: Runner,
    options: ConvertOptions = DEFAULT_OPTIONS,
    *,
    overwrite: bool = False,
    listener: Listener = silent,
) -> FolderReport:
    """Convert what :func:`~dcdr_deploy.run.jobs.plan_folder` found; the rest as :func:`convert_folder`."""
    return _FolderRun(target, runner, options, listener).convert(plan.jobs, overwrite=overwrite)


class _StopError(Exception):
    """Ends a run for a reason; no DcdrError, which the pipeline would take for a failure of the file at hand."""

    def __init__(self, reason: DcdrError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _FolderRun:
    """One run: the three stages of the pipeline, the manifest and the list of failures."""

    def __init__(self, target: Path, runner: Runner, options: ConvertOptions, listener: Listener) -> None:
        self._runner = runner
        self._options = options
        self._listener = listener
        self._manifest = Manifest(target)
        # Tiles decide about the last digits of the result, in contrast to the number of them in a batch.
        tiles = {"tile": runner.tile, "overlap": runner.overlap}
        picture = {"scale": str(options.scale), "dials": options.dials.turned(), "wrap": options.wrap}
        self._settings = settings_key(runner.engine.info, write=asdict(options.write), **picture, **tiles)
        self._failures_file = target / FAILURES_NAME
        self._files: list[FileReport] = []
        self._failures: list[Failure] = []
        self._engine_failures = self._write_failures = 0  # in a row
        self._pipeline: Pipeline[Job, tuple[Wanted | None, Decoded], tuple[Wanted | None, Inferred], FileReport]
        stages = Stages(
            self._decode, self._begun, self._infer, self._encode, _pixels, self._done, self._failed, _decoded_pixels
        )
        on_gpu = runner.engine.info.device_kind == DEVICE_CUDA
        workers = workers_for(hardware.cpu_threads(), processor_is_free=on_gpu)
        self._pipeline = Pipeline(stages, pixels_in_flight(), workers)

    def convert(self, jobs: Sequence[Job], *, overwrite: bool) -> FolderReport:
        started = time.perf_counter()
        self._forget_failures()
        unchanged = [] if overwrite else [job for job in jobs if self._is_unchanged(job)]
        done = {job.name for job in unchanged}
        waiting = [job for job in jobs if job.name not in done]
        outputs = tuple(job.output for job in unchanged)
        self._listener(FilesFound(total=len(waiting), unchanged=outputs))
        try:
            self._pipeline.run(waiting)
        except _StopError as stop:
            raise stop.reason from stop
        return FolderReport(
            files=tuple(self._files),
            unchanged=outputs,
            failures=tuple(self._failures),
            failures_file=self._failures_file if self._failures else None,
            seconds=time.perf_counter() - started,
        )

    def _wanted(self, job: Job) -> Wanted | None:
        with suppress(OSError):  # an input that is gone: reading it will say so
            return describe(job.name, job.source, self._settings, self._options.preview)
        return None

    def _is_unchanged(self, job: Job) -> bool:
        # Inputs are known by their content. A folder that was never run is not read through for that before it begins.
        wanted = self._wanted(job) if self._manifest.knows(job.name) else None
        if wanted is None:
            return False
        other = self._manifest.replaces(wanted)
        if other:
            self._listener(Event(note=f"{job.output}: was made of {other}; {job.source} replaces it"))
        gain_map = gain_map_path(self._options, job.name)
        if gain_map is not None and not (gain_map.is_file() and gain_map.stat().st_size):
            return False
        return self._manifest.holds(wanted, job.output, preview_path(job.output))

    def _decode(self, job: Job) -> tuple[Wanted | None, Decoded]:
        wanted = self._wanted(job)  # before reading: a change in the meantime makes the next run convert it again
        return wanted, decode(job.source)

    def _begun(self, job: Job) -> None:
        self._listener(FileBegun(job.source.name, source=job.source))

    def _infer(
        self, job: Job, early: tuple[Wanted | None, Decoded]
    ) -> tuple[Wanted | None, Inferred] | Begun[tuple[Wanted | None, Inferred]]:
        wanted, decoded = early
        finish = begin(decoded, self._runner, self._options, self._heard)

        def finished() -> tuple[Wanted | None, Inferred]:
            inferred = finish()
            self._engine_failures = 0
            return wanted, inferred

        return Begun(finished) if self._runner.engine.info.overlaps else finished()

    def _heard(self, event: Event) -> None:
        self._listener(event)
        self._pipeline.poll()

    def _encode(self, job: Job, late: tuple[Wanted | None, Inferred]) -> FileReport:
        wanted, inferred = late
        report = encode(inferred, job.output, self._options, gain_map_path(self._options, job.name))
        if wanted is not None:
            with suppress(OSError):  # gone again already: the next run makes it anew
                preview = preview_path(job.output) if self._options.preview else None
                self._manifest.add(wanted.done(job.output, preview))
        return report

    def _done(self, job: Job, report: FileReport) -> None:
        self._write_failures = 0
        self._files.append(report)
        self._listener(FileConverted(report=report))

    def _failed(self, job: Job, error: DcdrError) -> None:
        """Record a failure of one file.

        Raises:
            _StopError: it is the last of several that the next files would meet too, or the list cannot be written.
        """
        failure = Failure(job.source, str(error), type(error).__name__)
        self._failures.append(failure)
        self._listener(FileFailed(failure=failure))
        self._write_failure(failure)
        if isinstance(error, OutputError):
            self._write_failures += 1
        elif isinstance(error, EngineError) and not isinstance(error, _OF_ONE_PICTURE):
            self._engine_failures += 1
        if max(self._write_failures, self._engine_failures) >= FAILURES_IN_A_ROW:
            raise _StopError(type(error)(f"stopped after {FAILURES_IN_A_ROW} failures in a row: {error}"))

    def _forget_failures(self) -> None:
        try:
            self._failures_file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self._failures_file}: cannot be replaced: {error.strerror or error}") from error

    def _write_failure(self, failure: Failure) -> None:
        try:
            self._failures_file.parent.mkdir(parents=True, exist_ok=True)
            with open_to_append(self._failures_file) as stream:
                stream.write(json.dumps(failure.as_dict()) + "\n")
        except OSError as error:
            reason = OutputError(f"{self._failures_file}: cannot be written: {error.strerror or error}")
            raise _StopError(reason) from error


def pixels_in_flight() -> int:
    """Return how many pixels may be encoded at a time, by the memory at hand."""
    memory = hardware.available_memory() or 0
    return max(PIXELS_BEING_WRITTEN, int(memory * MEMORY_SHARE / BYTES_OF_A_PIXEL))


def _decoded_pixels(early: tuple[Wanted | None, Decoded]) -> int:
    height, width = early[1].frame.pixels.shape[:2]
    return height * width


def _pixels(late: tuple[Wanted | None, Inferred]) -> int:
    return late[1].pixels
