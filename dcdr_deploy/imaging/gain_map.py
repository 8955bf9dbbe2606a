"""Gain maps: what takes an SDR picture to its HDR rendition, and the mathematics (ISO 21496-1:2025).

Adobe's XMP (``hdrgm``, Gain Map Specification 1.0) and the standard's binary form say the same things; Apple's maps of
before the standard say less and are applied otherwise.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import h273, xmp

HDRGM = "http://ns.adobe.com/hdr-gain-map/1.0/"
_DEFAULT_OFFSET = 1 / 64
_MULTICHANNEL, _BASE_COLOURS, _COMMON_DENOMINATOR = 0x80, 0x40, 0x08
_MOST_STOPS = 64.0

Triple = tuple[float, float, float]


class BrokenGainMapError(ValueError):
    """A gain map whose description cannot be read or makes no sense."""


@dataclass(frozen=True)
class Recipe:
    """How the samples of a map become gain; per channel.

    Attributes:
        low, high: log2 of the gain that samples of 0 and 1 stand for.
        gamma: exponent with which samples were encoded.
        base_offset, alternate_offset: added to base and alternate before their ratio was taken, in units of SDR white.
        base_stops, alternate_stops: log2 of the HDR headrooms for which the two renditions are meant.
        in_base_colours: whether the gain applies in the base's primaries, not in the alternate's.
    """

    low: Triple
    high: Triple
    gamma: Triple = (1.0, 1.0, 1.0)
    base_offset: Triple = (_DEFAULT_OFFSET,) * 3
    alternate_offset: Triple = (_DEFAULT_OFFSET,) * 3
    base_stops: float = 0.0
    alternate_stops: float = 1.0
    in_base_colours: bool = True

    def __post_init__(self) -> None:
        numbers = (*self.low, *self.high, *self.gamma, *self.base_offset, *self.alternate_offset)
        stops = (*self.low, *self.high, self.base_stops, self.alternate_stops)
        if not np.isfinite(numbers).all() or min(self.gamma) <= 0 or not max(map(abs, stops)) <= _MOST_STOPS:
            raise BrokenGainMapError("its numbers make no sense")
        if self.alternate_stops <= self.base_stops:
            raise BrokenGainMapError("its base is the HDR rendition")

    @property
    def stops(self) -> float:
        """How far the alternate goes beyond SDR white, as it says itself."""
        return self.alternate_stops

    def apply(self, base: NDArray[np.float32], samples: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """The alternate rendition in full (ISO 21496-1, 6.3: a weight of 1).

        Args:
            base: (H, W, 3) linear light of the base, 1.0 = SDR white.
            samples: (H, W, 1) or (H, W, 3) of the map, in [0, 1].

        Returns:
            (H, W, 3) float32 linear light in units of SDR white.
        """
        low, high, gamma, before, after = (
            np.array(each, np.float32)
            for each in (self.low, self.high, self.gamma, self.base_offset, self.alternate_offset)
        )
        linear = np.clip(samples, 0, 1).astype(np.float32) ** (1 / gamma)
        gain = np.exp2(low + (high - low) * linear)
        return np.asarray((base + before) * gain - after, np.float32)


@dataclass(frozen=True)
class AppleRecipe:
    """Apple's way ("Applying Apple HDR effect to your photos"): light times 1 + (headroom - 1) x map.

    Attributes:
        headroom: the brightest light in units of SDR white.
    """

    headroom: float
    in_base_colours: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.headroom <= 2**_MOST_STOPS:
            raise BrokenGainMapError(f"a headroom of {self.headroom:g}")

    @property
    def stops(self) -> float:
        """Log2 of the headroom."""
        return float(np.log2(self.headroom))

    def apply(self, base: NDArray[np.float32], samples: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """As :meth:`Recipe.apply`; the map is encoded with the curve of BT.709."""
        curve = h273.TRANSFERS[1].curve
        assert curve is not None
        light = curve(np.clip(samples, 0, 1).astype(np.float64))
        return np.asarray(base * (1 + (self.headroom - 1) * light), np.float32)


def apple_headroom(maker33: float, maker48: float) -> float:
    """Headroom by the maker note's entries 33 and 48 (Apple's page, the piecewise formula for stops)."""
    steep, flat = ((-20.0, 1.8), (-0.101, 1.601)) if maker33 < 1 else ((-70.0, 3.0), (-0.303, 2.303))
    slope, start = steep if maker48 <= 0.01 else flat
    return float(2 ** max(slope * maker48 + start, 0.0))


def from_iso(body: bytes) -> Recipe:
    """Read GainMapMetadata (ISO 21496-1, annex C.2), as libultrahdr and libavif write it.

    Raises:
        BrokenGainMapError: too short, of a later version, or with numbers that make no sense.
    """
    if len(body) < 5:
        raise BrokenGainMapError("its description ends too early")
    minimum_version, _, flags = struct.unpack_from(">HHB", body)
    if minimum_version:
        raise BrokenGainMapError(f"its description is of version {minimum_version}")
    channels = 3 if flags & _MULTICHANNEL else 1
    per_channel = []
    try:
        if flags & _COMMON_DENOMINATOR:
            below, base, alternate = struct.unpack_from(">III", body, 5)
            base_stops, alternate_stops = _ratio(base, below), _ratio(alternate, below)
            for channel in range(channels):
                numbers = struct.unpack_from(">iiIii", body, 17 + 20 * channel)
                per_channel.append([_ratio(number, below) for number in numbers])
        else:
            base, base_below, alternate, alternate_below = struct.unpack_from(">IIII", body, 5)
            base_stops, alternate_stops = _ratio(base, base_below), _ratio(alternate, alternate_below)
            for channel in range(channels):
                numbers = struct.unpack_from(">iIiIIIiIiI", body, 21 + 40 * channel)
                per_channel.append([_ratio(a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=True)])
    except struct.error as error:
        raise BrokenGainMapError("its description ends too early") from error
    low, high, gamma, before, after = (_triple(list(each)) for each in zip(*per_channel, strict=True))
    return Recipe(low, high, gamma, before, after, base_stops, alternate_stops, bool(flags & _BASE_COLOURS))


def from_xmp(packet: bytes) -> Recipe | None:
    """Read the ``hdrgm`` properties of a gain map's XMP packet; ``None`` where it has none.

    Raises:
        BrokenGainMapError: properties that are missing or no numbers.
    """
    try:
        root = xmp.parse(packet)
    except xmp.BrokenPacketError as error:
        raise BrokenGainMapError(str(error)) from error
    if not xmp.values(root, HDRGM, "GainMapMax"):
        return None

    def triple(name: str, default: float | None = None) -> Triple:
        texts = xmp.values(root, HDRGM, name)
        if not texts and default is not None:
            return (default,) * 3
        try:
            return _triple([float(text) for text in texts])
        except ValueError as error:
            raise BrokenGainMapError(f"its {name} is {texts}") from error

    if xmp.values(root, HDRGM, "BaseRenditionIsHDR")[:1] == ["True"]:
        raise BrokenGainMapError("its base is the HDR rendition")
    high = triple("GainMapMax")
    return Recipe(
        triple("GainMapMin", 0.0),
        high,
        triple("Gamma", 1.0),
        triple("OffsetSDR", _DEFAULT_OFFSET),
        triple("OffsetHDR", _DEFAULT_OFFSET),
        triple("HDRCapacityMin", 0.0)[0],
        triple("HDRCapacityMax", max(high))[0],
    )


def enlarged(samples: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """A map (h, w, C) at the size (H, W) of its base, by linear interpolation between the centres of its pixels."""
    import cv2

    height, width = size
    if samples.shape[:2] == size:
        return samples
    large = cv2.resize(samples, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.float32).reshape(height, width, samples.shape[2])


def _ratio(above: int, below: int) -> float:
    if not below:
        raise BrokenGainMapError("its description divides by zero")
    return above / below


def _triple(numbers: list[float]) -> Triple:
    if len(numbers) == 1:
        return (numbers[0],) * 3
    if len(numbers) != 3:
        raise BrokenGainMapError(f"{len(numbers)} channels in its description")
    return numbers[0], numbers[1], numbers[2]
