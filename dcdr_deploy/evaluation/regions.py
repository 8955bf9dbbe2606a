"""Where a picture was clipped, and which pictures are overexposed by the paper's rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.eight_bits import eight_bits
from dcdr_deploy.imaging.frame import CLIPPED_CODE
from dcdr_deploy.imaging.read import read_image
from dcdr_deploy.metrics.overexposed import BRIGHT_CODE, BRIGHT_SHARE, GRAY
from dcdr_deploy.metrics.psnr import clipped_region

SURROUND_PIXELS = 8

Ldr = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """A part of a picture.

    Attributes:
        name: for machines.
        title: for tables.
        mask: (H, W, 3) uint8 SDR picture -> (H, W) bool; ``None`` for the whole picture.
    """

    name: str
    title: str
    mask: Callable[[Ldr], Mask] | None = None


WHOLE = Region("image", "whole pictures")

REGIONS: tuple[Region, ...] = (
    WHOLE,
    Region(
        "clipped",
        f"clipped pixels (a channel of the SDR picture >= {CLIPPED_CODE})",
        lambda ldr: clipped_region(ldr, 0),
    ),
    Region(
        "surround",
        f"surround of clipped pixels ({SURROUND_PIXELS} px, without them)",
        lambda ldr: clipped_region(ldr, SURROUND_PIXELS) & ~clipped_region(ldr, 0),
    ),
    Region(
        "clipped+surround",
        f"clipped pixels with their {SURROUND_PIXELS} px surround",
        lambda ldr: clipped_region(ldr, SURROUND_PIXELS),
    ),
)


def read_ldr(path: Path) -> Ldr:
    """Read an SDR picture as (H, W, 3) uint8; 16 bits are rounded to 8.

    Raises:
        InputError: it cannot be read.
    """
    return eight_bits(read_image(path).pixels)


def is_overexposed(ldr: Ldr) -> bool:
    """Whether a picture belongs to the paper's Test Set 2."""
    gray = np.rint(ldr @ np.array(GRAY))
    return bool((gray > BRIGHT_CODE).mean() > BRIGHT_SHARE)
