"""What an engine is built for: the settings that decide its bytes, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dcdr_deploy.errors import EngineError
from dcdr_deploy.modelfile.names import SIZE_MULTIPLE, WIDTH

DEFAULT_TILE = (1080, 1920)
"""One frame of HD video in one call. Smaller tiles cost more: with an overlap of 136 pixels, 512 x 512 tiles compute
an HD frame four times over."""

SMALLEST_EDGE = 64
"""Pixels; the least height and width that an engine with dynamic shapes takes."""


@dataclass(frozen=True)
class Profile:
    """The input shapes an engine takes, each as (images, height, width)."""

    smallest: tuple[int, int, int]
    best: tuple[int, int, int]
    largest: tuple[int, int, int]


@dataclass(frozen=True)
class BuildSettings:
    """Everything besides the ONNX file that decides what is built. Resolved: nothing is left to choose.

    Attributes:
        package: ``"tensorrt"`` or ``"tensorrt-rtx"``.
        sms: compute capabilities as two or three digits, such as ``(86, 120)``; ascending, without repetition.
        fp16: FP16 weights and arithmetic; coordinates stay FP32, and so does the engine's interface.
        plugin: the fused kernel takes the ``dcdr::DCRB`` nodes; else the blocks are built from standard operators.
        tile: (height, width) of the input in pixels: the only size of a static engine, the size a dynamic one is tuned
            for; ``None`` for :data:`DEFAULT_TILE`.
        max_batch: most images in a call; every engine takes 1 to ``max_batch``.
        dynamic: any height and width from :data:`SMALLEST_EDGE` to the tile's longer edge, upright or lying.
        workspace: limit of the scratch memory in GiB; ``None`` leaves it to the package.
        timing_cache: file that keeps measured timings for the next build, where the package measures.

    Raises:
        EngineError: no compute capability, a size that is no positive multiple of 4, or a number out of range.
    """

    package: str
    sms: tuple[int, ...]
    fp16: bool = False
    plugin: bool = True
    tile: tuple[int, int] | None = None
    max_batch: int = 1
    dynamic: bool = False
    workspace: float | None = None
    timing_cache: Path | None = None

    def __post_init__(self) -> None:
        if not self.sms:
            raise EngineError("no GPU architecture to build for; name some, such as `sms` 86,89")
        height, width = self.size
        if any(edge < SIZE_MULTIPLE or edge % SIZE_MULTIPLE for edge in self.size):
            raise EngineError(
                f"`tile` {height}x{width}: height and width must be positive multiples of {SIZE_MULTIPLE}"
            )
        if self.max_batch < 1:
            raise EngineError(f"`max_batch` must be at least 1, not {self.max_batch}")
        if self.workspace is not None and not 0 < self.workspace < 1024:
            raise EngineError(f"`workspace` must be more than 0 and less than 1024 GiB, not {self.workspace:g}")
        images, height, width = self.profile().largest
        if images * height * width * WIDTH >= 2**31:
            raise EngineError(
                f"{images} x {height} x {width} pixels in a call are more than an engine can index; "
                "choose a smaller `tile` or `max_batch`"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the tile, with the default filled in."""
        return DEFAULT_TILE if self.tile is None else self.tile

    @property
    def precision(self) -> str:
        """``"fp16"`` or ``"fp32"``: the precision of the arithmetic."""
        return "fp16" if self.fp16 else "fp32"

    def profile(self) -> Profile:
        """Return the input shapes the engine is to take."""
        height, width = self.size
        low, high = (height, width), (height, width)
        if self.dynamic:
            low = (min(SMALLEST_EDGE, height, width),) * 2
            high = (max(height, width),) * 2
        return Profile((1, *low), (self.max_batch, height, width), (self.max_batch, *high))
