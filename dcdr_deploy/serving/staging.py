"""Folders of pictures at addresses as jobs of a cluster: what is there, what is wanted, one picture fetched and put.

A worker fetches a picture into a temporary folder of its machine, converts it there and puts the outputs where they
belong; the network of the cluster carries no pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, cast

from dcdr_deploy.errors import DcdrError, InputError
from dcdr_deploy.imaging.formats import SUFFIXES
from dcdr_deploy.imaging.pair_names import LOOKS
from dcdr_deploy.run.jobs import (
    FolderPlan,
    Job,
    check_overwriting,
    forget_own,
    name_outputs,
    natural,
    notes_of,
    nothing_found,
)
from dcdr_deploy.run.ledger import Store
from dcdr_deploy.run.manifest import PlannedOutput
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.reports import FileReport
from dcdr_deploy.serving.addresses import Address, file_system, identity, listed, near_folder, put
from dcdr_deploy.system.faults import one_line
from dcdr_deploy.system.files import is_hidden


def plan_addresses(source: Address, target: Address, options: ConvertOptions, *, recursive: bool) -> FolderPlan:
    """Find the pictures below an address and name their outputs, as :func:`dcdr_deploy.run.jobs.plan_folder` does.

    Raises:
        InputError: nothing is there, or cannot be listed, or would be overwritten; or gain maps are asked for.
    """
    if options.gain_map is not None:
        raise InputError("gain maps are written on file systems alone; copy the folder here, or leave `gain_map` out")
    found = listed(source, recursive=recursive)
    if found is None:
        raise InputError(f"{source}: no such folder; check the address")
    pictures, previews, left_out = [], 0, Counter[str]()
    for name in found:
        path = PurePosixPath(name)
        if is_hidden(path):
            continue
        if path.suffix.lower() not in SUFFIXES:
            left_out[path.suffix.lower()] += 1
        elif name.lower().endswith(LOOKS):
            previews += 1
        else:
            pictures.append(cast("Path", path))
    if source == target:
        forget_own(left_out, options.suffix)
    if not pictures:
        raise nothing_found(source, left_out, deeper=False)
    pictures.sort(key=natural)
    names = name_outputs(pictures, options.suffix, previews=options.preview)
    pairs = zip(pictures, names, strict=True)
    jobs = tuple(Job(cast("Path", source / a), cast("Path", target / b), b.as_posix()) for a, b in pairs)
    check_overwriting(jobs, options.preview, str)
    notes = notes_of(source, jobs, options.suffix, left_out, previews)
    return FolderPlan(jobs, notes, dict(sorted(left_out.items())))


class AddressStore(Store):
    """Where inputs and outputs lie at addresses: both are listed once, when a run begins."""

    def __init__(self, source: Address, target: Address) -> None:
        self._inputs = {source / name: info for name, info in (listed(source, recursive=True) or {}).items()}
        self._outputs = {target / name: info for name, info in (listed(target, recursive=True) or {}).items()}

    def wanted(self, job: Job, settings: str, options: ConvertOptions) -> PlannedOutput | None:
        """Describe an input by what its store says of it."""
        info = self._inputs.get(cast("Address", job.source))
        return None if info is None else _wanted(job, info, settings, options)

    def size(self, path: Path) -> int | None:
        """Bytes of an output."""
        info = self._outputs.get(cast("Address", path))
        return None if info is None else int(info["size"])

    def missing(self, paths: Iterable[Path]) -> list[Path]:
        """None: each was put by itself, and its store said that it is there."""
        return []


def _wanted(job: Job, info: Mapping[str, Any], settings: str, options: ConvertOptions) -> PlannedOutput:
    return PlannedOutput(job.name, str(job.source), identity(info), settings, options.preview)


@dataclass(frozen=True)
class Staged:
    """A picture that was fetched.

    Attributes:
        job: on this machine.
        wanted: what the manifest is to say of it.
        far: the job at its addresses.
    """

    job: Job
    wanted: PlannedOutput
    far: Job

    def told(self, report: FileReport) -> FileReport:
        """Return a report with the addresses in the place of temporary files."""
        preview = None if report.preview is None else self.far.output.with_name(report.preview.name)
        return replace(report, source=self.far.source, output=self.far.output, preview=preview)


@contextmanager
def staged(job: Job, settings: str, options: ConvertOptions) -> Iterator[Staged]:
    """Fetch a picture for the block, and put all that the block writes beside the output where that belongs.

    Raises:
        InputError: it cannot be fetched.
        OutputError: an output cannot be put.
        DcdrError: of the block, with the addresses in the place of temporary files.
    """
    source = cast("Address", job.source)
    system, path = file_system(source)
    with near_folder() as folder:
        near = Job(folder / "in" / job.source.name, folder / "out" / job.output.name, job.name)
        for made in (near.source.parent, near.output.parent):
            made.mkdir()
        try:
            wanted = _wanted(job, system.info(path), settings, options)
            system.get_file(path, str(near.source))
        except FileNotFoundError as error:
            raise InputError(f"{source}: no such file; check the address") from error
        except Exception as error:  # of any package
            raise InputError(f"{source}: cannot be fetched ({one_line(error)})") from error
        try:
            yield Staged(near, wanted, job)
        except DcdrError as error:
            told = str(error).replace(str(near.source), str(source)).replace(str(near.output), str(job.output))
            raise type(error)(told) from error
        for file in sorted(near.output.parent.iterdir()):
            put(file, cast("Address", job.output.with_name(file.name)))
