"""Which prediction belongs to which ground truth, and to which SDR picture: by relative path without the suffix.

Where that finds no partner, endings that data sets put to the names do not count: ``0001_gt`` is the truth of
``0001_medium`` (NTIRE 2021), ``a_hdr`` that of ``a_ldr``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.formats import SUFFIXES
from dcdr_deploy.imaging.pair_names import is_folder, partners, pictures_by_name
from dcdr_deploy.imaging.read_hdr import GAIN_MAP_SUFFIXES, HDR_SUFFIXES
from dcdr_deploy.system.progress import Event, Listener, silent
from dcdr_deploy.system.words import number_of, word_for


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
    gain_maps: bool = False,
    listener: Listener = silent,
) -> tuple[PairFiles, ...]:
    """Pair two files, or the pictures of two folders and their sub-folders.

    ``a/b.exr`` belongs to ``a/b.png``: the suffix does not count. Hidden files and ``*.preview.png`` are left out. The
    folders of predictions and of SDR pictures may hold more than there are truths.

    Args:
        prediction, truth, ldr: files or folders.
        partial: leave truths without a prediction out, too.
        gain_maps: look for JPEG too, which is HDR by a gain map only.
        listener: told what is left out, in notes.

    Raises:
        InputError: a path that is missing or of the wrong kind, a folder without pictures, two files of one name, a
            picture without its partner.
    """
    predictions, truths = Path(prediction), Path(truth)
    sdr = None if ldr is None else Path(ldr)
    kinds = {path: is_folder(path) for path in (predictions, truths, sdr) if path is not None}
    if kinds[predictions] != kinds[truths]:
        raise InputError(f"{truths}: {predictions} and this must both be files or both be folders; name two of a kind")
    if not kinds[predictions]:
        if sdr is not None and kinds[sdr]:
            raise InputError(f"{sdr}: is a folder, but {truths} is a file; name a file")
        return (PairFiles(truths.stem, predictions, truths, sdr),)
    if sdr is not None and not kinds[sdr]:
        raise InputError(f"{sdr}: is a file, but {truths} is a folder; name a folder")
    suffixes = (*HDR_SUFFIXES, *(GAIN_MAP_SUFFIXES if gain_maps else ()))
    return _pairs_of_folders(predictions, truths, sdr, suffixes, partial, listener)


def _pairs_of_folders(
    predictions: Path, truths: Path, sdr: Path | None, suffixes: tuple[str, ...], partial: bool, listener: Listener
) -> tuple[PairFiles, ...]:
    predicted, expected = pictures_by_name(predictions, suffixes), pictures_by_name(truths, suffixes)
    partner = partners(expected, predicted)
    lonely = sorted(expected.keys() - partner.keys())
    if lonely and not (partial and partner):
        raise _without(expected, lonely, "prediction", predictions)
    if lonely:
        listener(Event(note=f"{truths}: {_count(lonely, 'truth')} without a prediction left out"))
    extra = sorted(predicted.keys() - set(partner.values()))
    if extra:
        listener(Event(note=f"{predictions}: {_count(extra, 'prediction')} without a ground truth left out"))
    shown: dict[str, Path] = {}
    if sdr is not None:
        sdr_pictures = pictures_by_name(sdr, SUFFIXES)
        sdr_partner = partners({name: expected[name] for name in partner}, sdr_pictures)
        without = sorted(partner.keys() - sdr_partner.keys())
        if without:
            raise _without(expected, without, "SDR picture", sdr)
        shown = {name: sdr_pictures[other] for name, other in sdr_partner.items()}
    return tuple(PairFiles(name, predicted[partner[name]], expected[name], shown.get(name)) for name in sorted(partner))


def _count(names: list[str], what: str) -> str:
    return f"{number_of(len(names), what)} ({', '.join(names[:3])}{', ...' if names[3:] else ''})"


def _without(files: dict[str, Path], missing: list[str], what: str, folder: Path) -> InputError:
    count = len(missing) - 1
    others = f"; so {word_for(count, 'has', 'have')} {number_of(count, 'other')}" if count else ""
    partial = "; `partial` leaves it out" if what == "prediction" else ""
    return InputError(f"{files[missing[0]]}: has no {what}, which would be {folder / missing[0]}.*{others}{partial}")
