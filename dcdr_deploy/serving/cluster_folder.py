"""A folder of pictures or videos over the actors of a cluster: the same books as a run of one machine keeps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from dcdr_deploy.engines.choice import model_suffixes
from dcdr_deploy.run.events import FileBegun
from dcdr_deploy.run.jobs import FolderPlan, Job
from dcdr_deploy.run.ledger import FAILURES_NAME, Ledger, Store
from dcdr_deploy.run.manifest import MANIFEST_NAME
from dcdr_deploy.run.opening import RunnerSettings
from dcdr_deploy.run.outputs import DEFAULT_OPTIONS, ConvertOptions
from dcdr_deploy.run.reports import FileReport, FolderReport
from dcdr_deploy.run.selection import ModelChoice, choose_model
from dcdr_deploy.run.stages import StopError
from dcdr_deploy.run.video.choice import settings_of
from dcdr_deploy.run.video.convert import PreparedVideo
from dcdr_deploy.run.video.folder import convert_by
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.run.video.segment_jobs import SegmentJob
from dcdr_deploy.serving.actor_pool import ActorPool
from dcdr_deploy.serving.actor_setup import ActorSetup, check_same, open_actor_pool
from dcdr_deploy.serving.addresses import Address, copy_out, fetch, near_folder
from dcdr_deploy.serving.cluster_video import convert_segments
from dcdr_deploy.serving.nodes import check_nodes
from dcdr_deploy.serving.staging import AddressStore
from dcdr_deploy.serving.worker import ActorFailure, ActorReady, JobResult, carried_model
from dcdr_deploy.system.files import make_folder
from dcdr_deploy.system.progress import Listener, silent
from dcdr_deploy.system.temporary import remove_leftovers

_GRACE_SECONDS = 60.0
"""Seconds that pictures under way get where a run is interrupted."""

_COPY_SECONDS = 10.0
_COPY_SHARE = 20
"""The books of a run at addresses are copied there after so many seconds; at most a 20th of the time goes into it."""


def choose(model: str | None, settings: RunnerSettings) -> ModelChoice:
    """Apply the file name rule on this machine.

    Raises:
        ModelError: as :func:`choose_model`.
    """
    return choose_model(model, suffixes=model_suffixes(settings.backend, settings.engine_options))


def convert_over_cluster(
    setup: ActorSetup,
    planned: FolderPlan,
    target: Path | Address,
    options: ConvertOptions = DEFAULT_OPTIONS,
    *,
    source: Address | None = None,
    video: VideoOptions | None = None,
    overwrite: bool = False,
    listener: Listener = silent,
) -> FolderReport:
    """Convert what :func:`~dcdr_deploy.run.jobs.plan_folder` and its like found.

    The outputs, the manifest, ``failures.jsonl`` and what is left as it is are those of
    :func:`dcdr_deploy.run.folder.convert_folder`; only the reports of the files are not kept.

    Args:
        setup: of the actors.
        planned: what is converted.
        target: folder or address for the outputs.
        options: what is written.
        source: address of the pictures; input and output are both addresses, or none is.
        video: what is made of each, where the jobs are videos: an actor takes one at a time, and where they are fewer
            than the actors, these share out each of them.
        overwrite: convert what is up to date again.
        listener: told of progress.

    Raises:
        InputError: a machine does not reach the files, or the cluster has not what is asked for.
        OutputError, EngineError: as :func:`dcdr_deploy.run.folder.convert_folder`; or all actors died.
    """
    layout = setup.layout()
    if video is not None:
        layout = replace(layout, pictures=0)  # one that waits behind a long one would be faster elsewhere
    books = _far_books(target) if isinstance(target, Address) else _near_books(target)
    with books as (folder, tick):
        _check(setup, planned, target, options)
        sent = options if options.gain_map is None else replace(options, gain_map=options.gain_map.absolute())
        with open_actor_pool(setup, layout, sent, video, listener) as (pool, first):
            store = Store() if source is None else AddressStore(source, cast("Address", target))
            ledger = Ledger(folder, first.settings, options, listener, store=store, keep_reports=False)
            try:
                run = _Run(pool, first, ledger, listener, tick)
                waiting = ledger.begin(planned.jobs, overwrite=overwrite)
                if video is not None and len(waiting) < layout.actors:
                    run.share_out(waiting, settings_of(video, options), options)
                else:
                    run.convert(waiting)
            finally:
                _remove_what_the_dead_left(pool.lost, sent.gain_map)
            report = ledger.finish()
    if isinstance(target, Address) and report.failures:
        report = replace(report, failures_file=cast("Path", target / FAILURES_NAME))
    return report


class _Run:
    def __init__(self, pool: ActorPool, first: ActorReady, ledger: Ledger, listener: Listener, tick: Any) -> None:
        self._pool = pool
        self._first = first
        self._ledger = ledger
        self._listener = listener
        self._tick = tick

    def convert(self, waiting: Sequence[Job]) -> None:
        """Give each job to one actor."""
        by_name = {job.name: job for job in waiting}

        def done(sent: Job, result: JobResult | ActorFailure) -> None:
            self._done(by_name.pop(sent.name), sent, result)

        try:
            self._pool.run(map(_absolute, waiting), done, lambda ready: check_same(self._first, ready))
        except StopError as stop:
            raise stop.reason from stop
        except KeyboardInterrupt:
            self._pool.finish(done, _GRACE_SECONDS)
            raise

    def share_out(self, waiting: Sequence[Job], settings: VideoSettings, options: ConvertOptions) -> None:
        """Share out each video among all actors, one after the other: they are fewer than the actors."""

        def convert(job: Job, listener: Listener) -> VideoReport:
            prepared = PreparedVideo(job.source, job.output, settings)
            return convert_segments(self._pool, self._first, prepared, listener)

        convert_by(convert, waiting, self._ledger, options, self._listener)

    def _done(self, job: Job, sent: Job, result: JobResult | ActorFailure) -> None:
        self._listener(FileBegun(job.source.name, source=job.source))
        if isinstance(result, JobResult):
            self._ledger.engine_works()
            self._ledger.enter(result.entry)
            self._ledger.done(_as_named(result.report, job, sent))
        else:
            self._ledger.failed(job, result.error({sent.source: job.source, sent.output: job.output}))
        self._tick()


def _remove_what_the_dead_left(lost: Sequence[Job | SegmentJob], gain_map: Path | None) -> None:
    """Remove unfinished files of actors that died on this machine; others' go when a run there begins."""
    folders = {job.output.parent for job in lost if not isinstance(job.output, Address)}
    for folder in folders | ({gain_map} if folders and gain_map is not None else set()):
        remove_leftovers(folder, again=True)


