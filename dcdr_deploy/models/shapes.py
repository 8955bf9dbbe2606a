"""Reading widths and counts off the names and shapes of a state dict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dcdr_deploy.errors import CheckpointError

SHOWN = 4
"""Keys that an error message lists before it says how many more there are."""


FEW = 64
"""Modules of a list that are built without asking whether there are tensors for them."""


@dataclass(frozen=True)
class Shapes:
    """A state dict of one architecture, asked for sizes.

    Attributes:
        state: tensors by key.
        source: the file, for messages.
        title: what the architecture calls itself, for messages.
    """

    state: Mapping[str, Tensor]
    source: Path
    title: str

    def width(self, key: str) -> int:
        """Size of a tensor's first axis: a convolution's output channels.

        Raises:
            CheckpointError: there is no such tensor, or it has no axes.
        """
        tensor = self.state.get(key)
        if tensor is None or not tensor.dim():
            raise CheckpointError(
                f"{self.source} is no {self.title}: it lacks {key!r}; its keys begin with {some(sorted(self.state))}"
            )
        return int(tensor.shape[0])

    def edge(self, key: str) -> int:
        """Size of a convolution's filter along its last axis.

        Raises:
            CheckpointError: as :meth:`width`.
        """
        self.width(key)
        return int(self.state[key].shape[-1])

    def count(self, prefix: str) -> int:
        """Number of modules in a list, by the largest number that follows ``prefix`` and a dot.

        Raises:
            CheckpointError: there are not even as many tensors.
        """
        numbers = [re.match(rf"{re.escape(prefix)}\.(\d{{1,9}})\.", key) for key in self.state]
        count = max((int(match.group(1)) + 1 for match in numbers if match), default=0)
        if count > max(len(self.state), FEW):
            raise CheckpointError(f"{self.source} is no {self.title}: it numbers {prefix} up to {count - 1}")
        return count

    def begins(self, prefix: str) -> bool:
        """Whether any key begins with ``prefix``."""
        return any(key.startswith(prefix) for key in self.state)

    def has(self, text: str) -> bool:
        """Whether any key contains ``text``."""
        return any(text in key for key in self.state)


def some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
