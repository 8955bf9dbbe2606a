"""A terminal that knows what can be seen on it."""

from __future__ import annotations

import io
import unicodedata


class Screen(io.StringIO):
    """A stream that says it is a terminal; of control characters it knows the two that a bar needs.

    Args:
        columns: where a line goes on in the next one.
        encoding: what the terminal says it takes.
    """

    def __init__(self, columns: int = 100, encoding: str = "utf-8") -> None:
        super().__init__(newline="")
        self._columns, self._encoding = columns, encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True

    @property
    def rows(self) -> list[str]:
        """Rows from the first to that of the cursor, without the spaces at their ends."""
        rows: list[list[str]] = [[]]
        at = 0
        for character in self.getvalue():
            if character == "\r":
                at = 0
            elif character == "\n":
                rows.append([])
                at = 0
            else:
                assert character.isprintable(), f"a terminal would obey {character!r}"
                cells = [character, *[""] * (unicodedata.east_asian_width(character) in "WF")]
                if at + len(cells) > self._columns:
                    rows.append([])
                    at = 0
                rows[-1][at : at + len(cells)] = cells
                at += len(cells)
        return ["".join(row).rstrip() for row in rows]
