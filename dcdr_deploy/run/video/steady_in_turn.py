"""Frames steadied several at a time: only the mean itself waits for that of the frame before."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcdr_deploy.run.gain import ExcessField, WorkingPicture
from dcdr_deploy.run.video.turns import Turns

if TYPE_CHECKING:  # brings OpenCV
    from dcdr_deploy.run.video.steady import Steadying, View


@dataclass(frozen=True)
class Renewed:
    """What steadies frames, made anew at every so many of them.

    Attributes:
        make: returns what steadies consecutive frames.
        frames: for how many it is used.
    """

    make: Callable[[], Steadying]
    frames: int


@dataclass(frozen=True)
class Place:
    """Of a frame among those that are steadied.

    Attributes:
        number: from 0.
        steadying: what its mean is taken with.
        before: view of the one before; ``None`` where steadying begins anew.
        now: its own.
        turns: for the means.
        waited: told of the seconds until its turn came.
    """

    number: int
    steadying: Steadying
    before: View | None
    now: View
    turns: Turns
    waited: Callable[[float], None]

    def steady(self, field: ExcessField, picture: WorkingPicture) -> ExcessField:
        """Steady what was found, once, on any thread; a :data:`~dcdr_deploy.run.restore.Steady`.

        Raises:
            OutOfTurn: it failed for a frame before.
        """
        from dcdr_deploy.run.video.steady import Step

        step = Step.of(field, picture, self.before, self.now)
        asked = time.perf_counter()
        with self.turns.turn(self.number):
            self.waited(time.perf_counter() - asked)
            return self.steadying.mean(step)


class SteadyingInTurn:
    """Gives the frames of a run their places."""

    def __init__(self, renewed: Renewed, waited: Callable[[float], None]) -> None:
        """Set up.

        Args:
            renewed: what steadies them.
            waited: as of :class:`Place`.
        """
        self._renewed = renewed
        self._waited = waited
        self._turns = Turns()
        self._last: Place | None = None

    def view(self, picture: WorkingPicture) -> View:
        """Return what :meth:`place` wants of a frame; from any thread."""
        from dcdr_deploy.run.video.steady import view_of

        return view_of(picture)

    def place(self, number: int, view: View) -> Place:
        """Return the place of the next frame; in their order.

        Args:
            number: of the frame in the run, those that repeat another counted.
            view: of the frame.
        """
        last = self._last
        place = 0 if last is None else last.number + 1
        if last is None or number % self._renewed.frames == 0:
            self._last = Place(place, self._renewed.make(), None, view, self._turns, self._waited)
        else:
            self._last = Place(place, last.steadying, last.now, view, self._turns, self._waited)
        return self._last

    def stop(self) -> None:
        """Let nobody wait for a turn that does not come."""
        self._turns.stop()
