"""Work that several threads do side by side, and whose results are taken in the order of their numbers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class OutOfTurn(Exception):
    """A turn before this one failed, so that this one never comes."""


class Turns:
    """Lets numbers 0, 1, 2, ... pass one after the other."""

    def __init__(self) -> None:
        self._next = 0
        self._broken = False
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Wait until all numbers below have passed; while the block runs no other one's does.

        Raises:
            OutOfTurn: the block of a number below ended with an exception.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._broken or self._next == number)
            if self._broken:
                raise OutOfTurn
        try:
            yield
        except BaseException:
            self.stop()
            raise
        with self._changed:
            self._next = number + 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Let no further number pass."""
        with self._changed:
            self._broken = True
            self._changed.notify_all()
