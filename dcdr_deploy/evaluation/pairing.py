"""Which prediction belongs to which ground truth, and to which SDR picture: by relative path without the suffix.

Where that finds no partner, endings that data sets put to the names do not count: ``0001_gt`` is the truth of
``0001_medium`` (NTIRE 2021), ``a_hdr`` that of ``a_ldr``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.formats import SUFFIXES
from dcdr_deploy.imaging.pair_names import bare_name, is_beside_pictures
from dcdr_deploy.imaging.read_hdr import HDR_SUFFIXES
from dcdr_deploy.run.outputs import PREVIEW_SUFFIX

Note = Callable[[str], None]


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
    prediction: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    ldr: str | os.PathLike[str] | None = None,
    *,
    partial: bool = False,
    note: Note = lambda sentence: None,
) -> tuple[PairFiles, ...]:
    """Pair two files, or the pictures of two folders and their sub-folders.

    ``a/b.exr`` belongs to ``a/b.png``: the suffix does not count. Hidden files and ``*.preview.png`` are left out. The
    folders of predictions and of SDR pictures may hold more than there are truths.

    Args:
        prediction, truth, ldr: files or folders.
        partial: leave truths without a prediction out, too.
        note: told what is left out.

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
    return _pairs_of_folders(predictions, truths, sdr, partial, note)


def _pairs_of_folders(
    predictions: Path, truths: Path, sdr: Path | None, partial: bool, note: Note
) -> tuple[PairFiles, ...]:
    predicted, expected = _by_name(predictions, HDR_SUFFIXES), _by_name(truths, HDR_SUFFIXES)
    partner = _partners(expected, predicted)
    lonely = sorted(expected.keys() - partner.keys())
    if lonely and not (partial and partner):
        raise _without(expected, lonely, "prediction", predictions)
    if lonely:
        note(f"{truths}: {_count(lonely, 'truth')} without a prediction left out")
    extra = sorted(predicted.keys() - set(partner.values()))
    if extra:
        note(f"{predictions}: {_count(extra, 'prediction')} without a ground truth left out")
    shown: dict[str, Path] = {}
    if sdr is not None:
        sdr_pictures = _by_name(sdr, SUFFIXES)
        sdr_partner = _partners({name: expected[name] for name in partner}, sdr_pictures)
        without = sorted(partner.keys() - sdr_partner.keys())
        if without:
            raise _without(expected, without, "SDR picture", sdr)
        shown = {name: sdr_pictures[other] for name, other in sdr_partner.items()}
    return tuple(PairFiles(name, predicted[partner[name]], expected[name], shown.get(name)) for name in sorted(partner))


def _partners(wanted: dict[str, Path], there: dict[str, Path]) -> dict[str, str]:
    """For each name of ``wanted`` the one of ``there`` that goes with it: the same, or the same but for an ending."""
    found = {name: name for name in wanted if name in there}
    free: dict[str, list[str]] = {}
    for name in sorted(there.keys() - found.keys()):
        free.setdefault(bare_name(name), []).append(name)
    for name in sorted(wanted.keys() - found.keys()):
        candidates = free.get(bare_name(name), [])
        if len(candidates) > 1:
            raise InputError(f"{wanted[name]}: could go with {' and '.join(candidates)}; remove one")
        if candidates:
            found[name] = candidates.pop()
    return found


def _count(names: list[str], what: str) -> str:
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'} ({', '.join(names[:3])}{', ...' if names[3:] else ''})"


def _without(files: dict[str, Path], missing: list[str], what: str, folder: Path) -> InputError:
    others = f"; so have {len(missing) - 1} others" if len(missing) > 1 else ""
    partial = "; --partial leaves it out" if what == "prediction" else ""
    return InputError(f"{files[missing[0]]}: has no {what}, which would be {folder / missing[0]}.*{others}{partial}")


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
            if is_beside_pictures(file):
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
