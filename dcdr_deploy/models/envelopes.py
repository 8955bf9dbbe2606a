"""Finding the state dict of a known network inside whatever a training tool saved around it.

Tools wrap a state dict in dictionaries (``{"state_dict": ...}``), put prefixes before its names (``module.``,
``_orig_mod.``, ``netG.``) and keep an average of the weights, optimisers and losses beside it. None of that is guessed
from a list of tools: the place is found by the names of the tensors that the known architectures have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dcdr_deploy.errors import CheckpointError
from dcdr_deploy.models.recognition import module_names, readings
from dcdr_deploy.models.shapes import some

DEEPEST = 4
"""Dictionaries inside dictionaries that are searched."""

LIKELY = 0.5
"""Where names resemble a network this much, nothing is looked for inside of its modules."""

_AVERAGE = re.compile(r"(^|[^a-z])(ema|swa|avg|average|averaged|shadow)([^a-z]|$)|ema_model|model_ema|averaged_model")
"""What tools call an average of the weights over the steps, as part of a key or of a prefix."""


@dataclass(frozen=True)
class FoundState:
    """A state dict and where it was.

    Attributes:
        tensors: by the network's own names.
        place: keys that lead to it, such as ``params_ema`` or ``state_dict: model.``; empty for a bare state dict.
        left_out: what lay beside the weights in the same dictionary and belongs to no known network.
        others: places that held a state dict as well and were not taken.
    """

    tensors: dict[str, Tensor]
    place: str
    left_out: tuple[str, ...]
    others: tuple[str, ...]

    def describe(self) -> str:
        """One sentence about what was taken; empty where there was nothing to choose and nothing left out."""
        taken = f"took {self.place!r}" if self.place else ""
        instead = f"not {', '.join(map(repr, self.others))}" if self.others else ""
        left = f"left out {some(list(self.left_out))}" if self.left_out else ""
        return ", ".join(part for part in (taken, instead, left) if part)


@dataclass(frozen=True)
class _Candidate:
    keys: tuple[str, ...]
    prefix: str
    tensors: dict[str, Tensor]
    likeness: float
    left_out: tuple[str, ...]

    @property
    def place(self) -> str:
        return ": ".join([*self.keys, *([self.prefix] if self.prefix else [])])

    @property
    def averaged(self) -> bool:
        return bool(_AVERAGE.search(self.place.lower()))


def find_state(content: Mapping[str, Any], path: Path) -> FoundState:
    """The state dict inside a checkpoint; of several the one with most of a network, an average before the last step's.

    Args:
        content: the file's dictionary.
        path: for messages.

    Raises:
        CheckpointError: no tensors anywhere.
    """
    dictionaries = list(_dictionaries(content))
    candidates = [candidate for keys, entries in dictionaries for candidate in _candidates(keys, entries)]
    if not candidates:
        return _unknown(dictionaries, content, path)
    most = max(candidate.likeness for candidate in candidates)
    # An average in which a part is missing is no better than the weights that have it.
    whole = [candidate for candidate in candidates if candidate.likeness >= most]
    whole.sort(key=lambda candidate: not candidate.averaged)  # stable: else the file's order
    best, *others = whole
    return FoundState(
        best.tensors, best.place, best.left_out, tuple(other.place or "the bare weights" for other in others)
    )


def _dictionaries(
    content: Mapping[Any, Any], keys: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every dictionary in a file that holds tensors, with the keys that lead to it."""
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield keys, tensors
    if len(keys) < DEEPEST:
        for name, value in content.items():
            if isinstance(value, Mapping):
                yield from _dictionaries(value, (*keys, str(name)))


def _candidates(keys: tuple[str, ...], entries: Mapping[str, Tensor]) -> Iterator[_Candidate]:
    """One candidate a prefix behind which modules of a known network stand, with its names' likeness to that network.

    The shortest prefixes come first: a network's parts may have names like another network's, but belong to it.
    """
    prefixes: dict[str, set[str]] = {}
    known = module_names()
    for name in entries:
        parts = name.split(".")
        for place, part in enumerate(parts[:-1]):
            if part in known:
                prefixes.setdefault("".join(f"{each}." for each in parts[:place]), set()).add(part)
    likely: list[str] = []
    for prefix in sorted(prefixes, key=lambda prefix: prefix.count(".")):
        if any(prefix.startswith(outer) for outer in likely):
            continue
        below = {name.removeprefix(prefix): value for name, value in entries.items() if name.startswith(prefix)}
        # What stands beside a network's modules, as counters do, is none of its parameters.
        tensors = {name: value for name, value in below.items() if name.partition(".")[0] in prefixes[prefix]}
        beside = sorted(name for name in entries if name.removeprefix(prefix) not in tensors)
        likeness = max(way.likeness() for way in readings(tensors))
        if likeness >= LIKELY:
            likely.append(prefix)
        yield _Candidate(keys, prefix, tensors, likeness, tuple(beside))


def _unknown(
    dictionaries: list[tuple[tuple[str, ...], dict[str, Tensor]]], content: Mapping[str, Any], path: Path
) -> FoundState:
    """The largest state dict of a network that is not known; the registry then says what it is not."""
    if not dictionaries:
        raise CheckpointError(f"{path} holds no tensors; its keys are {some([str(key) for key in content])}")
    keys, tensors = max(dictionaries, key=lambda entry: len(entry[1]))
    return FoundState(tensors, ": ".join(keys), (), ())
