"""What the decoders of HDR pictures give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Linear:
    """Linear light of one file, before NaN and infinity are looked for.

    Attributes:
        pixels: (H, W, 3) float32, upright, Rec. 709; of integers in [0, 1] of their own full scale.
        integer: whether the file holds integers without a scale.
        texts: strings of the header by lower-case names.
        notes: sentences about what was converted, chosen or left out.
    """

    pixels: NDArray[np.float32]
    integer: bool = False
    texts: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
