"""A frame through DCDR-UNet as a list of launches: data that says what is computed from what, and nothing of how.

Feature maps lie in NHWC order, in FP16 but for the tone map, at one of three scales. A map exists from the launch that
writes it first to the one that uses it last, so the order of the launches decides how much memory a frame takes. The
tone net comes first, because its wide maps are the largest and only three channels of them remain; the maps that steer
a scale are computed right before the scale is entered.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dcdr_deploy.engines.cuda.arena import Lifetime
from dcdr_deploy.engines.cuda.convolution_table import ring_bytes
from dcdr_deploy.engines.cuda.weights import CONDITION_WIDTH, SFT_HIDDEN, WIDTH, Structure

IMAGE_CHANNELS = 4
"""Red, green, blue and a zero: a pixel of eight bytes."""

OFFSET_CHANNELS = 24
"""Two coordinates for nine taps, and six channels that fill a pixel up to 48 bytes."""

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


IMAGE, SMALL, RESULT = "image", "small", "result"


def _named(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))


def padded_width(channels: int) -> int:
    """Return the channels of a map that holds so many: 32 or 64; the others are zeros."""
    return 32 if channels <= 32 else 64


def describe(structure: Structure, result: Map, form: Form = Form()) -> Frame:
    """Return the frame of a network.

    Args:
        structure: the network.
        result: form of the result; its name is ``"result"``.
        form: how it is cut into launches.
    """
    launches = tuple(_launches(structure, form))
    known = {each.name: each for each in (*_maps(structure, form), result)}
    used = {name for launch in launches for name in (*launch.reads, *launch.writes)}
    return Frame({name: each for name, each in known.items() if name in used}, launches)


def _maps(structure: Structure, form: Form) -> Iterator[Map]:
    yield Map(IMAGE, 1, IMAGE_CHANNELS)
    yield Map(SMALL, 4, IMAGE_CHANNELS)
    yield from (Map(f"tone{number}", 1, padded_width(structure.tone_width)) for number in range(3))
    yield Map("tone", 1, IMAGE_CHANNELS, 4)
    yield from (Map(f"trunk{number}", 4, CONDITION_WIDTH) for number in range(3))
    for scale in (1, 2, 4):
        yield Map(f"head{scale}", scale, CONDITION_WIDTH)
        yield Map(f"condition{scale}", scale, CONDITION_WIDTH)
    for name, scale, sfts in itertools.chain(*_parts(structure).values()):
        yield Map(name, scale, 2 * SFT_HIDDEN * len(sfts))
    for name, scale in (("first", 1), ("features1", 1), ("features2", 2), ("features4", 4), ("x4", 4), ("hr2", 1)):
        yield Map(name, scale, WIDTH)
    for place, scale in (("encoder", 2), ("middle", 4), ("decoder", 2)):
        yield from (Map(f"{place}.{name}", scale, WIDTH) for name in ("u", "v"))
        yield Map(f"{place}.offset", scale, OFFSET_CHANNELS)
    if form.tile:
        yield from (Rings(name, 1, 4, 4, form.tile) for name in ("tone.rings", "rings"))


def _launches(structure: Structure, form: Form) -> Iterator[Launch]:
    encoder, middle, decoder = structure.block_names()
    parts = _parts(structure)
    sfts = {
        name: Sft(name, hidden, 2 * SFT_HIDDEN * number)
        for hidden, _, names in itertools.chain(*parts.values())
        for number, name in enumerate(names)
    }

    def tone(number: int, source: str, target: str, **options: Any) -> Convolution:
        return Convolution(f"tone.{number}", source, target, (f"tone.layers.{number}",), **options)

    def restore(name: str, source: str, target: str, activation: str = "relu", **options: Any) -> Convolution:
        return Convolution(name, source, target, (f"restoration.{name}",), activation=activation, **options)

    def steer(scale: int, head: int) -> Iterator[Launch]:
        first, second = (f"condition.heads.{head}.{number}" for number in range(2))
        up = 4 // scale
        yield Convolution(f"head{scale}.0", "trunk2", f"head{scale}", (first,), upsample=up, activation="leaky")
        yield Convolution(f"head{scale}.1", f"head{scale}", f"condition{scale}", (second,))

    def hide(place: str) -> Iterator[Convolution]:
        for hidden, scale, names in parts[place]:
            layers = tuple(f"{name}.{branch}0" for name in names for branch in ("gain", "shift"))
            yield Convolution(hidden, f"condition{scale}", hidden, layers, activation="leaky")

    def blocks(place: str, names: Sequence[str], entry: str, target: str, skip: str = "") -> Iterator[Launch]:
        u, v, offset = (f"{place}.{name}" for name in ("u", "v", "offset"))
        z = entry
        for name, following in zip(names, [*names[1:], ""], strict=True):
            yield Convolution(f"{name}.offset", z, offset, (f"{name}.offset",))
            further = (sfts[f"{following}.sft1"], u) if following else (None, "")
            added = "" if following else skip
            yield Block(name, z, u, offset, v, target, sfts[f"{name}.sft2"], added, *further)
            z = target

    yield tone(0, IMAGE, "tone0", activation="relu")
    yield tone(1, "tone0", "tone1", activation="relu")
    if form.tile and padded_width(structure.tone_width) == WIDTH:
        last = {"then": "tone.layers.3", "rings": "tone.rings"}
        yield tone(2, "tone1", "tone", activation="relu", times=IMAGE, **last)
    else:
        yield tone(2, "tone1", "tone2", activation="relu")
        yield tone(3, "tone2", "tone", times=IMAGE)
    for number, source in enumerate((SMALL, "trunk0", "trunk1")):
        trunk = f"condition.trunk.{number}"
        yield Convolution(f"trunk.{number}", source, f"trunk{number}", (trunk,), activation="leaky")
    yield from steer(1, 0)
    if form.hidden_together:
        layers = tuple(layer for place in ("begin", "end") for launch in hide(place) for layer in launch.layers)
        targets = ("hidden.begin", "hidden.end")
        yield Convolution("hidden.begin+end", "condition1", targets[0], layers, activation="leaky", second=targets[1])
    else:
        yield from hide("begin")
        yield from hide("end")
    yield restore("first", IMAGE, "first", sft=sfts["restoration.sft1"])
    yield restore("hr1", "first", "features1")
    yield from steer(2, 1)
    yield from hide("encoder")
    entry: dict[str, Any] = {"sft": sfts[f"{encoder[0]}.sft1"], "second": "encoder.u"}
    yield restore("down1", "features1", "features2", stride=2, **entry)
    yield from blocks("encoder", encoder, "features2", "features2")
    yield from steer(4, 2)
    yield from hide("middle")
    entry = {"sft": sfts[f"{middle[0]}.sft1"], "second": "middle.u"}
    yield restore("down2", "features2", "features4", stride=2, **entry)
    yield from blocks("middle", middle, "features4", "x4", skip="features4")
    yield from hide("decoder")
    entry = {"sft": sfts[f"{decoder[0]}.sft1"], "second": "decoder.u"}
    # The skips of the larger scales are used here only, so the sums take their places.
    yield restore("up1", "x4", "features2", shuffle=True, residual="features2", **entry)
    yield from blocks("decoder", decoder, "features2", "features2")
    end = sfts["restoration.sft2"]
    yield restore("up2", "features2", "features1", shuffle=True, residual="features1", sft=end)
    if form.tile:
        yield restore("hr2", "features1", RESULT, residual="tone", then="restoration.last", rings="rings")
    else:
        yield restore("hr2", "features1", "hr2")
        yield restore("last", "hr2", RESULT, activation="", residual="tone")


def _parts(structure: Structure) -> dict[str, list[tuple[str, int, list[str]]]]:
    """SFT layers whose hidden maps are computed as one, by the place where they are: name of the map, scale, layers.

    One convolution gives the maps of one, two or four blocks.
    """
    encoder, middle, decoder = structure.block_names()
    parts = {"begin": [("hidden.begin", 1, ["restoration.sft1"])], "end": [("hidden.end", 1, ["restoration.sft2"])]}
    for place, scale, names in (("encoder", 2, encoder), ("middle", 4, middle), ("decoder", 2, decoder)):
        parts[place], start = [], 0
        while start < len(names):
            count = next(count for count in (4, 2, 1) if start + count <= len(names))
            parts[place].append((f"hidden.{place}.{start}", scale, _sft_names(names[start : start + count])))
            start += count
    return parts


def _sft_names(blocks: Sequence[str]) -> list[str]:
    return [f"{block}.{layer}" for block in blocks for layer in ("sft1", "sft2")]


def multiplications(launch: Launch, frame: Frame, shape: Shape, widths: dict[str, tuple[int, int]]) -> int:
    """Return how many multiply-add operations a launch takes that a network of plain convolutions would take too.

    Args:
        launch: the launch.
        frame: its frame.
        shape: of the frame.
        widths: (out, in) channels of every layer.
    """
    if isinstance(launch, Block):
        names, pixels = [f"{launch.name}.dcv1", f"{launch.name}.dcv2"], frame.maps[launch.z].pixels(shape)
    else:
        names = [*launch.layers, *_named(launch.then)]
        pixels = frame.maps[launch.target].pixels(shape) // (4 if launch.shuffle else 1)
    taps = sum(widths[name][0] * widths[name][1] for name in names) * pixels * 9
    steered = sum(frame.maps[sft.hidden].pixels(shape) for sft in _applied(launch))
    return taps + 9 * 2 * SFT_HIDDEN * WIDTH * steered


def traffic(launch: Launch, frame: Frame, shape: Shape) -> int:
    """Return the bytes of a launch's maps, each counted once for reading and once for writing.

    What is stored between the two convolutions of a block, or between tiles, is written and read.
    """
    hidden = {sft.hidden for sft in _applied(launch)}
    again = (launch.between,) if isinstance(launch, Block) else _named(launch.rings)
    maps = (name for name in (*launch.reads, *launch.writes, *again) if name not in hidden)
    steering = sum(frame.maps[sft.hidden].pixels(shape) * 4 * SFT_HIDDEN for sft in _applied(launch))
    return steering + sum(frame.maps[name].size(shape) for name in maps)


def _applied(launch: Launch) -> list[Sft]:
    sfts = (launch.sft2, launch.next_sft) if isinstance(launch, Block) else (launch.sft,)
    return [sft for sft in sfts if sft is not None]


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
