"""Sheets of several pictures: where each goes, and one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcdr_deploy.errors import DcdrError, InputError
from dcdr_deploy.imaging.light import SDR_WHITE_NITS
from dcdr_deploy.imaging.pair_names import SHEET_SUFFIX
from dcdr_deploy.system.words import number_of, word_for
from dcdr_deploy.view.pairs import Files, with_inputs
from dcdr_deploy.view.picture import load
from dcdr_deploy.view.sheet import CELL, SUFFIXES, check_sheet, write_sheet


@dataclass(frozen=True)
class SheetSettings:
    """How sheets are drawn.

    Attributes:
        reference_white: cd/m2 of SDR white.
        cell: longest edge of one picture on the sheet, in pixels.
        full_scale: see :func:`dcdr_deploy.view.picture.load`.
    """

    reference_white: float = SDR_WHITE_NITS
    cell: int = CELL
    full_scale: float | None = None


@dataclass(frozen=True)
class SheetReport:
    """What became of one picture.

    Attributes:
        source: the HDR file.
        output: the sheet; ``None`` where it failed.
        size: (height, width) of the sheet.
        notes: sentences about how the picture was read.
        error: why there is no sheet.
    """

    source: Path
    output: Path | None = None
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        height, width = self.size or (None, None)
        return {
            "source": str(self.source),
            "output": None if self.output is None else str(self.output),
            "width": width,
            "height": height,
            "notes": list(self.notes),
            "error": self.error,
        }


def plan_sheets(
    sources: Sequence[Path], inputs: Path | None, output: Path | None, settings: SheetSettings
) -> tuple[tuple[Files, Path], ...]:
    """Say which sheets are made of which files, before any work.

    Args:
        sources: HDR files, or one folder of them.
        inputs: the SDR picture, or the folder of them.
        output: the sheet of one picture, or a folder, which is what a name without a suffix means; by default
            ``a.sheet.png`` in the working directory for ``hdr/a.exr``. Several sheets need a folder, in which they are
            called as the pictures are.
        settings: how they are drawn.

    Raises:
        InputError: nothing to show, several pictures and no folder for them, or a picture of somebody else in a sheet's
            place.
        OutputError: a suffix that no sheet has.
    """
    pairs = with_inputs(sources, inputs)
    several = len(pairs) > 1 or (len(sources) == 1 and sources[0].is_dir())
    if several and (output is None or output.is_file() or output.suffix.lower() in SUFFIXES):
        made = number_of(len(pairs), "picture of a folder makes a sheet", "pictures make as many sheets")
        raise InputError(f"{made}: `output` must name a folder for {word_for(len(pairs), 'it', 'them')}")
    if not several and output is not None and output.suffix and not output.is_dir():
        targets = [output]
    else:
        folder = output or Path()
        stems = [files.name if sources[0].is_dir() else files.hdr.stem for files in pairs]
        targets = [folder / f"{stem}{SHEET_SUFFIX}" for stem in stems]
    taken: set[Path] = set()
    for files, target in zip(pairs, targets, strict=True):
        shown = [each for each in (files.hdr, files.sdr) if each is not None]
        check_sheet(target, shown, reference_white=settings.reference_white, cell=settings.cell)
        if target in taken:
            raise InputError(f"{files.hdr}: its sheet would be {target} as another's; name the pictures apart")
        taken.add(target)
    return tuple(zip(pairs, targets, strict=True))


def make_sheets(plan: Sequence[tuple[Files, Path]], settings: SheetSettings) -> Iterator[SheetReport]:
    """Make the sheets of a plan; yield a report for each. Of several, those that fail are reported.

    Raises:
        DcdrError: the only picture cannot be read, or its sheet not written.
    """
    for files, target in plan:
        try:
            picture = load(files.hdr, files.sdr, full_scale=settings.full_scale)
            size = write_sheet(picture, target, reference_white=settings.reference_white, cell=settings.cell)
        except DcdrError as error:
            if len(plan) == 1:
                raise
            yield SheetReport(files.hdr, error=str(error))
        else:
            yield SheetReport(files.hdr, target, size, picture.notes)
