"""What is counted over the frames of a video."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from dcdr_deploy.imaging.delivery import ContentLight
from dcdr_deploy.run.recovery import STOPS_BINS, Recovery
from dcdr_deploy.run.video.frames import Picture


@dataclass(frozen=True)
class Sums:
    """What is counted over frames; parts add up.

    Attributes:
        frames: that were written.
        repeated: of these, pictures that were the same as the one before, and were not computed again.
        lost: stamps of frames that could not be decoded; ``None`` where not even that is known.
        mended: stamps that did not rise and were moved on.
        max_cll, max_fall: of the brightest frame each, cd/m2.
        cut: largest share of a frame's pixels that are brighter than its file can hold.
        recovery: what was recovered of what had clipped.
    """

    frames: int = 0
    repeated: int = 0
    lost: tuple[int | None, ...] = ()
    mended: int = 0
    max_cll: float = 0.0
    max_fall: float = 0.0
    cut: float = 0.0
    recovery: Recovery = field(default_factory=Recovery)

    @classmethod
    def of(
        cls, picture: Picture, recovery: Recovery, light: ContentLight | None, *, repeated: bool, cut: float = 0.0
    ) -> Sums:
        """Return what is counted of one picture; ``light`` is ``None`` where it is not delivered."""
        brightness = (0.0, 0.0) if light is None else (light.max_cll, light.max_fall)
        return cls(1, int(repeated), picture.lost, int(picture.mended), *brightness, cut, recovery)

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.frames + other.frames,
            self.repeated + other.repeated,
            self.lost + other.lost,
            self.mended + other.mended,
            max(self.max_cll, other.max_cll),
            max(self.max_fall, other.max_fall),
            max(self.cut, other.cut),
            self.recovery + other.recovery,
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain data; the histogram's filled bins only."""
        (bins,) = np.nonzero(self.recovery.stops)
        stops = {str(number): int(self.recovery.stops[number]) for number in bins}
        counts = {name: getattr(self.recovery, name) for name in ("pixels", "clipped", "whole")}
        return {**asdict(replace(self, recovery=Recovery())), "recovery": {**counts, "stops": stops}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Sums:
        """Read what :meth:`as_json` gives."""
        found = dict(data["recovery"])
        stops = np.zeros(STOPS_BINS, np.int64)
        for number, count in found.pop("stops").items():
            stops[int(number)] = count
        return cls(**{**data, "lost": tuple(data["lost"]), "recovery": Recovery(**found, stops=stops)})
