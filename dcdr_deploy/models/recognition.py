"""Which architecture a state dict is of, and which part of it: by the names and shapes of its tensors.

A state dict is of an architecture if the configuration read off its tensors makes a network of just these names and
shapes. Some networks are published in parts, a file each under names of its own; a file can be such a part, and several
together a network. What fits nowhere is described by what it resembles most.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcdr_deploy.errors import CheckpointError, InputError
from dcdr_deploy.models.architecture import Architecture
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.registry import ARCHITECTURES
from dcdr_deploy.models.shapes import Shapes, some

LEAST_LIKENESS = 0.25
"""A state dict with a smaller share of names in common with an architecture is not of it."""

NEAR = 0.8
"""Architectures whose likenesses have at least this ratio to the largest are all named where none fits."""

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Wanted:
    """What a user says that a checkpoint is, where its tensors do not tell.

    Attributes:
        architecture: the only one to compare with.
        fields: values of the configuration's fields that no tensor shows.
    """

    architecture: Architecture
    fields: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """Read ``NAME`` or ``NAME:FIELD=VALUE,...``, such as ``fhdr:iterations=1``.

        Raises:
            InputError: there is no such architecture, it has no such field, or the value is of another kind.
        """
        name, _, fields = text.partition(":")
        entry = ARCHITECTURES.get(name)
        if entry is None:
            raise InputError(f"`architecture` {name!r} is not known; known: {', '.join(ARCHITECTURES)}")
        pairs = (part.partition("=")[::2] for part in fields.split(",") if part)
        return cls(entry, {field: _value(entry, field, value) for field, value in pairs})


def _value(entry: Architecture, field: str, text: str) -> Any:
    known = entry.unseen.get(field)
    if known is None:
        fields = ", ".join(f"{name}={value}" for name, value in entry.unseen.items()) or "none"
        raise InputError(f"`architecture` {entry.name}: no field {field!r} that tensors leave open; it has {fields}")
    words = {"yes": True, "true": True, "no": False, "false": False}
    try:
        return words[text.lower()] if isinstance(known, bool) else type(known)(text)
    except (KeyError, ValueError):
        raise InputError(f"`architecture` {entry.name}: {field} cannot be {text!r}; such as {field}={known}") from None


@dataclass(frozen=True)
class Reading:
    """One way to take a state dict.

    Attributes:
        architecture: whose network.
        part: the module whose weights these are; empty for the network as a whole.
        state: tensors by the network's names.
    """

    architecture: Architecture
    part: str
    state: State

    @property
    def title(self) -> str:
        """What it is, for people."""
        title = self.architecture.title
        return f"{self.architecture.parts[self.part]} of {title}" if self.part else title

    @property
    def others(self) -> str:
        """The architecture's other parts, for people."""
        return _and([title for part, title in self.architecture.parts.items() if part != self.part])

    def fits(self, source: Path) -> bool:
        """Whether these tensors are a whole network of the architecture, by names and shapes."""
        try:
            config = self.architecture.deduce(Shapes(self.state, source, self.architecture.title))
            wanted = outline(self.architecture, config)
        except (CheckpointError, ValueError):
            return False
        return _sizes(wanted) == _sizes(self.state)

    def likeness(self) -> float:
        """Names in common with the architecture's usual networks, or this part of them, as a share of all names."""
        names = {_pattern(name) for name in self.state}
        prefix = f"{self.part}." if self.part else ""
        usual = ({name for name in form if name.startswith(prefix)} for form in _usual_names(self.architecture))
        return max(len(names & form) / len(names | form) for form in usual)


class PartAlone(CheckpointError):
    """A checkpoint holds a part of a network that does nothing alone; ``reading`` says which."""

    def __init__(self, source: Path, reading: Reading) -> None:
        self.reading = reading
        super().__init__(f"{source} is {reading.title} alone: add the file of {reading.others} by `part` at its export")


def outline(architecture: Architecture, config: NetworkConfig) -> State:
    """The tensors of a network by name, without memory for their values.

    Raises:
        ValueError: there is no network of this configuration.
    """
    with torch.device("meta"):
        return dict(architecture.network(config).state_dict())


def _sizes(state: State) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


@functools.cache
def _usual_names(architecture: Architecture) -> tuple[frozenset[str], ...]:
    """Patterns of names of each usual form of an architecture's networks."""
    forms = (architecture.config(), *architecture.forms)
    return tuple(frozenset(map(_pattern, outline(architecture, form))) for form in forms)


