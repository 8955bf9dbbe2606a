"""What the network found, steadied over the frames of a video: a recursive mean along the motion of the picture.

Frames are restored one by one, and noise and compression make the network's guesses differ from frame to frame.
Averaged is log(1 + excess), the logarithm of the gain of a fully clipped pixel, cell by cell of the working picture.
Each mean has a *weight*, the number of frames that it stands for, each by its certainty: it counts for nothing where
nothing had clipped before, where it comes from outside of the picture, where no motion was found, and after a cut. So
the filter is a running mean that begins anew wherever it must, and an exponential one where it has stood long enough.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.transfer import luminance
from dcdr_deploy.run.channels import channels_of
from dcdr_deploy.run.gain import ExcessField, WorkingPicture
from dcdr_deploy.run.video.cuts import Histograms, histograms, is_cut
from dcdr_deploy.run.video.motion import Motion, block_motion
from dcdr_deploy.system.strips import for_strips

MISMATCH = 0.08
"""Difference of luma after the motion (white is 1) at which the past counts by 1/e."""

CHANGE = math.log(2)
"""Logarithm of the quotient of a finding's gain and the mean before it at which the past counts by 1/e, a stop: light
that changes."""

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
        own: (h, w) weight of what was found.
        motion: from the frame before; ``None`` where there was none, or another scene.
    """

    field: ExcessField
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
        own = (field.certainty * (picture.weight > 0))[..., 0]
        return cls(field, own, motion)


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
        self._past: Light | None = None  # (h, w, 4): the mean so far, times its weight; the weight

    def __call__(self, field: ExcessField, picture: WorkingPicture) -> ExcessField:
        """Return the mean of what was found in this frame and before.

        Args:
            field: found in the frame.
            picture: the frame at the size of the field.
        """
        before, self._view = self._view, view_of(picture)
        return self.mean(Step.of(field, picture, before, self._view))

    def mean(self, step: Step) -> ExcessField:
        """Return the mean up to a frame; in the order of the frames.

        What was found in a first frame, and in one after a cut, comes back as it is.
        """
        field, own, motion, past = step.field, step.own, step.motion, self._past
        self._past = now = np.empty((*own.shape, 4), np.float32)
        begins = past is None or motion is None
        means = field.log_gain if begins else np.empty_like(field.log_gain)

        def work(start: int, stop: int) -> None:
            # One channel after the other: a pass over all and their weight would have an inner loop of three.
            rows = slice(start, stop)
            found, weight = channels_of(field.log_gain[rows]), own[rows]
            if past is not None and motion is not None:
                moved = channels_of(motion.moved(past, rows))
                found, weight = _mean(found, weight, moved, motion.residual[rows], self._most)
                means[rows] = cv2.merge(found)
            now[rows] = cv2.merge((*(each * weight for each in found), weight))

        for _ in for_strips(own.shape[0], work):
            pass
        return field if begins else replace(field, log_gain=means)


def _mean(
    found: Sequence[Light], own: Light, past: Sequence[Light], residual: Light, most: np.float32
) -> tuple[list[Light], Light]:
    """Return the channels' means and their weight, each (n, w).

    Args:
        found: in this frame, one for each channel.
        own: weight of that; the past does not count where it is 0.
        past: the means before, times their weight; the weight.
        residual: of the motion.
        most: weight of the past.
    """
    *before, weight = past
    divisor = np.maximum(weight, 1e-9)
    differences = [one / divisor - other for one, other in zip(before, found, strict=True)]
    change = functools.reduce(np.maximum, map(np.abs, differences))
    doubt = (residual / MISMATCH) ** 2 + (change / CHANGE) ** 2
    weight = np.minimum(weight * np.asarray(cv2.exp(-doubt), np.float32), most)
    share = weight / np.maximum(weight + own, 1e-9) * (own > 0)
    means = [each + difference * share for each, difference in zip(found, differences, strict=True)]
    return means, weight + own


def luma_of(picture: WorkingPicture) -> Light:
    """Return the luma of a working picture, (h, w) in [0, 1]: the root of luminance, near enough to sRGB's curve."""
    return np.asarray(np.sqrt(np.clip(luminance(picture.light), 0, 1)), np.float32)
