"""Kernels that are loaded once for each device, on whichever is current when they are first wanted there."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from dcdr_deploy.engines.cuda.driver import Library, call, choose_sm, device_sm, load_driver

Loaded = TypeVar("Loaded")
"""What the kernels of a source are on one device."""

K = TypeVar("K")

MOST_PIXELS = 2**31 - 1
"""Of all images of a map: kernels count pixels in 32 bits, and bytes in 64."""


class DeviceKernels(Generic[Loaded]):
    """The kernels of a source; a source's own class says by :meth:`_load` which they are, and launches them.

    Args:
        cubins: the compiled source by SM, at least one.
        driver: stands in for ``cuda.bindings.driver`` in tests.
    """

    def __init__(self, cubins: Mapping[int, bytes], driver: Any = None) -> None:
        self.cubins = dict(cubins)
        self._given_driver = driver
        self._loaded_driver: Any = None
        self._devices: dict[int, Loaded] = {}
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Load the kernels for the current device; afterwards a launch does nothing but launch there.

        Call it before a CUDA graph is captured, because loading is not allowed in a capture.

        Raises:
            MissingDependency: cuda-bindings is not installed.
            EngineError: no driver, no current context, no cubin that fits the device, or a damaged cubin.
        """
        self._current()

    def _current(self) -> Loaded:
        """Return the kernels for the current device, loaded with the first call on it."""
        driver = self._loaded_driver
        if driver is None:
            driver = self._loaded_driver = self._given_driver or load_driver()
        device = call(driver, "cuCtxGetDevice")
        loaded = self._devices.get(int(device))
        if loaded is None:
            with self._lock:
                loaded = self._devices.get(int(device))
                if loaded is None:
                    sm = choose_sm(list(self.cubins), device_sm(driver, device))
                    loaded = self._load(Library(driver, self.cubins[sm]), sm, driver, device)
                    self._devices[int(device)] = loaded
        return loaded

    def _load(self, library: Library, sm: int, driver: Any, device: Any) -> Loaded:
        """Take the kernels out of a library that was compiled for ``sm`` and is loaded on ``device``."""
        raise NotImplementedError


_shared: dict[tuple[Any, bytes], Any] = {}
_shared_lock = threading.Lock()


def shared_kernels(cubins: Mapping[int, bytes], kind: Callable[[Mapping[int, bytes]], K]) -> K:
    """Return one object of a kind for equal cubins, however many plugin layers or engines ask for it."""
    digest = hashlib.sha256()
    for sm, cubin in sorted(cubins.items()):
        digest.update(f"{sm}:{len(cubin)}:".encode() + cubin)
    with _shared_lock:
        return _shared.setdefault((kind, digest.digest()), kind(cubins))
