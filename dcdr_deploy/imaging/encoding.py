"""How stored samples become linear light: curve, primaries, range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.h273 import Curve
from dcdr_deploy.imaging.transfer import linear_to_srgb

SAME_PRIMARIES = 3e-3
"""Matrices closer than this to the identity, in parts of white, change no primaries."""

_NARROW = (16, 235)  # codes of black and white in 8 bits (ITU-R BT.709-6, item 4.6)


@dataclass(frozen=True)
class Encoding:
    """How samples become light.

    Attributes:
        name: of the colour space or curve, as users know it.
        by: what says so; empty where nothing does.
        curves: encoded value in [0, 1] -> linear light; one for all channels, or one each. Empty for ``hdr`` and where
            only ``profile`` knows.
        matrix: (3, 3), linear RGB -> linear Rec. 709; ``None`` where they are Rec. 709, or gray.
        profile: an ICC profile whose tables only LittleCMS can apply.
        hdr: ``"PQ"`` or ``"HLG"``.
        narrow: whether black and white are the codes 16 and 235 of 8 bits, and not the first and the last.
        icc: what became of an ICC profile: ``"none"``, ``"sRGB"``, ``"converted from <name>"`` or
            ``"ignored: <reason>"``.
        notes: statements that were passed over, and why.
    """

    name: str
    by: str
    curves: tuple[Curve, ...] = ()
    matrix: NDArray[np.float64] | None = None
    profile: bytes | None = None
    hdr: str = ""
    narrow: bool = False
    icc: str = "none"
    notes: tuple[str, ...] = ()

    def signal(self, top: int) -> NDArray[np.float64]:
        """Encoded value in [0, 1] of each code from 0 to ``top`` (255 or 65535)."""
        codes = np.arange(top + 1)
        if not self.narrow:
            return codes / top
        # The narrow range of 16 bits is 256 times that of 8 bits (BT.709-6, item 4.6), not 257 times.
        black, white = (code * ((top + 1) // 256) for code in _NARROW)
        return np.clip((codes - black) / (white - black), 0, 1)

    def tables(self, top: int) -> list[NDArray[np.float32]]:
        """Linear light of each code from 0 to ``top``, by each of the curves."""
        return [np.asarray(curve(self.signal(top)), np.float32) for curve in self.curves]

    @property
    def is_srgb(self) -> bool:
        """Whether samples are sRGB within one code of 8 bits, so that they stay as they are."""
        return self.is_srgb_curve and self.has_rec709_primaries

    @property
    def is_srgb_curve(self) -> bool:
        """Whether the curve is sRGB's within one code of 8 bits."""
        if not self.curves or self.narrow:
            return False
        ramp = np.linspace(0, 1, 256)
        return all(np.abs(linear_to_srgb(curve(ramp)) - ramp).max() <= 1 / 255 for curve in self.curves)

    @property
    def is_linear(self) -> bool:
        """Whether samples are linear light within half a code of 16 bits."""
        ramp = np.linspace(0, 1, 256)
        return (
            bool(self.curves)
            and not self.narrow
            and all(np.abs(curve(ramp) - ramp).max() <= 1 / 65535 for curve in self.curves)
        )

    @property
    def has_rec709_primaries(self) -> bool:
        """Whether the primaries stay as they are, by 0.3 % of white."""
        return self.matrix is None or float(np.abs(self.matrix - np.eye(3)).max()) <= SAME_PRIMARIES
