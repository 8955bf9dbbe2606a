"""The picture as it travels from the reader to the writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLIPPED_CODE = 254
"""8-bit code from which a channel counts as clipped: JPEG turns many a 255 into 254. One clipped channel clips the
pixel: where the others are nearly as bright, light added to that channel alone would leave a coloured fringe."""


@dataclass(frozen=True)
class Kept:
    """What a file says beside its pixels: blocks as they stand in it, ``None`` where there is none.

    Attributes:
        exif: TIFF header and directories.
        xmp: an XMP packet.
        iptc: records of IPTC's Information Interchange Model.
        xmp_extensions: what a packet leaves to others, by the names that it has for them.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    xmp_extensions: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Frame:
    """One SDR picture, decoded and normalised to the project's colour convention.

    Attributes:
        pixels: (H, W, 3) uint8 or uint16, sRGB-encoded (IEC 61966-2-1), Rec. 709 primaries, C-contiguous.
        alpha: (H, W) float32 in [0, 1], or ``None`` when the file has no alpha.
        metadata: what was learnt on the way: ``"source_format"``, ``"orientation"``, ``"icc"`` and the like.
        kept: Exif, XMP and IPTC of the file.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    alpha: NDArray[np.float32] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    kept: Kept = field(default_factory=Kept)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def normalised(self) -> NDArray[np.float32]:
        """(H, W, 3) float32 in [0, 1], still sRGB-encoded: what the network takes."""
        return self.pixels.astype(np.float32) / np.float32(np.iinfo(self.pixels.dtype).max)
