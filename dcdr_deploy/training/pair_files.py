"""Folders of aligned pairs: 8-bit SDR and linear HDR pictures by file name, incl. the Cityscapes layout."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.formats import SUFFIXES
from dcdr_deploy.imaging.pair_names import bare_name, pictures_by_name
from dcdr_deploy.imaging.read_hdr import HDR_SUFFIXES

CITYSCAPES = ("leftImg8bit", "leftImg16bit")


@dataclass(frozen=True)
class TrainingFiles:
    """One aligned pair on disk: 8-bit SDR and linear HDR of the same size."""

    ldr: Path
    hdr: Path


def find_training_files(ldr_root: Path, hdr_root: Path) -> list[TrainingFiles]:
    """Match pictures of two folder trees by their relative path without suffix and without endings (``pair_names``).

    Raises:
        InputError: a folder is missing, holds no pictures, or a picture has no partner (the first few are named).
    """
    ldr, hdr = _by_key(ldr_root, SUFFIXES), _by_key(hdr_root, HDR_SUFFIXES)
    lonely = sorted(str(files[key]) for files, other in ((ldr, hdr), (hdr, ldr)) for key in files.keys() - other.keys())
    if lonely:
        more = f" and {len(lonely) - 3} more" if len(lonely) > 3 else ""
        raise InputError(f"pictures without a partner of the same name: {', '.join(lonely[:3])}{more}")
    return [TrainingFiles(ldr[key], hdr[key]) for key in sorted(ldr)]


def find_cityscapes(root: Path, split: str = "train") -> list[TrainingFiles]:
    """Pairs of the Cityscapes layout: ``leftImg8bit/<split>/<city>/*`` and ``leftImg16bit/<split>/<city>/*``.

    Raises:
        InputError: as :func:`find_training_files`.
    """
    ldr, hdr = (root / kind / split for kind in CITYSCAPES)
    return find_training_files(ldr, hdr)


def is_cityscapes(root: Path) -> bool:
    """Whether a folder has the Cityscapes layout."""
    return all((root / kind).is_dir() for kind in CITYSCAPES)


def _by_key(root: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; check the path")
    files: dict[str, Path] = {}
    for name, path in pictures_by_name(root, suffixes).items():
        key = bare_name(name)
        if key in files:
            raise InputError(f"{files[key]} and {path} would be the same picture of a pair; move one elsewhere")
        files[key] = path
    return files
