"""The kernels in front of the network: from a picture as it lies in memory to the image and its 4 x 4 averages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcdr_deploy.engines.cuda.driver import Kernel, Library

SOURCE = "picture"
"""Name of the CUDA source."""

_KERNELS = {
    np.dtype(np.uint8): "codes8_to_image",
    np.dtype(np.uint16): "codes16_to_image",
    np.dtype(np.float32): "planes_to_image",
}
_TYPES = "pppiii"
_BLOCK = 128
_SQUARE = 16
"""Pixels that a thread takes."""


@dataclass(frozen=True)
class PictureArguments:
    """One call. Pointers are addresses on the device, aligned to 16 bytes.

    Attributes:
        dtype: uint8 or uint16 codes (N, H, W, 3), or float32 (N, 3, H, W) in [0, 1].
        source: the picture.
        image: gets (N, H, W, 4) float16 in [0, 1]; the fourth channel is 0.
        small: gets (N, H / 4, W / 4, 4) float16.
        shape: (N, H, W); height and width are multiples of 4.
    """

    dtype: np.dtype[Any]
    source: int
    image: int
    small: int
    shape: tuple[int, int, int]


class PictureKernels:
    """The kernels of ``picture.cu`` on one GPU."""

    def __init__(self, library: Library) -> None:
        self._kernels: Mapping[np.dtype[Any], Kernel] = {
            dtype: library.kernel(name, _TYPES, _BLOCK) for dtype, name in _KERNELS.items()
        }

    def launch(self, arguments: PictureArguments, stream: int) -> None:
        """Put a call on a stream and return at once.

        Raises:
            EngineError: the driver refuses the launch.
        """
        images, height, width = arguments.shape
        squares = images * height * width // _SQUARE
        values = (arguments.source, arguments.image, arguments.small, images, height, width)
        self._kernels[arguments.dtype].launch(-(-squares // _BLOCK), stream, values)
