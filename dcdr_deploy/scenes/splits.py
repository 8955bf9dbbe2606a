"""Which photographs and panoramas belong to which split: lists that were drawn once and are data, not code.

A list is a table of tab-separated columns with a head line. ``name`` is a file's folder and stem ("gh-budgie/003"),
``split`` is train, validation or test, and ``sha256`` belongs to the decoded pixels, so that a copy can be checked
however it was compressed. A panorama with a ``better_copy`` is left out where that copy is at hand.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dcdr_deploy.errors import InputError
from dcdr_deploy.system.files import files_in

SPLITS = ("train", "validation", "test")
PHOTOGRAPH_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
PANORAMA_SUFFIXES = (".exr", ".hdr")


@dataclass(frozen=True)
class SplitEntry:
    """A line of a list.

    Attributes:
        name: folder and stem of the file.
        split: one of :data:`SPLITS`.
        place: what shows the same place or belongs to the same series has the same; a split holds all of it or none.
        sha256: of the decoded pixels, see :func:`pixel_digest`.
        better_copy: name of a better copy of the same panorama, or empty.
    """

    name: str
    split: str
    place: str
    sha256: str
    better_copy: str = ""


def read_split(path: Path) -> dict[str, SplitEntry]:
    """Entries of a list by name.

    Raises:
        InputError: the file cannot be read as a list, or names a split that there is not.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        entries = [
            SplitEntry(
                row["name"],
                row["split"],
                row.get("place") or row["series"],
                row["sha256"],
                row.get("better_copy") or "",
            )
            for row in rows
        ]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no list of a split (columns name, split, series or place, sha256)") from error
    for entry in entries:
        if entry.split not in SPLITS:
            raise InputError(f"{path}: {entry.name} is in the split {entry.split!r}; known: {', '.join(SPLITS)}")
    return {entry.name: entry for entry in entries}


def name_of(path: Path) -> str:
    """The name under which lists know a file: its folder and stem."""
    return f"{path.parent.name}/{path.stem}"


def files_of(
    folders: Iterable[Path], suffixes: Sequence[str], entries: dict[str, SplitEntry], split: str
) -> list[Path]:
    """Files under some folders that belong to a split, sorted by name; there may be none. Hidden ones are passed over.

    What ``entries`` does not name belongs to the split that a folder above it is called by, or else to train.

    Raises:
        InputError: a folder is missing.
    """
    found: dict[str, Path] = {}
    of: dict[str, str] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; check the path")
        for path in files_in(folder, suffixes, below=True):
            name = name_of(path)
            if name in found:
                continue
            above = path.relative_to(folder).parts[:-1]
            found[name] = path
            of[name] = entries[name].split if name in entries else next((s for s in SPLITS if s in above), "train")
    return [
        path
        for name, path in sorted(found.items())
        if of[name] == split and not (name in entries and entries[name].better_copy in found)
    ]


def files_for(folders: Sequence[Path], suffixes: Sequence[str], lists: Iterable[Path], split: str) -> list[Path]:
    """Files of a split by some lists, at least one; the rest as :func:`files_of`.

    Raises:
        InputError: a folder is missing, a list cannot be read, or nothing belongs to the split.
    """
    entries = {name: entry for path in lists for name, entry in read_split(path).items()}
    files = files_of(folders, suffixes, entries, split)
    if not files:
        places = ", ".join(map(str, folders))
        raise InputError(
            f"{places}: no {' or '.join(suffixes)} file for {split}; a folder of that name or `lists` says what is"
        )
    return files


def pixel_digest(pixels: npt.NDArray[np.generic]) -> str:
    """SHA-256 of decoded pixels: 8-bit RGB of a photograph, or float32 RGB of a panorama, row by row."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
