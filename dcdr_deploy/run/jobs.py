"""Which pictures of a folder are converted, and what their outputs are called. Writes nothing."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging.formats import READABLE, SUFFIXES
from dcdr_deploy.imaging.own import check_replaced
from dcdr_deploy.imaging.pair_names import LOOKS
from dcdr_deploy.imaging.write import OUTPUT_SUFFIXES
from dcdr_deploy.run.manifest import Manifest
from dcdr_deploy.run.outputs import (
    ConvertOptions,
    check_gain_map,
    check_place,
    gain_map_path,
    written_for,
)
from dcdr_deploy.run.video.opening import SUFFIXES as VIDEO_SUFFIXES
from dcdr_deploy.system.files import is_hidden, refuse_listing, refuse_no_path
from dcdr_deploy.system.words import number_of

_FAILURES_SUFFIX = ".jsonl"


@dataclass(frozen=True)
class Job:
    """One picture of a folder run.

    Attributes:
        source: the input file.
        output: the file to write.
        name: the output relative to the output folder, with slashes: the same on every system.
    """

    source: Path
    output: Path
    name: str


@dataclass(frozen=True)
class FolderPlan:
    """What a folder run is going to do.

    Attributes:
        jobs: in natural order of the inputs' names.
        notes: sentences about what may surprise.
        left_out: how many files are not taken, by suffix in lower case; ``""`` are those without one.
    """

    jobs: tuple[Job, ...]
    notes: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)


def plan_folder(source: Path, target: Path, options: ConvertOptions, *, recursive: bool) -> FolderPlan:
    """Find the pictures below ``source`` and name their outputs below ``target``.

    Pictures are told by their suffix; other files are counted. Left out without a word are hidden files and folders,
    linked folders, the output folder where it lies inside the input folder, and what an earlier run wrote where both
    are one; previews (``*.preview.png``) with a word. The tree is mirrored. ``a.png`` becomes ``a.exr``; where that
    name would be written twice (there is an ``a.jpg`` too), both keep their whole name: ``a.png.exr`` and
    ``a.jpg.exr``.

    Raises:
        InputError: the input is no folder, cannot be listed, holds no pictures, or would be overwritten; the output is
            a file or looks like the name of one.
        OutputError: the output folder cannot be written.
    """
    _check_folders(source, target, options.suffix)
    pictures, previews, left_out = find_pictures(source, recursive=recursive, exclude=target)
    if os.path.realpath(source) == os.path.realpath(target):
        forget_own(left_out, options.suffix)
    if not pictures:
        inside = any(entry.is_dir() and not is_hidden(entry.name) for entry in source.iterdir())
        raise nothing_found(source, left_out, deeper=inside and not recursive)
    names = name_outputs(pictures, options.suffix, previews=options.preview)
    jobs = tuple(
        Job(source / picture, target / name, name.as_posix()) for picture, name in zip(pictures, names, strict=True)
    )
    check_overwriting(jobs, options.preview)
    check_gain_maps(jobs, options, source, target)
    # One stands for all; a folder in the place of a single output is that file's failure.
    free = (job.output for job in jobs if not os.path.isdir(job.output))  # noqa: PTH112 - as in _check_folders
    check_place(next(free, jobs[0].output), options)
    check_kept(jobs, options.preview, target)
    notes = notes_of(source, jobs, options.suffix, left_out, previews)
    return FolderPlan(jobs, notes, dict(sorted(left_out.items())))


def forget_own(left_out: Counter[str], suffix: str) -> None:
    """Do not count what runs write into their output folder, where that is the input folder too."""
    for own in (suffix, _FAILURES_SUFFIX):
        left_out.pop(own, None)


def notes_of(
    source: PurePath, jobs: Sequence[Job], suffix: str, left_out: Counter[str], previews: int
) -> tuple[str, ...]:
    """Return sentences about what may surprise in a plan: what is left out, and whose outputs have other names.

    Args:
        source: the folder.
        jobs: the plan.
        suffix: of the outputs.
        left_out: files that are no pictures, by suffix.
        previews: how many previews and sheets there are.
    """
    notes = []
    if left_out:
        notes.append(f"{source}: {counted(left_out)} left out; {instead_of(left_out)}")
    if previews:
        named = " or ".join(f"*{ending}" for ending in LOOKS)
        notes.append(
            f"{source}: {number_of(previews, 'file')} named {named} left out: looks at what an earlier run made"
        )
    renamed = [job.name for job in jobs if job.output.name == job.source.name + suffix]
    if renamed:
        notes.append(
            f"{source}: {len(renamed)} pictures share a name with another but for the suffix; "
            f"their outputs keep it: {renamed[0]}" + (", ..." if len(renamed) > 1 else "")
        )
    return tuple(notes)


def find_pictures(
    folder: Path, *, recursive: bool, exclude: Path, suffixes: Collection[str] = SUFFIXES
) -> tuple[list[Path], int, Counter[str]]:
    """Return the pictures relative to ``folder``, in natural order; how many previews and sheets were left out; and how
    many other files there are, by suffix.

    Args:
        folder: where to look.
        recursive: in its folders too.
        exclude: a folder that is passed over.
        suffixes: of what counts as a picture, lower case.

    Raises:
        InputError: a folder cannot be listed.
    """
    excluded = os.path.realpath(exclude)
    pictures: list[Path] = []
    previews, left_out = 0, Counter[str]()
    for root, folders, files in os.walk(folder, onerror=refuse_listing):
        here = Path(root)
        folders[:] = [
            name for name in folders if recursive and not is_hidden(name) and os.path.realpath(here / name) != excluded
        ]
        for name in files:
            path = here / name
            if is_hidden(name):
                continue
            if path.suffix.lower() not in suffixes:
                left_out[path.suffix.lower()] += 1
            elif name.lower().endswith(LOOKS):
                previews += 1
            # A broken link, or one that may not be looked at, is told as a failure; pipes and devices are not. Path's
            # methods raise below a folder without permission.
            elif os.path.isfile(path) or not os.path.exists(path):  # noqa: PTH110, PTH113
                pictures.append(path.relative_to(folder))
    return sorted(pictures, key=natural), previews, left_out


def name_outputs(pictures: Sequence[Path], suffix: str, *, previews: bool) -> list[Path]:
    """Return the relative output of each relative input; no file, previews included, is written twice.

    Upper and lower case count as the same, as they do on Windows and macOS.
    """
    whole: set[Path] = set()  # pictures whose outputs keep the whole name
    while True:
        names = [path.with_name(path.name + suffix) if path in whole else path.with_suffix(suffix) for path in pictures]
        writers: dict[str, list[Path]] = defaultdict(list)
        for path, name in zip(pictures, names, strict=True):
            for written in written_for(name, previews=previews):
                writers[written.as_posix().casefold()].append(path)
        clashing = {path for several in writers.values() if len(several) > 1 for path in several} - whole
        if not clashing:
            return names
        whole |= clashing


def natural(path: Path) -> list[list[str | int]]:
    """Give the key that sorts frame2 before frame10."""
    return [
        # Splitting at digits gives text at even places and numbers at odd ones: likes are compared with likes.
        [int(part) if place % 2 else part.casefold() for place, part in enumerate(re.split(r"(\d+)", name))]
        for name in path.parts
    ]


def is_named_as_file(target: str | os.PathLike[str]) -> bool:
    """Tell whether an output that is not there has the name of a picture or a video: a slip in place of a folder's."""
    suffix = os.path.splitext(target)[1].lower()  # noqa: PTH122 - any text is an answer
    return suffix in {*OUTPUT_SUFFIXES, *SUFFIXES, *VIDEO_SUFFIXES} and not os.path.lexists(target)


