"""What a group of options is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]


def group(*options: Decorator[Any]) -> Decorator[Any]:
    """Put click options together as one decorator; ``--help`` lists them in the order given."""

    def add(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return add