def _absolute(job: Job) -> Job:
    """A job for another process, whose working directory is another one."""
    if isinstance(job.source, Address):
        return job
    return Job(job.source.absolute(), job.output.absolute(), job.name)


def _as_named(report: FileReport | VideoReport, job: Job, sent: Job) -> FileReport | VideoReport:
    """A report with the files as the user named them."""
    if job == sent:
        return report
    if isinstance(report, VideoReport):
        return replace(report, source=job.source, output=job.output)
    preview = None if report.preview is None else job.output.with_name(report.preview.name)
    return replace(report, source=job.source, output=job.output, preview=preview)


def _check(setup: ActorSetup, planned: FolderPlan, target: Path | Address, options: ConvertOptions) -> None:
    """Have every machine look for the input, the output folder and the model.

    Raises:
        InputError: one does not reach them.
        OutputError: the folder of gain maps cannot be made.
    """
    own = carried_model(setup.choice.path)
    first = planned.jobs[0].source
    if isinstance(target, Address):
        check_nodes(setup.ray, [first, *own], [], [target])
        return
    written = [target.absolute()]
    if options.gain_map is not None:
        make_folder(options.gain_map)
        written.append(options.gain_map.absolute())
    # A picture that cannot be read here either is a failure of its own.
    readable = [first.absolute()] if first.is_file() else []
    check_nodes(setup.ray, [*readable, *own], [first.absolute().parent], written)


@contextmanager
def _near_books(target: Path) -> Iterator[tuple[Path, Any]]:
    """The manifest lies in the output folder."""
    make_folder(target)
    yield target, lambda: None


@contextmanager
def _far_books(target: Address) -> Iterator[tuple[Path, Any]]:
    """The manifest is fetched, kept here, and put back from time to time: nothing can be appended to at an address."""
    names = (MANIFEST_NAME, FAILURES_NAME)
    with near_folder() as folder:
        fetch(target / MANIFEST_NAME, folder / MANIFEST_NAME)
        due = time.monotonic() + _COPY_SECONDS

        def tick() -> None:
            nonlocal due
            begun = time.monotonic()
            if begun >= due:
                copy_out(folder, target, names)
                now = time.monotonic()
                due = now + max(_COPY_SECONDS, _COPY_SHARE * (now - begun))

        try:
            yield folder, tick
        finally:
            copy_out(folder, target, names)
