"""Page-locked host memory in the form of arrays, for what travels to a GPU and back without being copied once more.

Locking pages takes longer than computing a frame, so arrays are used again: an array that nobody refers to any more
goes back. The memory is numpy's own: an array stays valid as long as somebody has it, whatever becomes of the GPU.
"""

from __future__ import annotations

import ctypes
import logging
import math
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.cuda.memory import Device
from dcdr_deploy.errors import EngineError

_logger = logging.getLogger(__name__)

KEPT_FREE = 6
"""Arrays that wait for their next use; beyond, the one that has waited longest is unlocked."""

_WASTE = 2
"""An array is used again for what needs at least its size divided by this."""


class PinnedArrays:
    """Gives page-locked arrays. The calling thread must have the device's context."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._locked: dict[int, NDArray[np.uint8]] = {}
        # Filled by finalizers, at any moment and on any thread: appending is all that they do.
        self._returned: deque[int] = deque()
        self._free: list[int] = []

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return an array with whatever content; as it is where the system does not let its pages be locked.

        Raises:
            MemoryError: there is no memory for it.
        """
        dtype = np.dtype(dtype)
        size = max(math.prod(shape) * dtype.itemsize, 1)
        self._collect()
        address = next((each for each in self._free if size <= len(self._locked[each]) <= _WASTE * size), None)
        if address is None:
            address = self._lock(size)
        else:
            self._free.remove(address)
        lease = (ctypes.c_uint8 * size).from_address(address)
        # The lease keeps the memory alive, also beyond close.
        lease.memory = self._locked[address]
        weakref.finalize(lease, self._returned.append, address).atexit = False
        return np.frombuffer(lease, dtype, math.prod(shape)).reshape(shape)

    def holds(self, array: NDArray[Any]) -> bool:
        """Tell whether an array lies, C-contiguous, in memory of this object."""
        start = array.ctypes.data
        return array.flags.c_contiguous and any(
            address <= start and start + array.nbytes <= address + len(memory)
            for address, memory in self._locked.items()
        )

    def _lock(self, size: int) -> int:
        memory = np.empty(size, np.uint8)
        address = int(memory.ctypes.data)
        try:
            self._device.lock(address, size)
        except EngineError as error:  # some systems lock little; copies are slower then, and right
            _logger.debug("%d bytes are not page-locked: %s", size, error)
        self._locked[address] = memory
        return address

    def _collect(self) -> None:
        while self._returned:
            self._free.append(self._returned.popleft())
        while len(self._free) > KEPT_FREE:
            self._unlock(self._free.pop(0))

    def release(self) -> None:
        """Unlock what nobody uses."""
        self._collect()
        while self._free:
            self._unlock(self._free.pop())

    def close(self) -> None:
        """Unlock everything; arrays that are still in use stay valid. Nothing may be under way."""
        self._returned.clear()
        self._free.clear()
        for address in list(self._locked):
            self._unlock(address)

    def _unlock(self, address: int) -> None:
        memory = self._locked.pop(address)
        self._device.unlock(address)
        del memory
