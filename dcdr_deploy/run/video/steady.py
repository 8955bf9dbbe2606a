"""What the network found, steadied over the frames of a video: a recursive mean along the motion of the picture.

Frames are restored one by one, and noise and compression make the network's guesses differ from frame to frame.
Averaged is log2(1 + excess), the gain of a fully clipped pixel in stops, cell by cell of the working picture. Each mean
has a *weight*, the number of frames that it stands for, each by its certainty: it counts for nothing where nothing had
clipped before, where it comes from outside of the picture, where no motion was found, and after a cut. So the filter is
a running mean that begins anew wherever it must, and an exponential one where it has stood long enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.transfer import luminance
from dcdr_deploy.run.gain import ExcessField, WorkingPicture, largest_channel
from dcdr_deploy.run.video.cuts import Histograms, histograms, is_cut
from dcdr_deploy.run.video.motion import Motion, block_motion
from dcdr_deploy.system.strips import for_strips

MISMATCH = 0.08
"""Difference of luma after the motion (white is 1) at which the past counts by 1/e."""

CHANGE = 1.0
"""Stops by which a finding must differ from the mean before it for the past to count by 1/e: light that changes."""

Light = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """What of a frame tells where its points are in the next one: luma (h, w) in [0, 1], and its histograms."""

    luma: Light
    histograms: Histograms


def view_of(picture: WorkingPicture) -> View:
    """Return a frame's view; from any thread."""
    luma = luma_of(picture)
    return View(luma, histograms(luma))


@dataclass(frozen=True)
class Step:
    """What is known of a frame without the means of those before.

    Attributes:
        field: what was found in it.
        stops: (h, w, 3) of the field.
        own: (h, w, 1) weight of what was found.
        motion: from the frame before; ``None`` where there was none, or another scene.
    """

    field: ExcessField
    stops: Light
    own: Light
    motion: Motion | None

    @classmethod
    def of(cls, field: ExcessField, picture: WorkingPicture, before: View | None, now: View) -> Step:
        """Look at a frame; from any thread, and of several frames at a time.

        Args:
            field: found in the frame.
            picture: the frame at the size of the field.
            before: of the frame before; ``None`` where there is none.
            now: of this one.
        """
        there = before is not None and not is_cut(before.histograms, now.histograms)
        motion = block_motion(before.luma, now.luma) if before is not None and there else None
        own = np.asarray(np.where(picture.weight > 0, field.certainty, 0), np.float32)
        return cls(field, field.stops, own, motion)


class Steadying:
    """Steadies consecutive frames of one size; a :data:`~dcdr_deploy.run.restore.Steady`.

    Its memory is one working picture, however long a video is. Where several frames are worked on at a time, only
    :meth:`mean` needs their order.
    """

    def __init__(self, strength: float) -> None:
        """Set up.

        Args:
            strength: largest share of the past in a mean, from 0 to below 1.
        """
        self._most = np.float32(strength / (1 - strength))
        self._view: View | None = None
        self._past: Light | None = None  # (h, w, 4): the mean so far in stops, times its weight; the weight

    def __call__(self, field: ExcessField, picture: WorkingPicture) -> ExcessField:
        """Return the mean of what was found in this frame and before.

        Args:
            field: found in the frame.
            picture: the frame at the size of the field.
        """
        before, self._view = self._view, view_of(picture)
        return self.steadied(self.mean(Step.of(field, picture, before, self._view)))

    def mean(self, step: Step) -> Step:
        """Return a frame with the mean up to it for its stops; in the order of the frames.

        A first frame, and one after a cut, come back as they are.
        """
        past, height = self._past, step.own.shape[0]
        self._past = now = np.empty((*step.own.shape[:2], 4), np.float32)
        if past is None or step.motion is None:
            np.multiply(step.stops, step.own, out=now[..., :3])
            now[..., 3:] = step.own
            return step
        means, motion = np.empty_like(step.stops), step.motion

        def work(start: int, stop: int) -> None:
            rows = slice(start, stop)
            moved = motion.moved(past, rows)
            fresh, own = step.stops[rows], step.own[rows]
            before = moved[..., :3] / np.maximum(moved[..., 3:], 1e-9)
            change = largest_channel(np.abs(before - fresh))[..., None] / CHANGE
            mismatch = (motion.residual[rows, :, None] / MISMATCH) ** 2
            weight = np.minimum(moved[..., 3:] * np.exp(-mismatch - change**2), self._most)
            stops = fresh + (before - fresh) * (weight / np.maximum(weight + own, 1e-9)) * (own > 0)
            weight += own
            means[rows], now[rows, :, 3:] = stops, weight
            np.multiply(stops, weight, out=now[rows, :, :3])

        for _ in for_strips(height, work):
            pass
        return replace(step, stops=means)

    @staticmethod
    def steadied(step: Step) -> ExcessField:
        """Return the field of what :meth:`mean` gives; from any thread."""
        return step.field if step.motion is None else step.field.with_stops(step.stops)


def luma_of(picture: WorkingPicture) -> Light:
    """Return the luma of a working picture, (h, w) in [0, 1]: the root of luminance, near enough to sRGB's curve."""
    return np.asarray(np.sqrt(np.clip(luminance(picture.light), 0, 1)), np.float32)