@functools.lru_cache(maxsize=16384)
def _pattern(name: str) -> str:
    """A tensor's name without numbers: blocks are counted elsewhere."""
    return re.sub(r"\.\d+(?=\.)", ".#", name)


def readings(state: State, entries: Iterable[Architecture] | None = None) -> Iterator[Reading]:
    """Every way to take a state dict: as each architecture's network, and as each part that is published alone."""
    for entry in ARCHITECTURES.values() if entries is None else entries:
        yield Reading(entry, "", state)
        for part in entry.parts:
            yield Reading(entry, part, {f"{part}.{name}": tensor for name, tensor in state.items()})


def module_names() -> frozenset[str]:
    """Names of modules at the top of known networks, and of the parts of them that are published alone."""
    return frozenset(
        name.removeprefix(prefix).partition(".")[0]
        for entry in ARCHITECTURES.values()
        for form in _usual_names(entry)
        for prefix in ("", *(f"{part}." for part in entry.parts))
        for name in form
        if name.startswith(prefix)
    )


def recognise(state: State, source: Path, wanted: Wanted | None = None) -> Reading:
    """How to take a state dict.

    Whether the tensors really fit is for the caller to check where none of them does; then this says what they resemble
    most.

    Args:
        state: tensors by name.
        source: the file, for messages.
        wanted: what the user says it is.

    Raises:
        CheckpointError: two architectures fit, or it resembles none, or several alike.
        PartAlone: it is a part that is no network by itself.
    """
    entries = [wanted.architecture] if wanted else None
    ways = list(readings(state, entries))
    fitting = [way for way in ways if way.fits(source)]
    if len(fitting) > 1:
        raise CheckpointError(f"{source} fits {_titles(fitting)} alike: {_say_which(fitting)}")
    if fitting:
        return fitting[0]
    likenesses = [(way.likeness(), way) for way in ways]
    most = max(likeness for likeness, _ in likenesses)
    if wanted is None and most < LEAST_LIKENESS:
        titles = ", ".join(entry.title for entry in ARCHITECTURES.values())
        raise CheckpointError(f"{source} is of no known network ({titles}): its keys begin with {some(sorted(state))}")
    nearest = [way for likeness, way in likenesses if likeness >= NEAR * most]
    alone = [way for likeness, way in likenesses if likeness == 1.0 and way.part]
    if alone:
        raise PartAlone(source, alone[0])
    if len({way.architecture for way in nearest}) > 1:
        raise CheckpointError(f"{source} is whole as neither {_titles(nearest)}, but like them: {_say_which(nearest)}")
    return max(likenesses, key=lambda entry: entry[0])[1]


def join(states: Sequence[tuple[Path, State]], wanted: Wanted | None = None) -> Reading:
    """How to take several state dicts as one network's parts, in any order.

    Args:
        states: files, for messages, and their tensors.
        wanted: what the user says it is.

    Raises:
        CheckpointError: they do not make one network, or more than one.
    """
    sources = ", ".join(str(source) for source, _ in states)
    fitting = []
    for entry in [wanted.architecture] if wanted else ARCHITECTURES.values():
        parts = [way for _, state in states for way in readings(state, [entry]) if way.part and way.likeness() == 1.0]
        if len({way.part for way in parts}) == len(parts) == len(states):
            whole = Reading(entry, "", {name: tensor for way in parts for name, tensor in way.state.items()})
            fitting += [whole] * whole.fits(states[0][0])
    if not fitting:
        known = "; ".join(f"{entry.title}: {_and([*entry.parts.values()])}" for entry in _in_parts())
        raise CheckpointError(f"{sources} do not make one network; networks in parts are {known}")
    if len(fitting) > 1:
        raise CheckpointError(f"{sources} fit {_titles(fitting)} alike: {_say_which(fitting)}")
    return fitting[0]


def _in_parts() -> list[Architecture]:
    return [entry for entry in ARCHITECTURES.values() if entry.parts]


def _titles(ways: Sequence[Reading]) -> str:
    return _and(list(dict.fromkeys(way.title for way in ways)))


def _say_which(ways: Sequence[Reading]) -> str:
    names = " or ".join(dict.fromkeys(way.architecture.name for way in ways))
    return f"say by `architecture` at its export which it is, {names}"


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
