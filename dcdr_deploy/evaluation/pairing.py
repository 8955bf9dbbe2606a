"""Which prediction belongs to which ground truth, and to which SDR picture: by relative path without the suffix."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.formats import SUFFIXES
from dcdr_deploy.imaging.read_hdr import HDR_SUFFIXES
from dcdr_deploy.run.outputs import PREVIEW_SUFFIX


@dataclass(frozen=True)
class PairFiles:
    """The files of one pair.

    Attributes:
        name: relative path without suffix, with slashes; of single files the truth's name.
        prediction, truth: HDR files.
        ldr: the 8-bit picture that the prediction was made from, ``None`` where none was asked for.
    """

    name: str
    prediction: Path
    truth: Path
    ldr: Path | None = None


def find_pairs(
    prediction: str | os.PathLike[str], truth: str | os.PathLike[str], ldr: str | os.PathLike[str] | None = None
) -> tuple[PairFiles, ...]:
    """Pair two files, or the pictures of two folders and their sub-folders.

    ``a/b.exr`` belongs to ``a/b.png``: the suffix does not count. Hidden files and ``*.preview.png`` are left out. The
    folder of SDR pictures may hold more than is asked for.

    Raises:
        InputError: a path that is missing or of the wrong kind, a folder without pictures, two files of one name, a
            picture without its partner.
    """
    predictions, truths = Path(prediction), Path(truth)
    sdr = None if ldr is None else Path(ldr)
    kinds = {path: _is_folder(path) for path in (predictions, truths, sdr) if path is not None}
    if kinds[predictions] != kinds[truths]:
        raise InputError(f"{truths}: {predictions} and this must both be files or both be folders")
    if not kinds[predictions]:
        if sdr is not None and kinds[sdr]:
            raise InputError(f"{sdr}: is a folder, but {truths} is a file; name a file")
        return (PairFiles(truths.stem, predictions, truths, sdr),)
    if sdr is not None and not kinds[sdr]:
        raise InputError(f"{sdr}: is a file, but {truths} is a folder; name a folder")
    return _pairs_of_folders(predictions, truths, sdr)


def _pairs_of_folders(predictions: Path, truths: Path, sdr: Path | None) -> tuple[PairFiles, ...]:
    predicted = _by_name(predictions, HDR_SUFFIXES)
    expected = _by_name(truths, HDR_SUFFIXES)
    _complete(expected, predicted, "prediction", predictions)
    _complete(predicted, expected, "ground truth", truths)
    shown: dict[str, Path] = {}
    if sdr is not None:
        shown = _by_name(sdr, SUFFIXES)
        _complete(expected, shown, "SDR picture", sdr)
    return tuple(PairFiles(name, predicted[name], expected[name], shown.get(name)) for name in sorted(expected))


def _complete(wanted: dict[str, Path], there: Collection[str], what: str, folder: Path) -> None:
    missing = sorted(name for name in wanted if name not in there)
    if missing:
        others = f"; so have {len(missing) - 1} others" if len(missing) > 1 else ""
        raise InputError(f"{wanted[missing[0]]}: has no {what}, which would be {folder / missing[0]}.*{others}")


def _by_name(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """The pictures below a folder by their names."""
    found: dict[str, Path] = {}
    known = tuple(sorted(suffixes))
    for root, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            path = Path(root) / file
            if file.startswith(".") or path.suffix.lower() not in known or file.lower().endswith(PREVIEW_SUFFIX):
                continue
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise InputError(f"{path}: {found[name].name} has the same name but for the suffix; remove one")
            found[name] = path
    if not found:
        raise InputError(f"{folder}: holds no pictures ({', '.join(known)})")
    return found


def _is_folder(path: Path) -> bool:
    # os.path and not pathlib: Path.exists and its like raise for names that are too long.
    if not os.path.exists(path):  # noqa: PTH110
        raise InputError(f"{path}: no such file or folder; check the path")
    return os.path.isdir(path)  # noqa: PTH112


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be listed ({error.strerror}); mend its permissions") from error
