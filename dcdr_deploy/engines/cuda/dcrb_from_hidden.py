"""A DCRB from hidden maps: launches of the kernels in ``dcrb_from_hidden.cu``, FP16 features (N, H, W, 64).

Gain and shift of an SFT layer are never written: the kernels multiply them from the layer's 16 hidden channels where
they need them. Whoever makes the block's input z also makes u = SFT1(z); the block itself ends with doing that for the
block that follows, if told to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dcdr_deploy.engines.cuda.driver import Kernel, Library, device_attribute
from dcdr_deploy.engines.cuda.loaded import MOST_PIXELS, DeviceKernels
from dcdr_deploy.engines.cuda.packing import SFT_HIDDEN
from dcdr_deploy.engines.cuda.sft import SftLayer, require_alignment
from dcdr_deploy.modelfile.names import WIDTH

SOURCE = "dcrb_from_hidden"
"""Name of the source in ``compiler.py``."""

OFFSET_CHANNELS = 24
"""Channels of a pixel of the offsets; 18 are read."""

MOST_IMAGE_PIXELS = 2**29
"""Of an image: the kernels count eighths of its features in 32 bits."""


@dataclass(frozen=True)
class FromHiddenArguments:
    """One block: z' = z + skip + dc2(SFT2(relu(dc1(u)))), and u' = SFT(z') with the next block's first SFT layer.

    Pointers are addresses on the device; features are (N, H, W, 64) FP16. ``out`` may be ``z`` and ``next_out`` may be
    ``u``; nothing else may overlap what is written.

    Attributes:
        batch: images.
        height: rows of a feature map.
        width: columns of a feature map.
        u: z behind the block's own first SFT layer.
        offset: (N, H, W, 24) FP16: (dy, dx) in pixels for nine taps, and six channels that are not read.
        z: input of the block.
        sft2: the block's second SFT layer.
        w1: weights of the first convolution, from :func:`packing.pack_weight`.
        b1: its biases, FP32 (64,).
        w2: weights of the second.
        b2: its biases.
        out: z'.
        workspace: :meth:`FromHiddenKernels.workspace_bytes` bytes.
        skip: a map that is added to z'; 0 for none.
        next_sft: the SFT layer that makes u' of z'; ``None`` for none.
        next_out: u'; 0 without ``next_sft``.

    Raises:
        ValueError: an empty or far too large picture, a pointer that the kernels cannot read 16 bytes at a time, or
            only one of ``next_sft`` and ``next_out``.
    """

    batch: int
    height: int
    width: int
    u: int
    offset: int
    z: int
    sft2: SftLayer
    w1: int
    b1: int
    w2: int
    b2: int
    out: int
    workspace: int
    skip: int = 0
    next_sft: SftLayer | None = None
    next_out: int = 0

    def __post_init__(self) -> None:
        require_size(self.batch, self.height, self.width)
        if (self.next_sft is None) != (self.next_out == 0):
            raise ValueError("next_sft and next_out belong together")
        names = ("u", "offset", "z", "w1", "b1", "w2", "b2", "out", "workspace", "skip", "next_out")
        require_alignment(**{name: getattr(self, name) for name in names})

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products: two a multiplication."""
        layers = 1 if self.next_sft is None else 2
        return 2 * self._pixels * 9 * WIDTH * (2 * WIDTH + 2 * SFT_HIDDEN * layers)

    @property
    def bytes(self) -> int:
        """Least traffic to memory: every map once."""
        maps = 5 + (self.skip != 0) + (self.next_sft is not None)  # u, v written and read, z, z'
        hidden = 2 * SFT_HIDDEN * (1 if self.next_sft is None else 2)
        return 2 * self._pixels * (maps * WIDTH + hidden + 2 * OFFSET_CHANNELS)

    @property
    def _pixels(self) -> int:
        return self.batch * self.height * self.width


@dataclass(frozen=True)
class SftArguments:
    """An SFT layer alone, for a block whose input comes from elsewhere: out = SFT(z).

    Attributes:
        batch: images.
        height: rows of a feature map.
        width: columns of a feature map.
        z: (N, H, W, 64) FP16.
        sft: the layer.
        out: like ``z``, which it may be.

    Raises:
        ValueError: as :class:`FromHiddenArguments`.
    """

    batch: int
    height: int
    width: int
    z: int
    sft: SftLayer
    out: int

    def __post_init__(self) -> None:
        require_size(self.batch, self.height, self.width)
        require_alignment(z=self.z, out=self.out)


def require_size(batch: int, height: int, width: int, most_of_an_image: int = MOST_IMAGE_PIXELS) -> None:
    """Refuse an empty block and one that is larger than the kernels can count.

    Raises:
        ValueError: it is.
    """
    image = height * width
    if min(batch, height, width) < 1 or batch * image > MOST_PIXELS or image > most_of_an_image:
        raise ValueError(
            f"a block cannot be {batch} x {height} x {width} pixels; the kernels take 1 to {MOST_PIXELS} in all and "
            f"at most {most_of_an_image} an image"
        )


@dataclass(frozen=True)
class Shape:
    """How ``dcrb_from_hidden.cu`` is compiled for a multiprocessor; the numbers at its top are the same.

    Attributes:
        threads: of a block.
        sft_resident: the weights of the SFT layer are kept in shared memory.
        streamed: two taps of the convolution's weights are in shared memory instead of all nine.
    """

    threads: int
    sft_resident: bool
    streamed: bool

    @property
    def tile(self) -> tuple[int, int]:
        """(rows, columns) of output pixels that a block computes at a time."""
        return _WARPS_DOWN * _WARP_ROWS, self.threads // 32 // _WARPS_DOWN * _WARP_COLUMNS

    @property
    def halo_bytes(self) -> int:
        """Shared memory for the hidden channels of the warps' pixels and their neighbours."""
        pixels = (_WARP_ROWS + 2) * (_WARP_COLUMNS + 2)
        return self.threads // 32 * pixels * 2 * SFT_HIDDEN * 2

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory of a block of the convolutions."""
        taps = 2 if self.streamed else 9
        sft = 2 * 9 * SFT_HIDDEN * WIDTH * 2 if self.sft_resident else 0
        return taps * WIDTH * WIDTH * 2 + self.halo_bytes + sft


_WARPS_DOWN, _WARP_ROWS, _WARP_COLUMNS = 4, 4, 8
_THREADS = dict.fromkeys((80, 90, 100, 103, 110, 120, 121), 384)
_FEWER_THREADS = 256
_STREAMED_BELOW = 80
_SFT_RESIDENT = {80, 87, 90, 100, 103, 110}

_FIRST_TYPES = "ppppp" + "ippp" + "iii"
_SECOND_TYPES = "pppppppp" + "ippp" + "iii"
_SFT_TYPES = "pp" + "ippp" + "iii"


def shape_of(sm: int) -> Shape:
    """Return how ``dcrb_from_hidden.cu`` is compiled for a compute capability such as 86."""
    return Shape(_THREADS.get(sm, _FEWER_THREADS), sm in _SFT_RESIDENT, sm < _STREAMED_BELOW)


@dataclass(frozen=True)
class _Loaded:
    """The kernels on one device, their shape, and how many blocks of the convolutions it holds at a time."""

    sft: Kernel
    first: Kernel
    second: Kernel
    shape: Shape
    most_blocks: int


class FromHiddenKernels(DeviceKernels[_Loaded]):
    """The kernels of ``dcrb_from_hidden.cu``, loaded for whichever device is current when they are launched.

    Args:
        cubins: compiled ``dcrb_from_hidden.cu`` by SM, at least one.
        driver: stands in for ``cuda.bindings.driver`` in tests.
        shape: how the cubins were compiled; ``None`` for :func:`shape_of` their SM.
    """

    def __init__(self, cubins: Mapping[int, bytes], driver: Any = None, shape: Shape | None = None) -> None:
        super().__init__(cubins, driver)
        self._given_shape = shape

    @staticmethod
    def workspace_bytes(batch: int, height: int, width: int) -> int:
        """Return how many bytes of scratch memory a block needs: exactly one feature map."""
        return batch * height * width * WIDTH * 2

    def launch(self, arguments: FromHiddenArguments, stream: int) -> None:
        """Put a whole block on a stream of the current device and return at once.

        Raises:
            MissingDependency: as :meth:`prepare`, with the first call on a device.
            EngineError: as :meth:`prepare`, or the driver refuses a launch.
        """
        self.launch_first(arguments, stream)
        self.launch_second(arguments, stream)

    def launch_first(self, arguments: FromHiddenArguments, stream: int) -> None:
        """Put the block's first half on a stream: workspace = SFT2(relu(dc1(u))). Errors as :meth:`launch`."""
        a, kernels, size = arguments, self._current(), (arguments.batch, arguments.height, arguments.width)
        sft = (a.sft2.channels, a.sft2.stride, a.sft2.weight, a.sft2.bias)
        blocks = min(_tiles(kernels.shape, *size), kernels.most_blocks)
        kernels.first.launch(blocks, stream, (a.u, a.offset, a.w1, a.b1, *sft, a.workspace, *size))

    def launch_second(self, arguments: FromHiddenArguments, stream: int) -> None:
        """Put its second half on a stream: z' and u' from workspace and z. Errors as :meth:`launch`."""
        a, kernels, size = arguments, self._current(), (arguments.batch, arguments.height, arguments.width)
        sft = (0, 0, 0, 0)
        if a.next_sft is not None:
            sft = (a.next_sft.channels, a.next_sft.stride, a.next_sft.weight, a.next_sft.bias)
        blocks = min(_tiles(kernels.shape, *size), kernels.most_blocks)
        values = (a.workspace, a.offset, a.w2, a.b2, a.z, a.skip, a.out, *sft, a.next_out, *size)
        kernels.second.launch(blocks, stream, values)

    def launch_sft(self, arguments: SftArguments, stream: int) -> None:
        """Put an SFT layer alone on a stream of the current device and return at once. Errors as :meth:`launch`."""
        a, kernels, size = arguments, self._current(), (arguments.batch, arguments.height, arguments.width)
        values = (a.z, a.sft.channels, a.sft.stride, a.sft.weight, a.sft.bias, a.out, *size)
        kernels.sft.launch(_tiles(kernels.shape, *size), stream, values)

    def _load(self, library: Library, sm: int, driver: Any, device: Any) -> _Loaded:
        shape = self._given_shape or shape_of(sm)
        # Engine files hold compiled kernels, so that their names stay.
        sft = library.kernel("dcrb2_sft", _SFT_TYPES, shape.threads, shape.halo_bytes, device)
        first = library.kernel("dcrb2_first", _FIRST_TYPES, shape.threads, shape.shared_bytes, device)
        second = library.kernel("dcrb2_second", _SECOND_TYPES, shape.threads, shape.shared_bytes, device)
        resident = min(first.resident_blocks(), second.resident_blocks())
        return _Loaded(sft, first, second, shape, resident * device_attribute(driver, "MULTIPROCESSOR_COUNT", device))


def _tiles(shape: Shape, batch: int, height: int, width: int) -> int:
    rows, columns = shape.tile
    return batch * -(-height // rows) * -(-width // columns)
