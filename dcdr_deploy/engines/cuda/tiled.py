"""What engines have in common whose tiles go to one GPU and come back by :class:`TilesInFlight`."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import Engine
from dcdr_deploy.engines.cuda.memory import Device
from dcdr_deploy.engines.cuda.tiles import TilesInFlight
from dcdr_deploy.engines.cuda.video import FramesOnDevice, load_frames
from dcdr_deploy.engines.passes import FramePasses
from dcdr_deploy.errors import DcdrError, EngineError
from dcdr_deploy.system import hardware

_log = logging.getLogger(__name__)
_loading = threading.Lock()


def sm_of(index: int) -> int | None:
    """Return the compute capability of a GPU, such as 86; ``None`` where the driver tells of no GPU at all.

    Args:
        index: in CUDA's counting.

    Raises:
        EngineError: there are GPUs, and not so many.
    """
    present = hardware.compute_capabilities()
    if present and index >= len(present):
        raise EngineError(f"there is no GPU {index}; this machine has {len(present)}")
    return present[index] if present else None


class TiledEngine(Engine):
    """An engine on one GPU. A subclass makes what is listed here; :meth:`close` gives it back.

    Attributes:
        _device: the GPU.
        _tiles: tiles under way there.
        _resources: closes all that was made, the last first.
    """

    _device: Device
    _tiles: TilesInFlight
    _resources: ExitStack
    _passes: FramesOnDevice | None = None
    _looked_for_passes = False

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._run(batch)

    def _infer_codes(self, batch: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
        return self._run(batch)

    def _run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        self._device.activate()  # the calling thread may be another than before
        return self._tiles.run(batch)

    def passes(self) -> FramePasses | None:
        """As of the base; the first call loads the kernels, and is ``None`` where the compiler is not there."""
        with _loading:
            if not self._looked_for_passes:
                self._device.activate()
                self._looked_for_passes = True
                try:
                    self._passes = load_frames(self._device)
                except DcdrError as error:
                    _log.warning("whole frames are made by the processor: %s", error)
                else:
                    self._resources.callback(self._passes.close)
            return self._passes

    def _close(self) -> None:
        self._device.activate()
        self._resources.close()  # in the opposite order of their making
        self._passes = None
        del self._tiles

    def available_memory(self) -> int | None:
        """Return the free bytes of the GPU."""
        self._device.activate()
        return self._device.free_memory()
