"""A frame as a list of launches: data that says what is computed from what, and nothing of how.

Feature maps lie in NHWC order, at one of three scales. A map exists from the launch that writes it first to the one
that uses it last, so the order of the launches decides how much memory a frame takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from dcdr_deploy.engines.cuda.arena import Lifetime
from dcdr_deploy.engines.cuda.convolution_table import ring_bytes

IMAGE, SMALL, RESULT = "image", "small", "result"
"""Maps that are there before the first launch, and the one that is there after the last."""

Shape = tuple[int, int, int]
"""(images, height, width) of a frame; height and width are multiples of 4."""


@dataclass(frozen=True)
class Map:
    """A feature map (N, H / scale, W / scale, channels) of elements of so many bytes."""

    name: str
    scale: int
    channels: int
    element: int = 2

    def pixels(self, shape: Shape) -> int:
        """Return how many pixels the map has for a frame."""
        return shape[0] * (shape[1] // self.scale) * (shape[2] // self.scale)

    def size(self, shape: Shape) -> int:
        """Return how many bytes the map has for a frame."""
        return self.pixels(shape) * self.channels * self.element


@dataclass(frozen=True)
class Rings(Map):
    """What tiles of two convolutions in one launch leave for each other: four FP32 numbers a pixel near their borders.

    Attributes:
        tile: rows and columns of a tile.
    """

    tile: tuple[int, int] = (1, 1)

    def size(self, shape: Shape) -> int:
        """Return how many bytes there are for a frame."""
        return ring_bytes(*shape, self.tile)


@dataclass(frozen=True)
class Form:
    """How a frame is cut into launches, where there is a choice. What is computed is the same.

    Attributes:
        tile: rows and columns of a tile of the kernel that computes a convolution from 64 to 64 channels and the one
            to three behind it in one launch, with no map between them; ``None``: a launch each.
        hidden_together: the hidden maps at full size come from one launch; else from one each.
    """

    tile: tuple[int, int] | None = None
    hidden_together: bool = False


@dataclass(frozen=True)
class Sft:
    """An SFT layer that a launch applies to what it computes: gain and shift come from hidden maps by tensor cores.

    Attributes:
        layer: name of the layer, such as ``"restoration.encoder.0.sft2"``.
        hidden: map that holds the 16 hidden channels: 8 of the gain, then 8 of the shift.
        first: the first of them in it.
    """

    layer: str
    hidden: str
    first: int


@dataclass(frozen=True)
class Convolution:
    """A 3x3 convolution and what is done with its sums before they are stored, in the order of the attributes.

    Attributes:
        name: of the launch.
        source: map it reads.
        target: map it writes; for ``shuffle`` at half the scale.
        layers: layers that are computed as one: their output channels follow each other.
        stride: 1 or 2.
        upsample: the source is read as if it had been scaled up by so much, bilinearly.
        activation: ``""``, ``"relu"`` or ``"leaky"``.
        shuffle: four channels become 2 x 2 pixels.
        residual: map that is added; may be ``target`` too.
        times: map that is multiplied with.
        sft: layer that is applied at last.
        second: map that gets the result of ``sft``, where ``target`` is to get what goes into it. Without ``sft``, map
            that gets the second half of the channels, where ``target`` is to get the first.
        then: layer to three channels that is computed from what is activated. What follows in this list is done with
            its sums.
        rings: what tiles leave for each other then.
    """

    name: str
    source: str
    target: str
    layers: tuple[str, ...]
    stride: int = 1
    upsample: int = 1
    activation: str = ""
    shuffle: bool = False
    residual: str = ""
    times: str = ""
    sft: Sft | None = None
    second: str = ""
    then: str = ""
    rings: str = ""

    @property
    def reads(self) -> tuple[str, ...]:
        """Maps that are read."""
        return _named(self.source, self.residual, self.times, self.sft.hidden if self.sft else "")

    @property
    def writes(self) -> tuple[str, ...]:
        """Maps that are written."""
        return _named(self.target, self.second, self.rings)


@dataclass(frozen=True)
class Block:
    """The deformable part of a DCRB: target = skip + z + dc2(SFT2(relu(dc1(u)))), u = SFT1(z), and the next block's u.

    Attributes:
        name: of the block, such as ``"restoration.encoder.0"``.
        z: the block's input; may be ``target`` too.
        u: SFT1 of it.
        offset: sampling offsets, from a convolution of z.
        between: map for what lies between the two convolutions.
        target: the block's output.
        sft2: the block's second SFT layer.
        skip: map that is added.
        next_sft: SFT1 of the next block.
        next_u: map it is written to; may be ``u``.
    """

    name: str
    z: str
    u: str
    offset: str
    between: str
    target: str
    sft2: Sft
    skip: str = ""
    next_sft: Sft | None = None
    next_u: str = ""

    @property
    def reads(self) -> tuple[str, ...]:
        """Maps that are read."""
        hidden = (sft.hidden for sft in (self.sft2, self.next_sft) if sft is not None)
        return _named(self.z, self.u, self.offset, self.skip, *hidden)

    @property
    def writes(self) -> tuple[str, ...]:
        """Maps that are written."""
        return _named(self.between, self.target, self.next_u)


Launch = Convolution | Block


@dataclass(frozen=True)
class Frame:
    """All of a frame.

    Attributes:
        maps: feature maps by name. ``"image"`` and ``"small"`` (the image averaged over 4 x 4 pixels) are there before
            the first launch; ``"result"`` holds the frame's result after the last.
        launches: in their order.
    """

    maps: dict[str, Map]
    launches: tuple[Launch, ...]


def _named(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))


def lifetimes(frame: Frame, shape: Shape) -> dict[str, Lifetime]:
    """Return when each map that is used is alive, in numbers of launches, and its size in bytes.

    What is there before the first launch lives from the beginning, and the result to the end.
    """
    ends: dict[str, tuple[int, int]] = {IMAGE: (0, 0), SMALL: (0, 0)}
    for number, launch in enumerate(frame.launches):
        for name in (*launch.reads, *launch.writes):
            ends[name] = (ends.get(name, (number, number))[0], number)
    ends[RESULT] = (ends[RESULT][0], len(frame.launches))
    return {name: Lifetime(frame.maps[name].size(shape), *span) for name, span in ends.items()}
