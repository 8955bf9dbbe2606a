"""Which part and which channels of an OpenEXR file are the picture (OpenEXR, "Technical Introduction").

Channel names are a layer's name, a dot and the channel: ``diffuse.left.R``; the main picture's have no layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dcdr_deploy.imaging.decoders.common import UnreadableError

RGB, LUMINANCE_CHROMA, GRAY = ("R", "G", "B"), ("Y", "RY", "BY"), ("Y",)
_KINDS = (RGB, LUMINANCE_CHROMA, GRAY)
_SPELLINGS = {"RED": "R", "GREEN": "G", "BLUE": "B"}
_LISTED = 12
"""So many names are listed at most."""


@dataclass(frozen=True)
class Layer:
    """Channels that make a picture.

    Attributes:
        name: empty for the main picture.
        kind: :data:`RGB`, :data:`LUMINANCE_CHROMA` or :data:`GRAY`.
        channels: whole names of the channels, in the order of ``kind``.
    """

    name: str
    kind: tuple[str, ...]
    channels: tuple[str, ...]


@dataclass(frozen=True)
class PartLayout:
    """One part of a file.

    Attributes:
        index: its place, from 0.
        name: empty in files of a single part.
        deep: whether its pixels hold lists of samples.
        channels: whole names.
    """

    index: int
    name: str
    deep: bool
    channels: tuple[str, ...]
    layers: tuple[Layer, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(_layers(self.channels)))

    def __str__(self) -> str:
        what = _listed(sorted(self.channels)) + (", deep" if self.deep else "")
        return f"{self.index} {self.name!r} ({what})"


def _layers(channels: Sequence[str]) -> Iterable[Layer]:
    members: dict[str, dict[str, str]] = {}
    for name in channels:
        layer, _, channel = name.rpartition(".")
        plain = channel.upper()
        members.setdefault(layer, {})[_SPELLINGS.get(plain, plain)] = name
    for layer, own in sorted(members.items()):
        for kind in _KINDS:
            # X, Y, Z are a position or a normal, whose Y is no luminance; and Y beside one chroma channel is no gray.
            no_gray = {"X", "Z"} <= set(own) or {"RY", "BY"} & set(own)
            if set(kind) <= set(own) and not (kind == GRAY and no_gray):
                yield Layer(layer, kind, tuple(own[channel] for channel in kind))
                break


def choose(parts: Sequence[PartLayout], part: str | None, layer: str | None) -> tuple[PartLayout, Layer, list[str]]:
    """The part and the layer to read, with sentences about a choice that is not plain.

    Args:
        parts: of one file.
        part: name or number asked for; counts in files of several parts.
        layer: name asked for; counts where there are layers.

    Raises:
        UnreadableError: nothing fits, or several do.
    """
    if part is not None and len(parts) > 1:
        parts = [_part_by(part, parts)]
    candidates = _candidates(parts, layer)
    if not candidates:
        channels = _listed(sorted({name for each in parts for name in each.channels}))
        raise UnreadableError(f"has the channels {channels} and not R, G, B; export it as RGB")
    if len({each.index for each, _ in candidates}) > 1:
        listed = "; ".join(str(each) for each in parts)
        raise UnreadableError(f"has several parts with a picture; choose one with `part`: {listed}")
    if len(candidates) > 1:
        raise UnreadableError(
            "has several layers and no main picture; choose one with `layer`: "
            + _listed([one.name for _, one in candidates])
        )
    ((chosen, picture),) = candidates
    if chosen.deep:
        raise UnreadableError("holds deep samples, lists in each pixel; flatten it to a plain OpenEXR file")
    notes = []
    if len(parts) > 1:
        notes.append(f"of {len(parts)} parts {chosen.index} {chosen.name!r} was read")
    if picture.name:
        notes.append(f"layer {picture.name!r} was read")
    return chosen, picture, notes


def _candidates(parts: Sequence[PartLayout], layer: str | None) -> list[tuple[PartLayout, Layer]]:
    """The pictures of the layer asked for, else those of no layer, else of all; if any is in colour, only these."""
    found = [(each, one) for each in parts for one in each.layers]
    names = sorted({one.name for _, one in found if one.name})
    if layer is None or not names:
        found = [each for each in found if not each[1].name] or found
    else:
        found = [each for each in found if each[1].name == layer]
        if not found:
            raise UnreadableError(f"has no layer {layer!r}; its layers are {_listed(names)}")
    return [each for each in found if each[1].kind != GRAY] or found


def _part_by(wanted: str, parts: Sequence[PartLayout]) -> PartLayout:
    for each in parts:
        if wanted == each.name:
            return each
    if wanted.isdecimal() and int(wanted) < len(parts):
        return parts[int(wanted)]
    raise UnreadableError(f"has no part {wanted!r}; its parts are {'; '.join(map(str, parts))}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
