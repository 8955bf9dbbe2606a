"""Several inputs and one output folder: names, patterns, numbered files, folders, and lists of any of these.

What stands last is the output. Names in which ``*``, ``?`` or ``[`` stand are patterns where no file is called so:
shells of Windows hand them on as they are.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging.formats import SIGNATURE_BYTES, SUFFIXES, name_of
from dcdr_deploy.run import sequence
from dcdr_deploy.run.jobs import (
    FolderPlan,
    Job,
    check_gain_maps,
    check_kept,
    check_overwriting,
    counted,
    find_pictures,
    instead_of,
    is_named_as_file,
    natural,
    refuse_among_inputs,
)
from dcdr_deploy.run.outputs import ConvertOptions, check_place, output_path, written_for
from dcdr_deploy.run.video.opening import SUFFIXES as VIDEO_SUFFIXES
from dcdr_deploy.system.files import refuse_no_path
from dcdr_deploy.system.words import number_of

LIST = "-"
"""Stands for a list of inputs on standard input."""

_CONTROL = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f]")
"""What neither ends a path nor often stands in one."""


@dataclass
class Inputs:
    """What was named.

    Attributes:
        files: single files, in order, those of patterns among them.
        folders: folders, in order.
        sequences: numbered files, in order.
        several: whether the output must be a folder: not for one file that was named, or that a pattern found.
        notes: sentences about what may surprise.
    """

    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    sequences: list[sequence.Sequence] = field(default_factory=list)
    several: bool = False
    notes: list[str] = field(default_factory=list)


def named(arguments: Sequence[str], listed: Callable[[], Iterable[str]]) -> Inputs:
    """Tell files, folders, patterns and sequences apart, and look up what they stand for.

    Args:
        arguments: the inputs, one or more.
        listed: gives what :data:`LIST` stands for; asked once at most.

    Raises:
        InputError: a pattern that nothing fits, a sequence that is none, an empty list, an address.
    """
    inputs = Inputs()
    if arguments.count(LIST) > 1:
        raise InputError(f"{LIST} stands for one list on standard input; name it once")
    for argument in arguments:
        if argument != LIST:
            _add(inputs, argument)
            continue
        inputs.several = True
        lines = [line for line in listed() if line]
        if not lines:
            raise InputError("standard input lists no files; give one path a line, or each ended by NUL")
        for line in lines:
            _add(inputs, line)
    _once(inputs)
    inputs.several |= len(inputs.files) + len(inputs.folders) > 1 or bool(inputs.sequences)
    return inputs


def paths_of(text: bytes) -> list[str]:
    """Return the paths of a list, in whatever encoding: one a line, or each ended by NUL as ``find -print0`` has them.

    Raises:
        InputError: it is no list but a picture or another file.
    """
    head = text[:SIGNATURE_BYTES]
    # Control characters too: a list may begin with "BM" as well.
    if _CONTROL.search(head) and (what := name_of(head)):
        raise InputError(f"standard input should be a list of files, not {what}; save it to a file and pass that")
    lines = text.split(b"\0") if b"\0" in text else [line.rstrip(b"\r") for line in text.split(b"\n")]
    return [os.fsdecode(line) for line in lines]


def _add(inputs: Inputs, name: str) -> None:
    refuse_no_path(Path(name), InputError)
    # os.path and not pathlib: Path.exists and its like raise for names that are too long.
    if os.path.isdir(name):  # noqa: PTH112
        inputs.folders.append(Path(name))
    elif os.path.lexists(name):
        inputs.files.append(Path(name))
    elif (numbered := sequence.parse(name)) is not None:
        inputs.sequences.append(numbered)
    elif glob.has_magic(name):
        # Not Path.glob: it takes no absolute patterns.
        found = sorted((Path(each) for each in glob.glob(name, recursive=True)), key=natural)  # noqa: PTH207
        if not found:
            raise InputError(f"{name}: no file fits this pattern; check folder and suffix")
        for each in found:
            _add(inputs, str(each))
    else:
        sequence.refuse_other_conversions(name)
        inputs.files.append(Path(name))  # reading it will say that it is not there


def _once(inputs: Inputs) -> None:
    """Take what is named twice once."""
    unique: dict[str, Path] = {}
    for file in inputs.files:
        unique.setdefault(os.path.abspath(file), file)  # noqa: PTH100 - Path.absolute leaves .. in
    inputs.notes += named_twice(len(inputs.files) - len(unique))
    inputs.files = list(unique.values())


def named_twice(count: int) -> list[str]:
    """The sentence about files that are taken once all the same; none where there are none."""
    return [f"{number_of(count, 'file is', 'files are')} named more than once; each is taken once"] if count else []


def plan_several(inputs: Inputs, target: str, options: ConvertOptions, *, recursive: bool) -> tuple[FolderPlan, Path]:
    """Name the outputs of several inputs.

    A file's output is called after it; those of a folder's pictures lie as they do in it; those of a sequence keep
    their numbers, and may be named by a pattern.

    Args:
        inputs: from :func:`named`.
        target: output folder, or for one sequence a pattern.
        options: what is written.
        recursive: go into the folders' sub-folders.

    Returns:
        The plan, and the output folder.

    Raises:
        InputError: the output is no folder, would replace an input or be one for the next run, or two inputs would have
            one output.
        OutputError: the output cannot be written.
    """
    refuse_no_path(target, OutputError)
    notes = list(inputs.notes)
    pattern = sequence.parse(target)
    folder = _folder(inputs, target, pattern)
    refuse_among_inputs(folder, options.suffix, SUFFIXES, *inputs.folders)
    left_out = Counter[str]()
    pairs = [(file, folder / f"{file.stem}{options.suffix}") for file in inputs.files]
    for source in inputs.folders:
        pictures, _, others = find_pictures(source, recursive=recursive, exclude=folder)
        left_out += others
        pairs += [(source / picture, folder / picture.with_suffix(options.suffix)) for picture in pictures]
    for numbered in inputs.sequences:
        files = numbered.files()
        missing = sequence.gaps(list(files))
        if missing:
            notes.append(f"{numbered.text}: missing between {min(files)} and {max(files)}: {missing}")
        if pattern is None:
            pairs += [(file, folder / f"{file.stem}{options.suffix}") for file in files.values()]
        else:
            output_path(numbered.folder, target, options)  # refuses a suffix that contradicts the format
            pairs += [(file, pattern.path(number)) for number, file in files.items()]
    unique = dict.fromkeys(pairs)  # a file, and the folder or the sequence that it belongs to
    notes += named_twice(len(pairs) - len(unique))
    if not pairs:
        raise InputError(f"{inputs.folders[0]}: holds no pictures ({', '.join(sorted(SUFFIXES))}), nor do the others")
    if left_out:
        notes.append(f"{counted(left_out)} in the folders left out; {instead_of(left_out)}")
    jobs = [Job(source, output, output.relative_to(folder).as_posix()) for source, output in unique]
    _check_collisions(jobs, previews=options.preview)
    check_overwriting(jobs, options.preview)
    check_gain_maps(jobs, options, folder, *inputs.folders)
    check_place(jobs[0].output, options)
    check_kept(jobs, options.preview, folder)
    return FolderPlan(tuple(jobs), tuple(notes), dict(sorted(left_out.items()))), folder


def _folder(inputs: Inputs, target: str, pattern: sequence.Sequence | None) -> Path:
    """The output folder."""
    if pattern is not None and not os.path.isdir(target):  # noqa: PTH112 - as in _add
        if len(inputs.sequences) != 1 or inputs.files or inputs.folders:
            raise InputError(
                f"{target}: has a number to fill in, so that the input must be one sequence, such as shot.%04d.png"
            )
        return pattern.folder
    if os.path.lexists(target) and not os.path.isdir(target):  # noqa: PTH112
        raise InputError(f"{target}: is a file, but several inputs need a folder to write into as the last name")
    if inputs.sequences and os.path.splitext(target)[1].lower() in VIDEO_SUFFIXES:  # noqa: PTH122 - any text
        numbered = inputs.sequences[0]
        raise InputError(
            f"{target}: is the name of a video; make one of the pictures first, for example by ffmpeg -framerate 24 "
            f"-start_number {min(numbered.files())} -i {shlex.quote(numbered.text)} -c:v ffv1 pictures.mkv"
        )
    if is_named_as_file(target):
        numbers = " or a name with a number, such as out.%04d.exr" if inputs.sequences else ""
        raise InputError(
            f"{target}: is the name of a file, but several inputs need a folder{numbers} to write into as the last name"
        )
    return Path(target)


def _check_collisions(jobs: Sequence[Job], *, previews: bool) -> None:
    """Refuse two inputs with one output; upper and lower case count as the same, as on Windows and macOS."""
    writers: dict[str, Job] = {}
    for job in jobs:
        for written in written_for(job.output, previews=previews):
            other = writers.setdefault(str(written).casefold(), job)
            if other is not job:
                raise InputError(
                    f"{other.source} and {job.source} would both become {written}; rename one, or give them folders "
                    "of their own"
                )