def refuse_among_inputs(target: Path, suffix: str, taken: Collection[str], *folders: Path) -> None:
    """Refuse an output folder in which the next run would take the outputs for inputs.

    Args:
        target: the output folder.
        suffix: of the outputs.
        taken: suffixes of inputs.
        folders: of the inputs.

    Raises:
        InputError: it is one of them, and the suffix is one that is taken.
    """
    if suffix in taken and os.path.realpath(target) in map(os.path.realpath, folders):
        raise InputError(f"{target}: {suffix} outputs would become inputs of the next run; name another folder")


def _check_folders(source: Path, target: Path, suffix: str) -> None:
    refuse_no_path(source, InputError)
    refuse_no_path(target, OutputError)
    # os.path and not pathlib: Path.exists and its like raise for names that are too long.
    if not os.path.isdir(source):  # noqa: PTH112
        found = os.path.exists(source)  # noqa: PTH110
        raise InputError(f"{source}: " + ("is no folder" if found else "no such folder; check the path"))
    if os.path.exists(target) and not os.path.isdir(target):  # noqa: PTH110, PTH112
        raise InputError(f"{target}: is a file, but {source} is a folder; name a folder to write into")
    if is_named_as_file(target):
        raise InputError(f"{target}: is the name of a file, but {source} is a folder; name a folder to write into")
    refuse_among_inputs(target, suffix, SUFFIXES, source)


