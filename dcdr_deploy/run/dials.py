"""What a user may turn: pure functions on the gain of restored light over SDR light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.frame import CLIPPED_CODE
from dcdr_deploy.imaging.transfer import LUMINANCE_REC709
from dcdr_deploy.run.gain import gain_of
from dcdr_deploy.system.defaults import changed

Light = NDArray[np.float32]

LARGEST_STRENGTH = 2.0
LARGEST_SATURATION = 2.0
LARGEST_EXPOSURE = 16.0
"""Stops either way."""

LEAST_BOOST, LARGEST_BOOST = 0.01, 100.0
"""Stops: at the one nothing is seen of what was restored, at the other no limit."""

SHOULDER_BEGIN = 0.5
"""Part of ``max_boost`` from which the shoulder bends; below it the boost is untouched."""


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # NaN too
        raise InputError(f"{name} must be {least:g} to {most:g}, not {value:g}")


@dataclass(frozen=True)
class Dials:
    """How much of what was restored, and how. The defaults leave the network's result as it is.

    Attributes:
        strength: exponent of the gain, 0 to 2; 0 gives the linearised input, exactly.
        exposure: stops by which all light is multiplied at the end, -16 to 16.
        max_boost: stops that no gain exceeds, 0.01 to 100, reached by a smooth shoulder; ``None`` is no limit.
        saturation: of the light that was added, 0 (neutral, of the same luminance) to 2.
        protect_below: 8-bit code, 0 to 253: a pixel of which no channel is above it keeps its light, save for
            ``exposure``; ``None`` is the working scale's own.

    Raises:
        InputError: a value out of range.
    """

    strength: float = 1.0
    exposure: float = 0.0
    max_boost: float | None = None
    saturation: float = 1.0
    protect_below: int | None = None

    def __post_init__(self) -> None:
        _within("strength", self.strength, 0, LARGEST_STRENGTH)
        _within("exposure", self.exposure, -LARGEST_EXPOSURE, LARGEST_EXPOSURE)
        _within("saturation", self.saturation, 0, LARGEST_SATURATION)
        if self.max_boost is not None:
            _within("max boost", self.max_boost, LEAST_BOOST, LARGEST_BOOST)
        if self.protect_below is not None:
            _within("protect below", self.protect_below, 0, CLIPPED_CODE - 1)

    def turned(self) -> dict[str, float]:
        """Return the dials that are not at their defaults, by name: what a file's metadata says."""
        return changed(self)

    @property
    def is_neutral(self) -> bool:
        """Whether the gain is left as it is: ``protect_below`` says where, ``exposure`` comes after it."""
        return not self.turned().keys() - {"protect_below", "exposure"}


NEUTRAL = Dials()


def turned_gain(light: Light, excess: Light, dials: Dials) -> Light:
    """Return the gain that puts an excess onto light, turned by all dials but the exposure.

    Args:
        light: (..., 3) linear SDR light in units of SDR white.
        excess: (..., 3) what the network found on top of it; may be negative.
        dials: how much of it.

    Returns:
        (..., 3) float32, per channel, not negative; for :func:`dcdr_deploy.run.gain.apply_gain`.
    """
    if dials.saturation != 1:
        excess = saturated(excess, dials.saturation)
    gain = gain_of(light, excess)
    if dials.strength != 1:
        gain = gain ** np.float32(dials.strength)
    return gain if dials.max_boost is None else limited(gain, dials.max_boost)


def saturated(excess: Light, saturation: float) -> Light:
    """Move the channels of added light towards their luminance (below 1) or away from it; luminance stays.

    A channel that would turn from added light into removed light ends at 0.
    """
    luminance = (excess @ np.asarray(LUMINANCE_REC709, np.float32))[..., None]
    moved = luminance + np.float32(saturation) * (excess - luminance)
    return np.asarray(np.where(excess >= 0, np.maximum(moved, 0), moved), np.float32)


def limited(gain: Light, max_boost: float) -> Light:
    """Limit a gain to ``max_boost`` stops.

    In stops x of the gain: x up to half of the limit m, from there m - m/2 exp(1 - 2x/m), which goes on with the same
    slope and approaches m. Gains below 1 stay.
    """
    stops = np.log2(np.maximum(gain, np.float32(2**-24)))
    bend = SHOULDER_BEGIN * max_boost
    rest = max_boost - bend
    shoulder = max_boost - rest * np.exp(-np.maximum(stops - bend, 0) / rest)
    return np.asarray(np.where(stops <= bend, gain, np.exp2(shoulder)), np.float32)


def as_text(settings: dict[str, Any]) -> dict[str, str]:
    """Return turned dials as strings for a file's header, keys in camel case: ``{"maxBoost": "2"}``."""
    return {_camel(name): f"{value:g}" if isinstance(value, float) else str(value) for name, value in settings.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
