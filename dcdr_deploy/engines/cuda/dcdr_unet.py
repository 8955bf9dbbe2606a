"""DCDR-UNet as launches: which there are, and in which order.

Maps are in FP16 but for the tone map. The tone net comes first, because its wide maps are the largest and only three
channels of them remain; the maps that steer a scale are computed right before the scale is entered.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from dcdr_deploy.engines.cuda.dcrb_from_hidden import OFFSET_CHANNELS
from dcdr_deploy.engines.cuda.launches import (
    IMAGE,
    RESULT,
    SMALL,
    Block,
    Convolution,
    Form,
    Frame,
    Launch,
    Map,
    Rings,
    Sft,
)
from dcdr_deploy.engines.cuda.packing import SFT_HIDDEN
from dcdr_deploy.engines.cuda.weights import CONDITION_WIDTH, WIDTH, Structure

IMAGE_CHANNELS = 4
"""Red, green, blue and a zero: a pixel of eight bytes."""


def padded_width(channels: int) -> int:
    """Return the channels of a map that holds so many: 32 or 64; the others are zeros."""
    return 32 if channels <= 32 else 64


def describe(structure: Structure, result: Map, form: Form) -> Frame:
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