def check_kept(jobs: Sequence[Job], preview: bool, target: Path) -> None:
    """Refuse outputs, previews included, in whose place are pictures that this tool has not written.

    Raises:
        InputError: there is one.
        OutputError: the books of the output folder cannot be read.
    """
    books = Manifest(target)
    for job in jobs:
        for written in written_for(job.output, previews=preview):
            # Without the end, or all but the begin, a file of ours may not say so any more.
            if written != job.output or not books.knows_cut(job.name, written):
                check_replaced(written)


def check_overwriting(jobs: Sequence[Job], preview: bool, place: Callable[[Path], str] = os.path.realpath) -> None:
    """Refuse outputs, previews included, that would replace an input.

    Args:
        jobs: what is planned.
        preview: whether there are previews.
        place: tells whether two names are of one file.

    Raises:
        InputError: one would.
    """
    sources = {place(job.source) for job in jobs}
    for job in jobs:
        for written in written_for(job.output, previews=preview):
            if place(written) in sources:
                raise InputError(f"{written}: is an input and would be overwritten; name another output folder")


def check_gain_maps(jobs: Sequence[Job], options: ConvertOptions, *folders: Path) -> None:
    """Refuse a folder of gain maps in which they would replace inputs or outputs, which lie in ``folders``.

    Raises:
        InputError: it is one of them.
        OutputError: it cannot be written.
    """
    if options.gain_map is None:
        return
    if os.path.realpath(options.gain_map) in map(os.path.realpath, folders):
        raise InputError(f"{options.gain_map}: gain maps need a folder of their own; name another one")
    first = gain_map_path(options, jobs[0].name)
    if first is not None:
        check_gain_map(first)


def instead_of(left_out: Mapping[str, int]) -> str:
    """Return what to do about files, by suffix, that a run of pictures leaves out."""
    videos = (
        "; `output_format` mkv converts the videos, in a run of their own" if left_out.keys() & VIDEO_SUFFIXES else ""
    )
    return f"give an {READABLE}{videos}"


def counted(suffixes: Counter[str]) -> str:
    """Numbers of files by suffix, in words."""
    return ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in sorted(suffixes.items()))


def nothing_found(folder: PurePath, left_out: Counter[str], *, deeper: bool) -> InputError:
    """Return the error of a folder without pictures; ``deeper``: it has folders that were not looked into."""
    others = f", only {counted(left_out)}" if left_out else ""
    sentence = f"{folder}: holds no pictures ({', '.join(sorted(SUFFIXES))}){others}"
    return InputError(sentence + ("; `recursive` looks into its folders too" if deeper else ""))
