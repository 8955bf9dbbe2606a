"""The kernels at both ends of the network: what it reads of a picture, and whether its result is all numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcdr_deploy.engines.cuda.driver import Kernel, Library

SOURCE = "picture"
"""Name of the CUDA source."""

_KERNELS: dict[np.dtype[Any], str] = {
    np.dtype(np.uint8): "codes8_to_image",
    np.dtype(np.uint16): "codes16_to_image",
    np.dtype(np.float32): "planes_to_image",
}
_TYPES = "pppiii"
_BLOCK = 128
_SQUARE = 16
"""Pixels that a thread takes."""

_CHECK, _CHECK_TYPES = "find_unfinite", "plp"
_CHECK_BLOCKS = 1024
"""Most blocks of the check; their loops take the rest."""

_WIDE = 4
"""Values that are checked at a time."""


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
        self._check = library.kernel(_CHECK, _CHECK_TYPES, _BLOCK)

    def launch(self, arguments: PictureArguments, stream: int) -> None:
        """Put a call on a stream and return at once.

        Raises:
            EngineError: the driver refuses the launch.
        """
        images, height, width = arguments.shape
        squares = images * height * width // _SQUARE
        values = (arguments.source, arguments.image, arguments.small, images, height, width)
        self._kernels[arguments.dtype].launch(-(-squares // _BLOCK), stream, values)

    def check(self, values: int, count: int, found: int, stream: int) -> None:
        """Put a look at ``count`` float32 on a stream: ``found``, a uint32 that is 0, becomes 1 for NaN or infinity.

        Args:
            values: address, aligned to 16 bytes.
            count: a multiple of 4, which three channels of a frame of the network are.
            found: address.
            stream: the stream.

        Raises:
            EngineError: the driver refuses the launch.
        """
        vectors = count // _WIDE
        blocks = min(-(-vectors // _BLOCK), _CHECK_BLOCKS)
        self._check.launch(blocks, stream, (values, vectors, found))
