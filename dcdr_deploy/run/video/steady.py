"""What the network found, steadied over the frames of a video: a recursive mean along the motion of the picture.

Frames are restored one by one, and noise and compression make the network's guesses differ from frame to frame.
Averaged is log2(1 + excess), the gain of a fully clipped pixel in stops, cell by cell of the working picture. Each mean
has a *weight*, the number of frames that it stands for, each by its certainty: it counts for nothing where nothing had
clipped before, where it comes from outside of the picture, where no motion was found, and after a cut. So the filter is
a running mean that begins anew wherever it must, and an exponential one where it has stood long enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.transfer import luminance
from dcdr_deploy.run.gain import ExcessField, WorkingPicture, largest_channel
from dcdr_deploy.run.video.cuts import Histograms, histograms, is_cut
from dcdr_deploy.run.video.motion import block_motion

MISMATCH = 0.08
"""Difference of luma after the motion (white is 1) at which the past counts by 1/e."""

CHANGE = 1.0
"""Stops by which a finding must differ from the mean before it for the past to count by 1/e: light that changes."""

Light = NDArray[np.float32]


@dataclass(frozen=True)
class _State:
    """The mean so far, all at the working size: stops (h, w, 3), weight (h, w, 1), luma (h, w), its histograms."""

    stops: Light
    weight: Light
    luma: Light
    histograms: Histograms


class Steadying:
    """Steadies consecutive frames of one size; a :data:`~dcdr_deploy.run.restore.Steady`.

    Its memory is one working picture, however long a video is.
    """

    def __init__(self, strength: float) -> None:
        """Set up.

        Args:
            strength: largest share of the past in a mean, from 0 to below 1.
        """
        self._most = np.float32(strength / (1 - strength))
        self._state: _State | None = None

    def __call__(self, field: ExcessField, picture: WorkingPicture) -> ExcessField:
        """Return the mean of what was found in this frame and before.

        Args:
            field: found in the frame.
            picture: the frame at the size of the field.
        """
        luma = luma_of(picture)
        spread = histograms(luma)
        fresh = field.stops
        own = np.where(picture.weight > 0, field.certainty, 0)
        before = self._state
        if before is None or is_cut(before.histograms, spread):
            stops, weight, steadied = fresh, own, field
        else:
            motion = block_motion(before.luma, luma)
            moved = motion.moved(np.concatenate([before.stops * before.weight, before.weight], axis=2))
            past = moved[..., :3] / np.maximum(moved[..., 3:], 1e-9)
            change = largest_channel(np.abs(past - fresh))[..., None] / CHANGE
            mismatch = (motion.residual[..., None] / MISMATCH) ** 2
            weight = np.minimum(moved[..., 3:] * np.exp(-mismatch - change**2), self._most)
            stops = fresh + (past - fresh) * (weight / np.maximum(weight + own, 1e-9)) * (own > 0)
            steadied = field.with_stops(stops)
            weight = weight + own
        self._state = _State(*(np.asarray(part, np.float32) for part in (stops, weight, luma, spread)))
        return steadied


def luma_of(picture: WorkingPicture) -> Light:
    """Return the luma of a working picture, (h, w) in [0, 1]: the root of luminance, near enough to sRGB's curve."""
    return np.asarray(np.sqrt(np.clip(luminance(picture.light), 0, 1)), np.float32)
