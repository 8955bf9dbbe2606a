"""What is done with every frame of a video, and where the pictures go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.passes import Finished, Signal
from dcdr_deploy.run.dials import Dials
from dcdr_deploy.run.recovery import Recovery
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.video.frames import Picture
from dcdr_deploy.run.video.steady_in_turn import Renewed
from dcdr_deploy.run.video.yuv import Planes
from dcdr_deploy.run.working_scale import Scale

Made = TypeVar("Made")


@dataclass(frozen=True)
class Restoring:
    """What is done with every frame.

    Attributes:
        runner: with the network.
        scale: at which size it works.
        dials: how much of what it found.
        steadying: what is done with it before, frame after frame; ``None`` leaves every frame on its own. A picture
            that repeats the one before is not shown to it.
    """

    runner: Runner
    scale: Scale
    dials: Dials
    steadying: Renewed | None = None


class Sink(Protocol[Made]):
    """Where pictures go."""

    def make(self, picture: Picture, linear: NDArray[np.float32]) -> Made:
        """Make of light, (H, W, 3) float32 in network units, what is written; called on several threads at a time.

        The light may be overwritten.

        Raises:
            OutputError, OSError: it cannot be written.
        """

    def write(self, picture: Picture, made: Made, recovery: Recovery, *, repeated: bool) -> None:
        """Write a picture; called in their order.

        Args:
            picture: without its pixels.
            made: of it, or of the picture before where it repeats that.
            recovery: of what had clipped in it.
            repeated: it is the same as the one before.

        Raises:
            OutputError, OSError: it cannot be written.
        """

    def finish(self) -> None:
        """Write what is held back, after the last picture of a run that was not ended early.

        Raises:
            OutputError, OSError: it cannot be written.
        """


@runtime_checkable
class TakesSamples(Protocol):
    """A sink of pictures that are samples in the end, which a device may make of light."""

    def signal(self, restoring: Restoring) -> Signal:
        """Return how light becomes samples."""

    def samples(self, linear: NDArray[np.float32]) -> Planes:
        """Return the samples Y', Cb and Cr of light, (H, W, 3) in network units, made by the processor."""

    def make_of_samples(self, size: tuple[int, int], write: Callable[[Planes], Finished]) -> tuple[Any, Finished]:
        """Make what is written of a frame of a size, whose samples ``write`` puts where they belong.

        Args:
            size: (H, W) in pixels.
            write: called with arrays for Y', Cb and Cr; what it returns is returned too.
        """
