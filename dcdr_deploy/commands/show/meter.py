"""The line of a bar: how far something is, how long it takes, and which of that a terminal's width has room for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

CAPTION, COUNT, NAME, BAR, PERCENT, ELAPSED, LEFT, REMAINING = (
    "caption", "count", "name", "bar", "percent", "elapsed", "left", "remaining",
)  # fmt: skip
"""Columns of a bar: a text of the command's own, "3/10", the stage, the bar itself, its percentage, the time since it
began, the word "left", and the time that is."""

_FORMATS = {
    CAPTION: "{caption}",
    COUNT: "{count}",
    NAME: "{desc}",
    BAR: "|{bar}|",
    PERCENT: "{percentage:3.0f}%",
    ELAPSED: "{taken}",
    LEFT: "left",
    REMAINING: "{remaining}",
}
"""Columns in fields of tqdm, and in three of our own: ``caption``, ``count``, ``taken``."""

_GIVE_WAY: tuple[Collection[str], ...] = (
    (),
    (ELAPSED,),
    (ELAPSED, BAR),
    (ELAPSED, BAR, NAME),
    (ELAPSED, BAR, NAME, LEFT, REMAINING),
)
"""What is left out where the terminal is narrow, the first that suffices."""
_NAME = 12
"""Characters of a name that stay before a column is left out."""
_SHORTEST, _USUAL, _LONGEST = 5, 10, 40
"""Characters of the bar; in the middle those that tqdm gives it where no width is named."""
_RUNNER, _SPEED = 4, 10.0
"""Characters of what runs to and fro where the end is not known, and its steps in a second."""


@dataclass
class Work:
    """How far something is.

    Attributes:
        began: when the stage began, in seconds of the caller's clock.
        name, caption: the stage, and the command's own text.
        done, total: in the same unit; ``None`` where the end is not known.
    """

    began: float
    name: str = ""
    caption: str = ""
    done: float = 0
    total: float | None = None

    def __post_init__(self) -> None:
        self._counted_since = self._counted_until = self.began
        self._before = self.done

    def follow(self, done: float, total: float | None, now: float) -> None:
        """Go on to ``done`` of ``total``.

        A stage whose end is not known begins anew. The speed is that from where the total was told first, so that what
        an earlier run did, or another stage, does not count as fast, to where something was told last, so that what is
        left does not grow while something that takes long is under way.
        """
        if total is None:
            self.began = now
        if total != self.total or done < self._before:
            self._counted_since, self._before = now, done
        self._counted_until = now
        self.done, self.total = done, total

    def line(self, columns: Collection[str], now: float, width: int, *, ascii_only: bool) -> str:
        """Return the line.

        Args:
            columns: in their order.
            now: in seconds of the same clock as ``began``.
            width: characters that the line may take.
            ascii_only: draw the bar with ``#``.
        """
        from tqdm import tqdm
        from tqdm.utils import disp_len, disp_trim

        fields = {
            # Beyond its end, as of a video that has more frames than it says, tqdm would draw an empty bar.
            "n": self.done if self.total is None else min(self.done, self.total),
            "total": self.total,
            "elapsed": self._counted_until - self._counted_since,
            "initial": self._before,
            "ascii": ascii_only,
            "caption": self.caption,
            "count": _count(self.done, self.total),
            "taken": tqdm.format_interval(now - self.began),
        }
        empty = {column for column, text in ((CAPTION, self.caption), (NAME, self.name)) if not text}
        for left_out in _GIVE_WAY:
            kept = [column for column in columns if column not in empty and column not in left_out]
            layout = " ".join(_FORMATS[column] for column in kept)
            if self.total is None:
                layout = layout.replace("{bar}", _running(now, "#" if ascii_only else "\u2588"))
            rest = disp_len(tqdm.format_meter(**fields, bar_format=layout, ncols=None))
            rest -= _USUAL - _SHORTEST if "{bar}" in layout else 0
            name = self.name if NAME in kept else ""
            room = width - rest
            if room >= min(disp_len(name), _NAME):
                break
        name = _shortened(name, max(room, 0))
        full = rest + disp_len(name) + _LONGEST - _SHORTEST
        line = tqdm.format_meter(**fields, prefix=name, bar_format=layout, ncols=min(width, full))
        return str(disp_trim(line, width))  # which tqdm itself leaves out at times


def _count(done: float, total: float | None) -> str:
    whole = "?" if total is None else f"{total:.0f}"
    return f"{done:.0f}".rjust(len(whole)) + f"/{whole}"


def _running(now: float, character: str) -> str:
    """A block that runs to and fro."""
    way = _LONGEST // 2 - _RUNNER
    place = int(now * _SPEED) % (2 * way)
    before = min(place, 2 * way - place)
    return " " * before + character * _RUNNER + " " * (way - before)


def _shortened(name: str, width: int) -> str:
    from tqdm.utils import disp_len, disp_trim

    return name if disp_len(name) <= width else f"{disp_trim(name, max(width - 3, 0))}..."
