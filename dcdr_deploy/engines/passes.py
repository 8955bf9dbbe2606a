"""The two passes over a whole frame of video, as an engine's device may do them: what goes in, what comes out.

Between them lies what is done at the working size, which is small, and the processor's. Only numbers and tables are
named here; what they mean is run/'s and imaging/'s matter, whose passes on the processor give the same but for
roundings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dcdr_deploy.imaging.delivery import Curves

Table = NDArray[np.float32]

STOPS_BINS, LARGEST_STOPS = 1600, 16
"""Of the histogram of gains: bins, a hundredth of a stop each, and where it ends."""


class YuvMatrix(NamedTuple):
    """Numbers that make 16-bit R'G'B' of samples Y', Cb, Cr, with 65535 for 1.0 and half a code for rounding.

    y = (Y' - black) scale + 0.5, u = (Cb - neutral) chroma_scale, v of Cr likewise; R' = red v + y, G' = y +
    green_red v + green_blue u, B' = blue u + y.
    """

    black: float
    scale: float
    neutral: float
    chroma_scale: float
    red: float
    blue: float
    green_red: float
    green_blue: float


@dataclass(frozen=True)
class Samples:
    """A decoded frame on the host.

    Attributes:
        planes: Y' (H, W), Cb and Cr (rows, columns), or Y' alone, all uint8 or all uint16; or, without a matrix, R'G'B'
            as codes of 16 bits, (H, W, 3) uint16. C-contiguous.
        matrix: of Y'CbCr.
        across, down: luma samples for each of chroma, 1 or 2.
        centred, level: where chroma lies, as of :class:`dcdr_deploy.run.video.yuv.Layout`.
    """

    planes: tuple[NDArray[Any], ...]
    matrix: YuvMatrix | None = None
    across: int = 1
    down: int = 1
    centred: bool = False
    level: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.planes[0].shape[0], self.planes[0].shape[1]


@dataclass(frozen=True)
class Clipping:
    """What 16-bit codes stand for.

    Attributes:
        light: (65536,) float32, linear light in [0, 1].
        weight: (65536,) float32, how far a pixel is clipped whose largest channel has this code, in [0, 1].
        least: code from which a channel counts as clipped.
        gray: most by which the channels of a gray pixel differ.
    """

    light: Table
    weight: Table
    least: int
    gray: int


@dataclass(frozen=True)
class Averaged:
    """A frame averaged down, float32.

    Attributes:
        light: (h, w, 3) mean light, in [0, 1].
        weight: (h, w, 1) mean of how far pixels are clipped.
        clipped: (h, w, 1) share of clipped pixels.
        gray: no pixel has a colour.
    """

    light: NDArray[np.float32]
    weight: NDArray[np.float32]
    clipped: NDArray[np.float32]
    gray: bool


@dataclass(frozen=True)
class Signal:
    """How light in units of SDR white becomes samples of an HDR video.

    Attributes:
        factor: from SDR white to network units.
        curves: from these to R'G'B'.
        samples: (3, 3) from R'G'B' to Y', Cb, Cr, without ``offsets``.
        offsets: (3,) added to them, half a code for rounding included.
        across, down: luma samples for each of chroma, 1 or 2.
        level: chroma lies beside the upper luma sample of a column, as of :class:`dcdr_deploy.run.video.yuv.Layout`.
    """

    factor: float
    curves: Curves
    samples: NDArray[np.float32]
    offsets: NDArray[np.float32]
    across: int
    down: int
    level: bool


@dataclass(frozen=True)
class Finished:
    """What became of a frame that was made samples of an HDR video.

    Attributes:
        stops: (:data:`STOPS_BINS`,) histogram of the largest gain among a clipped pixel's clipped channels.
        whole: pixels of which all channels are clipped.
        largest: of all channels, cd/m2.
        total: of the pixels' largest channels, cd/m2.
    """

    stops: NDArray[np.int64]
    whole: int
    largest: float
    total: float


class FramePasses(Protocol):
    """Both passes; to be called from any thread, several at a time."""

    def average(self, samples: Samples, clipping: Clipping, size: tuple[int, int]) -> Averaged:
        """Average a frame down to (h, w); every pixel counts by the area that it has in a cell.

        Raises:
            EngineOutOfMemory: the device has no room for it.
            EngineError: it failed.
        """

    def finish(
        self,
        samples: Samples,
        clipping: Clipping,
        field: NDArray[np.float32],
        signal: Signal,
        planes: tuple[NDArray[np.uint16], ...],
    ) -> Finished:
        """Put what was found onto a frame, and write its samples.

        Args:
            samples, clipping: as for :meth:`average`.
            field: (h, w, 5) float32: weighted excess, certainty, nearness, as of ``ExcessField`` of run/gain.py.
            signal: what is made of it.
            planes: Y', Cb, Cr, as large as whole samples of chroma need, to write into; rows may lie apart.

        Raises:
            EngineOutOfMemory, EngineError: as :meth:`average`.
        """
