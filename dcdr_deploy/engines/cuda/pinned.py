"""Page-locked host memory in the form of arrays, for what travels to a GPU and back without being copied once more.

Page-locked memory takes longer to get than a frame takes to compute, so arrays are used again: one that nobody refers
to any more goes back. An array stays valid as long as somebody has it: the memory belongs to the GPU's context, which
is kept until the last array has come back.
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

from dcdr_deploy.engines.cuda.memory import Device, Memory
from dcdr_deploy.errors import EngineError

_logger = logging.getLogger(__name__)

KEPT_FREE = 8
"""Arrays that are kept for their next use when pictures change their size."""

_WASTE = 2
"""An array is used again for what needs at least its size divided by this."""


class PinnedArrays:
    """Gives page-locked arrays."""

    def __init__(self, device: Device) -> None:
        """Set up; allocates nothing.

        Args:
            device: the GPU; its context is kept until :meth:`close` was called and all arrays have come back.
        """
        self._device = device.again()
        self._memory: dict[int, Memory] = {}
        # Filled by finalizers, at any moment and on any thread: appending is all that they do while this is open.
        self._returned: deque[int] = deque()
        self._free: list[int] = []
        self._closed = False

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return an array with whatever content; an ordinary one where the system locks no more memory.

        Raises:
            MemoryError: there is no memory for it.
        """
        dtype = np.dtype(dtype)
        count = math.prod(shape)
        size = max(count * dtype.itemsize, 1)
        self._collect()
        address = next((each for each in self._free if size <= self._memory[each].size <= _WASTE * size), None)
        if address is not None:
            self._free.remove(address)
        else:
            try:
                memory = self._device.allocate_pinned(size)
            except EngineError as error:  # copies are slower then, and right
                _logger.debug("%d bytes are not page-locked: %s", size, error)
                return np.empty(shape, dtype)
            address = memory.address
            self._memory[address] = memory
        lease = (ctypes.c_uint8 * size).from_address(address)
        weakref.finalize(lease, self._give_back, address).atexit = False
        return np.frombuffer(lease, dtype, count).reshape(shape)

    def holds(self, array: NDArray[Any]) -> bool:
        """Tell whether an array lies, C-contiguous, in memory of this object."""
        start = int(array.ctypes.data)
        return array.flags.c_contiguous and any(
            address <= start and start + array.nbytes <= address + memory.size
            for address, memory in self._memory.items()
        )

    def trim(self) -> None:
        """Give up what has waited longest where much waits; the GPU waits for it."""
        self._collect()
        while len(self._free) > KEPT_FREE:
            self._memory.pop(self._free.pop(0)).free()

    def release(self) -> None:
        """Give up what nobody uses; the GPU waits for it."""
        self._collect()
        while self._free:
            self._memory.pop(self._free.pop()).free()

    def close(self) -> None:
        """Give up what nobody uses, and the rest when it comes back. Nothing may be under way."""
        self.release()
        self._closed = True
        self._leave()

    def _collect(self) -> None:
        while self._returned:
            self._free.append(self._returned.popleft())

    def _give_back(self, address: int) -> None:
        self._returned.append(address)
        if self._closed:
            self._leave()

    def _leave(self) -> None:
        """Free what has come back after the end; with the last of it the context goes too."""
        with self._device.current():
            while self._returned:
                self._memory.pop(self._returned.popleft()).free()
        if not self._memory:
            self._device.close()
