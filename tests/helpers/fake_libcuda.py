"""The driver's library as ctypes loads it, over the driver of :mod:`fake_cuda`."""

# ruff: noqa: N802 - the names are the driver's

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from fake_cuda import FakeDriver

_Reference = type(ctypes.byref(ctypes.c_int()))


class Libcuda:
    """Results go to the addresses that come first among the arguments.

    A launch's values are the addresses of its arguments, which hold until the call is over.
    """

    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Callable[..., int]:
        function = getattr(self._driver, name)

        def call(*arguments: Any) -> int:
            status, *results = function(*(_plain(each) for each in arguments if not isinstance(each, _Reference)))
            targets = [each._obj for each in arguments if isinstance(each, _Reference)]
            if status == 0:
                for target, result in zip(targets, results, strict=True):
                    target.value = result
            return int(status)

        return call

    def cuLaunchKernel(self, kernel: ctypes.c_void_p, *arguments: Any) -> int:
        *numbers, stream, pointers, extra = arguments
        values = tuple(pointers)
        (status,) = self._driver.cuLaunchKernel(
            kernel.value, *map(_plain, numbers), stream.value or 0, (values, (ctypes.c_void_p,) * len(values)), extra
        )
        return int(status)


def _plain(argument: Any) -> Any:
    """A Python value for one of ctypes."""
    return argument.raw if isinstance(argument, ctypes.Array) else getattr(argument, "value", argument)
