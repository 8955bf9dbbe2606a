"""Folder runs: every picture of a folder, with a manifest of what is done and a list of what failed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dcdr_deploy.engines.base import DEVICE_CUDA
from dcdr_deploy.errors import DcdrError
from dcdr_deploy.run.events import FileBegun
from dcdr_deploy.run.jobs import FolderPlan, Job, plan_folder
from dcdr_deploy.run.ledger import Ledger, entry_of, run_settings, wanted_of
from dcdr_deploy.run.manifest import PlannedOutput
from dcdr_deploy.run.outputs import DEFAULT_OPTIONS, ConvertOptions, gain_map_path
from dcdr_deploy.run.picture import Decoded, Inferred, begin, decode, encode, prepare
from dcdr_deploy.run.reports import FileReport, FolderReport
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.stages import PendingResult, Pipeline, Stages, StopError, pixels_in_flight, workers_for
from dcdr_deploy.system import hardware
from dcdr_deploy.system.progress import Event, Listener, silent

PIXELS_BEING_WRITTEN = 64_000_000
"""Pixels that may be encoded at a time in any case."""


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

    A picture that cannot be converted is listed in ``failures.jsonl`` in the output folder, and the run continues.
    Outputs that the manifest (manifest.py) lists as up to date are not converted again. Decoding, inference and
    encoding of successive pictures overlap.

    Args:
        source: folder of pictures; :func:`dcdr_deploy.run.jobs.plan_folder` says which are taken.
        target: output folder; created if necessary.
        runner: from :func:`~dcdr_deploy.run.opening.open_runner`.
        options: what is written, and how.
        recursive: include sub-folders, and create the same ones in the output folder.
        overwrite: also convert pictures that are up to date.
        listener: is told of progress, and of the events in run/events.py.

    Raises:
        InputError: the folder holds no pictures, or input and output do not go together.
        OutputError: the output folder cannot be written, at the start or for several files in a row, or is gone.
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
    keep_reports: bool = True,
    listener: Listener = silent,
) -> FolderReport:
    """Convert what :func:`~dcdr_deploy.run.jobs.plan_folder` found; the rest as :func:`convert_folder`.

    ``keep_reports`` is off for whoever hears of every file anyway: each report takes 15 kB.
    """
    return _FolderRun(target, runner, options, listener, keep_reports).convert(plan.jobs, overwrite=overwrite)


class _FolderRun:
    """One run: the three stages of the pipeline, and its books."""

    def __init__(
        self, target: Path, runner: Runner, options: ConvertOptions, listener: Listener, keep_reports: bool
    ) -> None:
        self._runner = runner
        self._options = options
        self._listener = listener
        settings = run_settings(runner, options)
        self._ledger = Ledger(target, settings, options, listener, keep_reports=keep_reports)
        self._pipeline: Pipeline[
            Job, tuple[PlannedOutput | None, Decoded], tuple[PlannedOutput | None, Inferred], FileReport
        ]
        stages = Stages(
            self._decode, self._begun, self._infer, self._encode, _pixels, self._done, self._failed, _decoded_pixels
        )
        on_gpu = runner.engine.info.device_kind == DEVICE_CUDA
        workers = workers_for(hardware.cpu_threads(), processor_is_free=on_gpu)
        self._pipeline = Pipeline(stages, pixels_in_flight(PIXELS_BEING_WRITTEN), workers)

    def convert(self, jobs: Sequence[Job], *, overwrite: bool) -> FolderReport:
        waiting = self._ledger.begin(jobs, overwrite=overwrite)
        try:
            self._pipeline.run(waiting)
        except StopError as stop:
            raise stop.reason from stop
        return self._ledger.finish()

    def _decode(self, job: Job) -> tuple[PlannedOutput | None, Decoded]:
        # Before reading: a change in the meantime makes the next run convert it again.
        wanted = wanted_of(job, self._ledger.settings, self._options)
        return wanted, prepare(decode(job.source), self._options)

    def _begun(self, job: Job) -> None:
        self._listener(FileBegun(job.source.name, source=job.source))

    def _infer(
        self, job: Job, early: tuple[PlannedOutput | None, Decoded]
    ) -> tuple[PlannedOutput | None, Inferred] | PendingResult[tuple[PlannedOutput | None, Inferred]]:
        wanted, decoded = early
        finish = begin(decoded, self._runner, self._options, self._heard)

        def finished() -> tuple[PlannedOutput | None, Inferred]:
            inferred = finish()
            self._ledger.engine_works()
            return wanted, inferred

        return PendingResult(finished) if self._runner.engine.info.overlaps else finished()

    def _heard(self, event: Event) -> None:
        self._listener(event)
        self._pipeline.poll()

    def _encode(self, job: Job, late: tuple[PlannedOutput | None, Inferred]) -> FileReport:
        wanted, inferred = late
        self._ledger.require_folder()
        report = encode(inferred, job.output, self._options, gain_map_path(self._options, job.name))
        self._ledger.enter(entry_of(wanted, job, self._options))
        return report

    def _done(self, job: Job, report: FileReport) -> None:
        self._ledger.done(report)

    def _failed(self, job: Job, error: DcdrError) -> None:
        self._ledger.failed(job, error)


def _decoded_pixels(early: tuple[PlannedOutput | None, Decoded]) -> int:
    height, width = early[1].frame.pixels.shape[:2]
    return height * width


def _pixels(late: tuple[PlannedOutput | None, Inferred]) -> int:
    return late[1].pixels
