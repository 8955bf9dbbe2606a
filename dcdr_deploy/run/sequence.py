"""Numbered files named by one pattern, as in C's printf: ``shot.%04d.png``."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from dcdr_deploy.errors import InputError

_CONVERSION = re.compile(r"%(?:(?P<percent>%)|(?P<width>\d*)(?P<kind>[A-Za-z]))")
_WIDEST = 9


@dataclass(frozen=True)
class Sequence:
    """A pattern.

    Attributes:
        folder: where its files lie.
        before, after: what stands around the number in their names.
        width: least number of digits; shorter numbers have zeros in front.
        text: the pattern as it was given.
    """

    folder: Path
    before: str
    after: str
    width: int
    text: str

    def path(self, number: int) -> Path:
        """The file of a number."""
        return self.folder / f"{self.before}{number:0{self.width}d}{self.after}"

    def files(self) -> dict[int, Path]:
        """The files that are there, by their numbers, in order.

        Raises:
            InputError: the folder cannot be listed, or holds none.
        """
        found = self.there()
        if not found:
            raise InputError(f"{self.text}: no file of this sequence is there; check folder, name and digits")
        return found

    def there(self) -> dict[int, Path]:
        """The files that are there, by their numbers, in order; there may be none.

        Raises:
            InputError: the folder cannot be listed.
        """
        shape = re.compile(re.escape(self.before) + r"(\d+)" + re.escape(self.after))
        found = {}
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    match = shape.fullmatch(entry.name)
                    # A number has one spelling: 0012 is none of %d, and 00012 none of %04d.
                    if match and self.path(int(match[1])).name == entry.name:
                        found[int(match[1])] = self.folder / entry.name
        except OSError as error:
            raise InputError(
                f"{self.text}: {self.folder} cannot be listed ({error.strerror}); check the path"
            ) from error
        return dict(sorted(found.items()))


def parse(text: str) -> Sequence | None:
    """Read a pattern; ``None`` where a name has no number to fill in.

    Raises:
        InputError: several numbers, one in a folder's name, or one that is no whole number with zeros in front.
    """
    found = [each for each in _CONVERSION.finditer(text) if not each["percent"]]
    if not any(each["kind"] == "d" for each in found):
        return None
    if len(found) > 1:
        raise InputError(f"{text}: has {len(found)} numbers to fill in; a sequence has one, such as %04d")
    (number,) = found
    width = number["width"]
    if (width and not width.startswith("0")) or len(width) > 2 or int(width or 0) > _WIDEST:
        raise InputError(f"{text}: {number[0]} is no frame number; use %d, or %04d for four digits")
    if os.sep in text[number.end() :] or "/" in text[number.end() :]:
        raise InputError(f"{text}: the frame number must be in the file's name, not in a folder's")
    folder, before = os.path.split(text[: number.start()])
    plain = [part.replace("%%", "%") for part in (folder, before, text[number.end() :])]
    return Sequence(Path(plain[0]), plain[1], plain[2], int(width or 0), text)


def refuse_other_conversions(name: str) -> None:
    """Refuse the name of a file that is not there where it looks like a pattern with another conversion than ``%d``.

    Raises:
        InputError: it does.
    """
    for found in _CONVERSION.finditer(name):
        if found["kind"] and (found["width"] or found["kind"] in "siux"):
            raise InputError(
                f"{name}: no such file, and {found[0]} is no frame number; use %d, or %04d for four digits"
            )


def gaps(numbers: list[int]) -> str:
    """The numbers that lack between the first and the last, such as ``"3, 7-9"``; empty without any.

    Args:
        numbers: ascending.
    """
    missing = []
    for left, right in itertools.pairwise(numbers):
        if right - left > 1:
            first, last = left + 1, right - 1
            missing.append(str(first) if first == last else f"{first}-{last}")
    return ", ".join(missing)
