"""Several videos, or folders of them: one after the other, with the books of a folder run."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from dcdr_deploy.errors import DcdrError, InputError, OutputError
from dcdr_deploy.run.events import FileConverted
from dcdr_deploy.run.jobs import (
    FolderPlan,
    Job,
    check_overwriting,
    counted,
    find_pictures,
    is_named_as_file,
    name_outputs,
    natural,
    refuse_among_inputs,
)
from dcdr_deploy.run.ledger import Ledger, entry_of, wanted_of
from dcdr_deploy.run.manifest import settings_key
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.reports import FolderReport
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.several import Inputs, named_twice
from dcdr_deploy.run.stages import StopError
from dcdr_deploy.run.video import package
from dcdr_deploy.run.video.choice import FORMATS, refuse_picture_options, refuse_written_options, settings_of
from dcdr_deploy.run.video.convert import PreparedVideo
from dcdr_deploy.run.video.opening import SUFFIXES, is_video
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.system.files import refuse_no_path
from dcdr_deploy.system.progress import Event, Listener, silent


def means_videos(inputs: Inputs, form: str | None, *, recursive: bool, target: Path) -> bool:
    """Tell whether several inputs are a matter of videos: by the format, or because there is nothing else."""
    if form is not None:
        return form in FORMATS
    if inputs.sequences or not all(map(is_video, inputs.files)):
        return False
    found = [find_pictures(folder, recursive=recursive, exclude=target) for folder in inputs.folders]
    if any(pictures for pictures, _, _ in found):
        return False
    return bool(inputs.files) or any(left_out.keys() & SUFFIXES for _, _, left_out in found)


def plan_videos(
    inputs: Inputs, target: Path, video: VideoOptions, options: ConvertOptions, form: str | None, *, recursive: bool
) -> FolderPlan:
    """Name the outputs of videos below an output folder; trees are mirrored.

    Args:
        inputs: files and folders.
        target: the output folder.
        video, options: what is made of each.
        form: one of :data:`FORMATS`, ``None`` for the first.
        recursive: go into the folders' sub-folders.

    Raises:
        InputError: there are no videos, or numbered pictures among them; the output is a file, would replace an input,
            or two would have one name; or something is asked for that videos do not have.
        OutputError: an address.
        MissingDependency: PyAV is not installed, which each of them needs.
    """
    refuse_no_path(target, OutputError)
    if os.path.isfile(target) or is_named_as_file(target):  # noqa: PTH113 - as in jobs.py
        raise InputError(f"{target}: is a file, or the name of one; name a folder to write several videos into")
    if inputs.sequences:
        raise InputError(f"{inputs.sequences[0].text}: numbered pictures are not made a video; choose a picture format")
    suffix = f".{form or FORMATS[0]}"
    refuse_among_inputs(target, suffix, SUFFIXES, *inputs.folders)
    refuse_picture_options(target, options)
    refuse_written_options(target, options)
    pairs = [(file, Path(file.name)) for file in inputs.files]
    left_out = Counter[str]()
    for folder in inputs.folders:
        videos, _, others = find_pictures(folder, recursive=recursive, exclude=target, suffixes=SUFFIXES)
        left_out += others
        # What an earlier run was stopped at is no source.
        pairs += [(folder / each, each) for each in videos if not each.stem.endswith(".partial")]
    if not pairs:
        raise InputError(f"{inputs.folders[0]}: holds no videos ({', '.join(sorted(SUFFIXES))}), nor do the others")
    package.load()
    unique = dict.fromkeys(pairs)
    names = name_outputs([name for _, name in unique], suffix, previews=False)
    jobs = [Job(source, target / name, name.as_posix()) for (source, _), name in zip(unique, names, strict=True)]
    check_overwriting(jobs, preview=False)
    outputs = Counter(job.name.casefold() for job in jobs)
    for job in jobs:
        if outputs[job.name.casefold()] > 1:
            raise InputError(f"{job.output}: would be written twice; convert {job.source} apart from the others")
    notes = [*inputs.notes, *named_twice(len(pairs) - len(unique))]
    if left_out:
        notes.append(f"{counted(left_out)} in the folders left out: no videos")
    return FolderPlan(
        tuple(sorted(jobs, key=lambda job: natural(Path(job.name)))), tuple(notes), dict(sorted(left_out.items()))
    )


def videos_key(runner: Runner, video: VideoOptions, options: ConvertOptions) -> str:
    """Return the digest of all that decides about a video beside the input: what the books know it by."""
    settings = settings_of(video, options)
    part = asdict(video) | {"start": str(video.start), "end": str(video.end), "temporal": settings.temporal}
    return settings_key(
        runner.engine.info,
        video=part,
        light=asdict(settings.light),
        scale=str(settings.scale),
        dials=settings.dials.turned(),
        tile=runner.tile,
        overlap=runner.overlap,
    )


def convert_videos(
    jobs: Sequence[Job],
    target: Path,
    runner: Runner,
    video: VideoOptions,
    options: ConvertOptions,
    *,
    overwrite: bool = False,
    listener: Listener = silent,
) -> FolderReport:
    """Convert the videos of a plan.

    One that cannot be converted is listed in ``failures.jsonl`` in the output folder, and the run goes on. Those that
    an earlier run finished from the same content with the same settings are left as they are.

    Args:
        jobs: from :func:`plan_videos`.
        target: output folder; made if need be.
        runner: from :func:`~dcdr_deploy.run.opening.open_runner`.
        video, options: what is made of each.
        overwrite: convert what is up to date again.
        listener: told of progress.

    Raises:
        OutputError: the output folder cannot be written, at the start or for several files in a row, or is gone.
        EngineError: the backend fails for several files in a row.
    """
    settings = settings_of(video, options)
    key = videos_key(runner, video, options)
    ledger = Ledger(target, key, options, listener)

    def convert(job: Job, listener: Listener) -> VideoReport:
        return PreparedVideo(job.source, job.output, settings).convert(runner, listener)

    convert_by(convert, ledger.begin(jobs, overwrite=overwrite), ledger, options, listener)
    return ledger.finish()


def convert_by(
    convert: Callable[[Job, Listener], VideoReport],
    jobs: Sequence[Job],
    ledger: Ledger,
    options: ConvertOptions,
    listener: Listener,
) -> None:
    """Convert videos one after the other, and keep books.

    Args:
        convert: converts one and tells a listener of progress; a DcdrError is a failure of this video.
        jobs: of :meth:`Ledger.begin`.
        ledger: the books.
        options: what is made of each.
        listener: told of progress.

    Raises:
        OutputError, EngineError: as :func:`convert_videos`.
    """

    def heard(event: Event) -> None:
        if not isinstance(event, FileConverted):  # the ledger tells
            listener(event)

    try:
        for job in jobs:
            wanted = wanted_of(job, ledger.settings, options)
            try:
                ledger.require_folder()
                report = convert(job, heard)
                ledger.enter(entry_of(wanted, job, options))
                ledger.engine_works()
                ledger.done(report)
            except DcdrError as error:
                ledger.failed(job, error)
    except StopError as stop:
        raise stop.reason from stop
