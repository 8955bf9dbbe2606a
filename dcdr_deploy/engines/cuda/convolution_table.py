"""Which kernels are made of the templates in ``convolution.cu``, and with which measures, for each SM.

One table for both sides: the lines that instantiate the templates are generated from it, and so are grids and sizes of
shared memory of the launches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, astuple, dataclass, fields
from functools import cache

from dcdr_deploy.engines.cuda.packing import SFT_HIDDEN

SFT_BYTES = 2 * 9 * SFT_HIDDEN * 64 * 2
"""Packed weights of an SFT layer."""

SHARED_MEMORY = {75: 64, 86: 99, 88: 99, 89: 99, 120: 99, 121: 99, 80: 163, 87: 163} | dict.fromkeys(
    (90, 100, 103, 110), 227
)
"""KiB of shared memory that a block may have, by SM (CUDA C++ Programming Guide, table of technical specifications)."""


@dataclass(frozen=True)
class Shape:
    """The template arguments of a kernel, in their order; see ``Shape`` in ``convolution_shape.cuh``.

    Attributes:
        channels: of the input: 4, 32 or 64.
        tiles: of 8 output channels that a block computes.
        stride: 1 or 2.
        rows: output rows of a warp.
        warps_y: warps above each other in a tile.
        warps_x: warps beside each other in a tile, 16 columns each.
        warps_n: warps that share a tile's output channels.
        stages: halos in shared memory, 1 or 2.
        resident: 1: the weights are in shared memory; 0: they are read through L1.
        sft: 0: no SFT layer; 1: with one, its weights read through L1; 2: its weights in shared memory.
        shuffle: 1: a block's channels are one of the four places of a pixel shuffle.
        upsample: 1: the input is interpolated while it is copied.
        wgmma: 1: four warps multiply together (SM90 only).
        workers: groups of warps that take tiles of their own and share the weights.
        three: 1: what is computed goes through a second convolution, to three channels, and is not stored.
    """

    channels: int
    tiles: int
    stride: int = 1
    rows: int = 4
    warps_y: int = 4
    warps_x: int = 1
    warps_n: int = 2
    stages: int = 2
    resident: int = 1
    sft: int = 0
    shuffle: int = 0
    upsample: int = 0
    wgmma: int = 0
    workers: int = 1
    three: int = 0

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * self.warps_y * self.warps_x * self.warps_n * self.workers

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of the product's pixels that a block computes at a time."""
        return self.rows * self.warps_y, 16 * self.warps_x

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block."""
        rows, columns = self.tile
        scale = 2 if self.shuffle else 1
        k = 40 if self.channels == 4 else 9 * self.channels
        weights = k * self.tiles * 8 * 2 if self.resident else 0
        halo = ((rows - 1) * self.stride + 3) * ((columns - 1) * self.stride + 3) * self.channels * 2
        plane = ((rows - 1) * scale + 3) * ((columns - 1) * scale + 3) * SFT_HIDDEN * 2 if self.sft else 0
        worker = self.stages * (-(-halo // 16) * 16) + 2 * plane
        return weights + (SFT_BYTES if self.sft == 2 else 0) + self.workers * worker


@dataclass(frozen=True)
class Variant:
    """A kernel: its measures, and how many blocks the registers of a multiprocessor must be enough for."""

    shape: Shape
    blocks: int = 1

    @property
    def label(self) -> str:
        """The measures in words, such as ``"rows=2 stages=1 /2"``: what is not usual, and the blocks."""
        words = [f"{each.name}={getattr(self.shape, each.name)}" for each in fields(Shape)[2:] if self._unusual(each)]
        return " ".join([*words, f"/{self.blocks}"])

    def _unusual(self, field: Field[int]) -> bool:
        return bool(getattr(self.shape, field.name) != field.default)


# What a kernel is for is its key: input and output channels, and what else it does. SM90's measures are the fastest of
# those that were timed on an H200 (4_32, 32_16 and 32_3 were not varied); those of _LARGE are within 2 % of the fastest
# there without wgmma, but for 32_32_up, whose fastest spills on other SMs. On those nothing has been timed: they have
# what their shared memory and registers hold of it, and tuning/ finds what is faster on the GPU at hand.
_LARGE = {
    "4_32": Variant(Shape(4, 4, warps_x=2, warps_n=1), 2),
    "4_64": Variant(Shape(4, 8), 2),
    "4_64_sft": Variant(Shape(4, 8, rows=2, warps_y=2, warps_n=1, sft=2, workers=6)),
    "32_16": Variant(Shape(32, 2, warps_x=2, warps_n=1), 2),
    "32_32": Variant(Shape(32, 4, warps_x=2, warps_n=1), 2),
    "32_32_up": Variant(Shape(32, 4, warps_y=2, warps_x=2, warps_n=1, stages=1, upsample=1), 3),
    "32_3": Variant(Shape(32, 1, warps_x=2, warps_n=1), 2),
    "64_3": Variant(Shape(64, 1, rows=2, warps_y=8, warps_x=2, warps_n=1, stages=1), 2),
    "64_24": Variant(Shape(64, 3, warps_x=2, warps_n=1, stages=1), 2),
    "64_64": Variant(Shape(64, 8, warps_x=2, warps_n=1)),
    "64_64_3": Variant(Shape(64, 8, rows=2, warps_x=2, warps_n=1, three=1)),
    "64_64_down": Variant(Shape(64, 8, stride=2, rows=2, stages=1, sft=2)),
    "64_256": Variant(Shape(64, 8, stages=1, sft=2, shuffle=1)),
}
_HOPPER = {
    **_LARGE,
    "4_64": Variant(Shape(4, 8, rows=2, warps_x=2, warps_n=1), 2),
    "32_32_up": Variant(Shape(32, 4, warps_y=2, warps_x=2, warps_n=1, stages=1, upsample=1), 4),
    "64_64": Variant(Shape(64, 8, rows=3, warps_n=1, stages=1, wgmma=1, workers=3)),
    "64_64_3": Variant(Shape(64, 8, rows=3, warps_n=1, stages=1, wgmma=1, workers=3, three=1)),
    "64_64_down": Variant(Shape(64, 8, stride=2, rows=1, warps_n=1, stages=1, sft=2, wgmma=1, workers=3)),
    "64_256": Variant(Shape(64, 8, rows=2, warps_n=1, stages=1, sft=2, shuffle=1, wgmma=1, workers=3)),
}
_MIDDLE = {
    **_LARGE,
    "4_64_sft": Variant(Shape(4, 8, rows=2, warps_n=1, sft=2), 3),
    "32_16": Variant(Shape(32, 2, warps_x=2, warps_n=1, stages=1), 2),
    "32_32": Variant(Shape(32, 4, warps_x=2, warps_n=1, stages=1), 2),
    "32_3": Variant(Shape(32, 1, warps_x=2, warps_n=1, stages=1), 2),
    "64_3": Variant(Shape(64, 1, warps_n=1, stages=1), 2),
    "64_24": Variant(Shape(64, 3, warps_n=1, stages=1), 2),
    "64_64": Variant(Shape(64, 8, warps_x=2, warps_n=1, stages=1)),
    "64_64_3": Variant(Shape(64, 8, warps_x=2, warps_n=1, stages=1, three=1)),
    "64_64_down": Variant(Shape(64, 8, stride=2, rows=2, stages=1, sft=1)),
    "64_256": Variant(Shape(64, 8, stages=1, sft=1, shuffle=1)),
}
_SMALL = {
    **_MIDDLE,
    "32_16": Variant(Shape(32, 2, warps_n=1, stages=1), 2),
    "32_32": Variant(Shape(32, 4, warps_n=1, stages=1), 2),
    "32_32_up": Variant(Shape(32, 4, warps_n=1, stages=1, upsample=1), 2),
    "32_3": Variant(Shape(32, 1, warps_n=1, stages=1), 2),
    "64_3": Variant(Shape(64, 1, warps_n=1, stages=1)),
    "64_24": Variant(Shape(64, 3, warps_n=1, stages=1)),
    "64_64": Variant(Shape(64, 8, rows=2, stages=1)),
    "64_64_3": Variant(Shape(64, 8, rows=2, stages=1, three=1)),
    "64_64_down": Variant(Shape(64, 8, stride=2, rows=2, stages=1, resident=0, sft=1)),
    "64_256": Variant(Shape(64, 8, stages=1, resident=0, sft=1, shuffle=1)),
}
_TURING = {
    **_SMALL,
    "4_64_sft": Variant(Shape(4, 8, rows=2, warps_n=1, sft=2)),
    "32_32": Variant(Shape(32, 4, warps_n=1, stages=1)),
    "32_32_up": Variant(Shape(32, 4, warps_n=1, stages=1, upsample=1)),
    "64_24": Variant(Shape(64, 3, warps_n=1, stages=1, resident=0)),
    "64_64": Variant(Shape(64, 8, stages=1, resident=0)),
    "64_64_3": Variant(Shape(64, 8, stages=1, resident=0, three=1)),
    "64_64_down": Variant(Shape(64, 8, stride=2, rows=2, warps_y=2, stages=1, resident=0, sft=1)),
    "64_256": Variant(Shape(64, 8, rows=2, stages=1, resident=0, sft=1, shuffle=1)),
}

RINGS = "convolution_rings"
"""The kernel that adds up what tiles of a second convolution left for each other."""

PREFIX = "convolution_"
"""Kernels are called this and their key in :func:`variants`."""


@cache
def variants(sm: int) -> dict[str, Variant]:
    """Return the kernels for an SM, by what they are for: channels in, channels out, and what else they do."""
    if sm < 80:
        return _TURING
    if sm == 90:
        return _HOPPER
    memory = SHARED_MEMORY.get(sm, min(size for known, size in SHARED_MEMORY.items() if known >= 80))
    return _LARGE if memory >= 227 else _MIDDLE if memory >= 163 else _SMALL


def ring_bytes(batch: int, rows: int, columns: int, tile: tuple[int, int]) -> int:
    """Return the bytes of what tiles of a second convolution leave for each other: two pixels on each side of each.

    Args:
        batch: images.
        rows: of the result.
        columns: of the result.
        tile: its rows and columns.
    """
    tiles = batch * -(-rows // tile[0]) * -(-columns // tile[1])
    return tiles * 4 * sum(tile) * 16


def instantiation(name: str, variant: Variant) -> str:
    """Return the line that makes a kernel of the templates."""
    numbers = ", ".join(map(str, astuple(variant.shape)))
    return f"CONVOLUTION({name}, {variant.blocks}, {variant.shape.shared_bytes}, {numbers})"


def instantiations(table: Mapping[str, Variant]) -> str:
    """Return the end of ``convolution.cu`` for kernels by what they are for: a line for each."""
    return "".join(f"{instantiation(PREFIX + key, each)}\n" for key, each in table.items())
