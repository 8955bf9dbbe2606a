"""How the pictures of a pair are named, how they are found in folders, and which files there are none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from dcdr_deploy.errors import InputError
from dcdr_deploy.system.files import is_hidden, refuse_listing, refuse_no_path, refuse_pipe

PREVIEW_SUFFIX = ".preview.png"
"""What a preview's name ends with: ``out.exr`` has ``out.preview.png`` beside it."""

SHEET_SUFFIX = ".sheet.png"
"""What a sheet's name ends with: ``out.exr`` has ``out.sheet.png``."""

LOOKS = (PREVIEW_SUFFIX, SHEET_SUFFIX)
"""Endings of pictures that show another one: no part of any pair."""

NAME_ENDINGS = ("_leftImg8bit", "_leftImg16bit", "_ldr", "_sdr", "_hdr", "_gt", "_medium")
"""Endings that tell the pictures of a pair apart (Cityscapes, NTIRE 2021, usual habits); what remains must be equal."""

_NO_PICTURES = ("_alignratio", "_exposures")  # NumPy files beside the pictures of NTIRE 2021


def bare_name(stem: str) -> str:
    """A name, or a path, without suffix and without its :data:`NAME_ENDINGS`."""
    for ending in NAME_ENDINGS:
        stem = stem.removesuffix(ending)
    return stem


def is_beside_pictures(name: str) -> bool:
    """Whether a file is data about pictures and none itself."""
    stem, _, suffix = name.rpartition(".")
    return suffix.lower() == "npy" and stem.endswith(_NO_PICTURES)


def partners(wanted: dict[str, Path], there: dict[str, Path]) -> dict[str, str]:
    """For each name of ``wanted`` the one of ``there`` that goes with it: the same, or the same but for an ending.

    Raises:
        InputError: several could go with one.
    """
    found = {name: name for name in wanted if name in there}
    free: dict[str, list[str]] = {}
    for name in sorted(there.keys() - found.keys()):
        free.setdefault(bare_name(name), []).append(name)
    for name in sorted(wanted.keys() - found.keys()):
        candidates = free.get(bare_name(name), [])
        if len(candidates) > 1:
            raise InputError(f"{wanted[name]}: could go with {' and '.join(candidates)}; move one elsewhere")
        if candidates:
            found[name] = candidates.pop()
    return found


def pictures_by_name(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """The pictures below a folder by their names: relative path without the suffix, with slashes.

    Hidden files and folders, previews and sheets (:data:`LOOKS`) and files beside pictures are passed over.

    Args:
        folder: where to look, links included.
        suffixes: in lower case, with the dot.

    Raises:
        InputError: a folder that cannot be listed, holds no pictures, or two of one name.
    """
    found: dict[str, Path] = {}
    known = tuple(sorted(suffixes))
    for root, folders, files in os.walk(folder, onerror=refuse_listing, followlinks=True):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for file in sorted(files):
            path = Path(root) / file
            if is_hidden(file) or path.suffix.lower() not in known or file.lower().endswith(LOOKS):
                continue
            if is_beside_pictures(file):
                continue
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise InputError(f"{path}: {found[name].name} has the same name but for the suffix; move one elsewhere")
            found[name] = path
    if not found:
        raise InputError(f"{folder}: holds no pictures ({', '.join(known)})")
    return found


def is_folder(path: Path) -> bool:
    """Whether a path is a folder, and else a file.

    Raises:
        InputError: nothing there, an address, or a pipe.
    """
    refuse_no_path(path, InputError)
    refuse_pipe(path)
    # os.path and not pathlib: Path.exists and its like raise for names that are too long.
    if not os.path.exists(path):  # noqa: PTH110
        raise InputError(f"{path}: no such file or folder; check the path")
    return os.path.isdir(path)  # noqa: PTH112
