"""Large arrays that are used again: the first touch of fresh memory costs more than a pass over it.

Beyond 32 MiB every array is memory that the system has just cleared, and below that what one thread gives back another
does not get.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Kind = TypeVar("Kind", bound=np.generic)


class Buffers:
    """Arrays that nobody uses any more, for whatever thread needs one; all methods from any thread.

    It holds no more of them than were in use at a time.
    """

    def __init__(self) -> None:
        self._spare: list[NDArray[Any]] = []
        self._lent: set[int] = set()  # where those begin that are in use

    def take(self, shape: tuple[int, ...], kind: type[Kind]) -> NDArray[Kind]:
        """Return a C-contiguous array that holds anything; a spare one if there is one of as many bytes."""
        size = math.prod(shape) * np.dtype(kind).itemsize
        found = np.empty(0, np.uint8)
        while found.size != size:
            try:
                found = self._spare.pop()
            except IndexError:
                found = np.empty(size, np.uint8)
        self._lent.add(_place(found))
        return found.view(kind).reshape(shape)

    def give(self, array: NDArray[Any]) -> None:
        """Take back what :meth:`take` gave, which nobody may use from now on; other arrays are left alone."""
        try:
            self._lent.remove(_place(array))
        except KeyError:
            return
        self._spare.append(array.reshape(-1).view(np.uint8))


def _place(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
