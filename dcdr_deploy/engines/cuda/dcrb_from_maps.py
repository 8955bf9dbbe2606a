"""A DCRB from maps of gain and shift: launches of the kernels in ``dcrb_from_maps.cu``, FP16 or FP32 features.

The kernels are loaded once for each device; :meth:`FromMapsKernels.launch` does nothing but launch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dcdr_deploy.engines.cuda.dcrb_from_hidden import MOST_IMAGE_PIXELS, require_size
from dcdr_deploy.engines.cuda.driver import Kernel, Library, device_attribute
from dcdr_deploy.engines.cuda.loaded import MOST_PIXELS, DeviceKernels
from dcdr_deploy.engines.cuda.sft import require_alignment
from dcdr_deploy.modelfile.names import WIDTH

SOURCE = "dcrb_from_maps"
"""Name of the source in ``compiler.py``."""


@dataclass(frozen=True)
class FromMapsArguments:
    """One call of a DCRB. Pointers are addresses on the device; nothing may overlap ``out`` or ``workspace``.

    Attributes:
        batch: images.
        height: rows of a feature map.
        width: columns of a feature map.
        fp16: the FP16 path: features (N, H, W, 64), ``w1`` and ``w2`` from :func:`packing.pack_weight`. Else FP32:
            features (N, 64, H, W), weights from :func:`packing.plain_weight`. Biases are FP32 (64,) in both.
        z: input of the block.
        offset: 18 channels, in the features' type, laid out by ``offset_strides``.
        s1: gain of the first SFT layer; its result is z + s1 * z + t1.
        t1: shift of the first SFT layer.
        s2: gain of the second.
        t2: shift of the second.
        w1: weights of the first convolution.
        b1: bias of the first convolution.
        w2: weights of the second.
        b2: bias of the second.
        out: result, like ``z``; holds an intermediate result in between.
        workspace: :meth:`FromMapsKernels.workspace_bytes` bytes.
        offset_strides: elements from an image, channel and pixel of the offsets to the next: (18 H W, H W, 1) for
            (N, 18, H, W), (24 H W, 1, 24) for (N, H, W, 18) padded to 24 channels.

    Raises:
        ValueError: an empty or far too large picture, or a pointer that the FP16 path cannot read 16 bytes at a time.
    """

    batch: int
    height: int
    width: int
    fp16: bool
    z: int
    offset: int
    s1: int
    t1: int
    s2: int
    t2: int
    w1: int
    b1: int
    w2: int
    b2: int
    out: int
    workspace: int
    offset_strides: tuple[int, int, int]

    def __post_init__(self) -> None:
        require_size(self.batch, self.height, self.width, MOST_IMAGE_PIXELS if self.fp16 else MOST_PIXELS)
        if self.fp16:
            require_alignment(**{name: getattr(self, name) for name in _WIDE_POINTERS})


_WIDE_POINTERS = ("z", "s1", "t1", "s2", "t2", "w1", "b1", "w2", "b2", "out", "workspace")


@dataclass(frozen=True)
class _Path:
    """How the kernels of one precision are launched; the numbers are those of ``dcrb_from_maps.cu``.

    Attributes:
        suffix: end of the kernels' names.
        tile: (rows, columns) of output pixels that a block computes at a time.
        per_thread: elements of a feature map that a thread of the SFT kernel takes.
        element: bytes of a feature.
        persistent: the convolution's blocks stay and take one tile after the other, because they hold the weights.
    """

    suffix: str
    tile: tuple[int, int]
    per_thread: int
    element: int
    persistent: bool


_HALF = _Path("half", tile=(16, 16), per_thread=8, element=2, persistent=True)
_FLOAT = _Path("float", tile=(2, 32), per_thread=1, element=4, persistent=False)
_BLOCK = 256
_TAP_BYTES = WIDTH * WIDTH * 2
_STREAMED_BELOW = 80
"""Earlier multiprocessors have 64 KiB of shared memory: two taps of weights at a time instead of all nine."""

_SFT_TYPES = "ppppl"
_FIRST_TYPES = "pppppppiiilll"
_SECOND_TYPES = "ppppppiiilll"


@dataclass(frozen=True)
class _Loaded:
    """The kernels of one precision on one device, and how many blocks of the convolution it holds at a time."""

    sft: Kernel
    first: Kernel
    second: Kernel
    most_blocks: int


class FromMapsKernels(DeviceKernels[dict[bool, _Loaded]]):
    """The kernels of ``dcrb_from_maps.cu``, loaded for whichever device is current when they are launched.

    Args:
        cubins: compiled ``dcrb_from_maps.cu`` by SM, at least one.
        driver: stands in for ``cuda.bindings.driver`` in tests.
    """

    @staticmethod
    def workspace_bytes(batch: int, height: int, width: int, fp16: bool) -> int:
        """Return how many bytes of scratch memory a call needs: exactly one feature map."""
        return batch * height * width * WIDTH * (_HALF if fp16 else _FLOAT).element

    def launch(self, arguments: FromMapsArguments, stream: int) -> None:
        """Put a whole block on a stream of the current device and return at once.

        Raises:
            MissingDependency: as :meth:`prepare`, with the first call on a device.
            EngineError: as :meth:`prepare`, or the driver refuses a launch.
        """
        a = arguments
        path = _HALF if a.fp16 else _FLOAT
        kernels = self._current()[a.fp16]
        elements = a.batch * a.height * a.width * WIDTH
        size = (a.batch, a.height, a.width, *a.offset_strides)
        tiles = a.batch * _ceil(a.height, path.tile[0]) * _ceil(a.width, path.tile[1])
        blocks = min(tiles, kernels.most_blocks)
        kernels.sft.launch(_ceil(elements, _BLOCK * path.per_thread), stream, (a.z, a.s1, a.t1, a.out, elements))
        kernels.first.launch(blocks, stream, (a.out, a.offset, a.w1, a.b1, a.s2, a.t2, a.workspace, *size))
        kernels.second.launch(blocks, stream, (a.workspace, a.offset, a.w2, a.b2, a.z, a.out, *size))

    def _load(self, library: Library, sm: int, driver: Any, device: Any) -> dict[bool, _Loaded]:
        multiprocessors = device_attribute(driver, "MULTIPROCESSOR_COUNT", device)
        weights = _TAP_BYTES * (2 if sm < _STREAMED_BELOW else 9)

        def load(path: _Path) -> _Loaded:
            shared = weights if path.persistent else 0
            # Engine files hold compiled kernels, so that their names stay.
            sft = library.kernel(f"dcrb_sft_{path.suffix}", _SFT_TYPES, _BLOCK)
            first = library.kernel(f"dcrb_first_{path.suffix}", _FIRST_TYPES, _BLOCK, shared, device)
            second = library.kernel(f"dcrb_second_{path.suffix}", _SECOND_TYPES, _BLOCK, shared, device)
            resident = min(first.resident_blocks(), second.resident_blocks()) * multiprocessors
            return _Loaded(sft, first, second, resident if path.persistent else MOST_PIXELS)

        return {True: load(_HALF), False: load(_FLOAT)}


def _ceil(value: int, step: int) -> int:
    return -(-value // step)
