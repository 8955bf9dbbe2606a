"""What was recovered of what clipped, in numbers and a word: the answer to "is it restoring, or only multiplying?"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.passes import LARGEST_STOPS, STOPS_BINS

LEAST_RECOVERED = 0.05
"""Stops below which nothing came back: as many as are shown as 0.0."""

NOTHING, UNCHANGED, RESTORED, GUESSED = "nothing clipped", "nothing recovered", "restored", "mostly guessed"


def histogram_of_stops(gains: NDArray[np.float32], bins: int = STOPS_BINS) -> NDArray[np.int64]:
    """Count gains by their stops, (bins,); below 0 stops counts as 0, beyond the largest as the largest."""
    stops = np.log2(np.maximum(gains, 1))
    places = np.minimum((stops * (bins / LARGEST_STOPS)).astype(np.int64), bins - 1)
    return np.bincount(places, minlength=bins)


@dataclass(frozen=True)
class Recovery:
    """What became of a picture's clipped pixels; parts of a picture add up.

    Attributes:
        pixels: of the picture.
        clipped: pixels with a channel at 8-bit code 254 or more.
        whole: those with all three.
        stops: histogram of the largest gain among a clipped pixel's clipped channels.
    """

    pixels: int = 0
    clipped: int = 0
    whole: int = 0
    stops: NDArray[np.int64] = field(default_factory=lambda: np.zeros(STOPS_BINS, np.int64))

    def __add__(self, other: Recovery) -> Recovery:
        return Recovery(
            self.pixels + other.pixels,
            self.clipped + other.clipped,
            self.whole + other.whole,
            self.stops + other.stops,
        )

    @property
    def clipped_share(self) -> float:
        """Part of the pixels that is clipped."""
        return self.clipped / self.pixels if self.pixels else 0.0

    @property
    def stops_recovered(self) -> float:
        """99th percentile of the gain of clipped pixels in stops, to a hundredth; 0 where nothing is clipped."""
        total = int(self.stops.sum())
        if not total:
            return 0.0
        place = int(np.searchsorted(np.cumsum(self.stops), np.ceil(0.99 * total)))
        return place * (LARGEST_STOPS / STOPS_BINS)

    @property
    def anything(self) -> bool:
        """Whether at least :data:`LEAST_RECOVERED` came back."""
        return self.stops_recovered >= LEAST_RECOVERED

    @property
    def word(self) -> str:
        """``"restored"`` where most clipped pixels kept a channel that tells of the light, else ``"mostly guessed"``.

        Where all three channels clipped nothing is left of a pixel's own light, and what comes back is what the network
        makes of the surroundings. Where less than :data:`LEAST_RECOVERED` came back, it was neither.
        """
        if not self.clipped:
            return NOTHING
        if not self.anything:
            return UNCHANGED
        return GUESSED if 2 * self.whole > self.clipped else RESTORED

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "clipped_share": round(self.clipped_share, 6),
            "stops_recovered": round(self.stops_recovered, 2),
            "recovery": self.word,
        }
