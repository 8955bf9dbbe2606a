"""Which files are shown together: an HDR picture, and the SDR picture that it was made from where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.decoders import exr, numpy_array, radiance
from dcdr_deploy.imaging.formats import SUFFIXES
from dcdr_deploy.imaging.pair_names import is_folder, partners, pictures_by_name
from dcdr_deploy.imaging.read_hdr import GAIN_MAP_SUFFIXES, HDR_SUFFIXES

_ALWAYS_HDR = (exr.MAGIC, radiance.MAGIC, numpy_array.MAGIC)
"""How formats begin that no SDR picture has."""


@dataclass(frozen=True)
class Files:
    """The files of one picture.

    Attributes:
        name: what tells it from the others: in folders the relative path without suffix, else the HDR file's name.
        hdr: the HDR file.
        sdr: the picture that it was made from.
    """

    name: str
    hdr: Path
    sdr: Path | None = None


def in_a_row(paths: Sequence[Path]) -> tuple[Files, ...]:
    """Pair what was named in a row: two folders, one folder of HDR pictures, or files.

    Of files, an input stands before its output: ``in.jpg out.exr in2.jpg out2.exr``. A file that can only be HDR
    where an input is due, or the last one without a partner, is shown on its own.

    Args:
        paths: at least one.

    Raises:
        InputError: nothing there, files and folders mixed, more than two folders, a folder without pictures.
    """
    folders = [path for path in paths if is_folder(path)]
    if not folders:
        return _of_files(paths)
    if len(folders) < len(paths):
        raise InputError(f"{folders[0]}: is a folder among files; name files, or a folder of inputs and one of outputs")
    if len(folders) > 2:
        raise InputError(f"{folders[2]}: a third folder; name the folder of inputs and that of outputs")
    return of_folder(folders[-1], folders[0] if len(folders) == 2 else None)


def of_folder(hdr: Path, sdr: Path | None = None) -> tuple[Files, ...]:
    """The HDR pictures of a folder and its sub-folders, with their inputs of the same name from another folder.

    Raises:
        InputError: no folders, or nothing in them that goes together.
    """
    outputs = _hdr_pictures(hdr)
    if sdr is None:
        return tuple(Files(name, path) for name, path in sorted(outputs.items()))
    if not is_folder(sdr):
        raise InputError(f"{sdr}: is a file, but {hdr} is a folder; name the folder of the inputs")
    inputs = pictures_by_name(sdr, SUFFIXES)
    partner = partners(outputs, inputs)
    if not partner:
        raise InputError(f"{hdr}: no picture there has the name of one in {sdr}; name the inputs first")
    return tuple(
        Files(name, path, inputs[partner[name]] if name in partner else None) for name, path in sorted(outputs.items())
    )


def with_inputs(hdr: Sequence[Path], sdr: Path | None) -> tuple[Files, ...]:
    """Pair HDR files, or one folder of them, with their input, or with those of a folder.

    Raises:
        InputError: nothing there, a folder among files, one input for several pictures.
    """
    if len(hdr) == 1 and is_folder(hdr[0]):
        return of_folder(hdr[0], sdr)
    for path in hdr:
        if is_folder(path):
            raise InputError(f"{path}: is a folder among files; name files, or one folder")
    if sdr is None or not is_folder(sdr):
        if sdr is not None and len(hdr) > 1:
            raise InputError(f"{sdr}: is one input for {len(hdr)} pictures; name the folder of their inputs")
        return tuple(Files(path.name, path, sdr) for path in hdr)
    inputs = pictures_by_name(sdr, SUFFIXES)
    partner = partners({path.stem: path for path in hdr}, inputs)
    return tuple(Files(path.name, path, inputs[partner[path.stem]] if path.stem in partner else None) for path in hdr)


def _hdr_pictures(folder: Path) -> dict[str, Path]:
    """Those of formats for HDR; JPEGs, which may have a gain map, where there is nothing else."""
    try:
        return pictures_by_name(folder, HDR_SUFFIXES)
    except InputError:
        return pictures_by_name(folder, (*HDR_SUFFIXES, *GAIN_MAP_SUFFIXES))


def _of_files(paths: Sequence[Path]) -> tuple[Files, ...]:
    pairs: list[Files] = []
    waiting: Path | None = None
    for path in paths:
        if waiting is not None:
            pairs.append(Files(path.name, path, waiting))
            waiting = None
        elif _is_always_hdr(path):
            pairs.append(Files(path.name, path))
        else:
            waiting = path
    if waiting is not None:
        pairs.append(Files(waiting.name, waiting))
    return tuple(pairs)


def _is_always_hdr(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16).startswith(_ALWAYS_HDR)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
