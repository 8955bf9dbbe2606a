"""3x3 convolutions as launches of the kernels in ``convolution.cu``.

The kernels are loaded once for each device; :meth:`ConvolutionKernels.launch` does nothing but launch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dcdr_deploy.engines.cuda.convolution_packing import chunk_channels
from dcdr_deploy.engines.cuda.convolution_table import PREFIX, RINGS, Variant, variants
from dcdr_deploy.engines.cuda.driver import Kernel, Library, device_attribute
from dcdr_deploy.engines.cuda.loaded import MOST_PIXELS, DeviceKernels
from dcdr_deploy.engines.cuda.sft import SftLayer

SLOPES = {"none": 1.0, "relu": 0.0, "leaky": 0.1}
"""Slope below zero of each activation."""

ENDS = ("product", "planar", "interleaved")
"""What can become of a result of three channels, in the order of the kernels' numbers."""

_KERNELS = {
    (4, 32): "4_32",
    (4, 64): "4_64",
    (32, 8): "32_3",
    (32, 16): "32_16",
    (32, 32): "32_32",
    (32, 64): "32_32",
    (32, 128): "32_32",
    (64, 8): "64_3",
    (64, 24): "64_24",
    (64, 64): "64_64",
    (64, 256): "64_256",
}
_TYPES = "pppppppppiiiiiiiif"
_RING_TILES = 8
"""Tiles, a warp each, of a block that adds up their rings."""


@dataclass(frozen=True)
class SecondConvolution:
    """A convolution to three channels that is computed from another one's result, which is not stored.

    Attributes:
        weight: pointer to what :func:`convolution_packing.pack_second_weight` returns.
        bias: three float32.
        rings: scratch memory of :func:`convolution_table.ring_bytes`.
    """

    weight: int
    bias: int
    rings: int


@dataclass(frozen=True)
class ConvolutionArguments:
    """One 3x3 convolution with zero padding of 1, and what follows it.

    ``v = activation(convolution(upsample(x)) + bias)``, shuffled, plus the residual. Without an SFT layer ``out = v``;
    with one ``out = SFT(v)``, or, if there is a second output, ``out = v`` and ``second = SFT(v)``. From 32 to 32
    channels a second output gets the upper 16 of them, and ``out`` the lower 16. Maps are NHWC FP16. Pointers are
    addresses on the device, aligned as widely as they are read, 16 bytes at most. Nothing may overlap an
    output, but ``residual`` may be ``out``.

    Attributes:
        batch: images.
        height: rows of ``x``, before it is upsampled.
        width: columns of ``x``.
        channels_in: 4, 32 or 64.
        channels_out: 8 (a result of three channels, see ``end``), 16, 24, 32, 64, 128 or 256; not all go with all.
        x: input map.
        weight: from :func:`convolution_packing.pack_weight`.
        bias: from :func:`convolution_packing.pack_bias`.
        out: result: (N, ceil(H / stride), ceil(W / stride), channels_out), (N, 2 H, 2 W, 64) after a shuffle.
        activation: a name in :data:`SLOPES`.
        stride: 1, or 2 from 64 to 64 channels.
        upsample: 1, or 2 or 4 from 32 to 32 channels: bilinear, without aligned corners.
        shuffle: pixel shuffle by two; it is what makes 64 to 256 channels, and there always.
        residual: map like ``out`` that is added, after a shuffle only; 0 for none.
        sft: SFT layer; from 4 to 64 channels, with stride 2, and after a shuffle.
        second: see above; 0 for none.
        then: convolution to three channels that follows one from 64 to 64; what its result becomes is ``end``.
        end: "features", or for a result of three channels one of :data:`ENDS`. "product": ``out`` is FP32
            (N, H, W, 4), the image times the result, the fourth channel 0. "planar": FP16 (N, 3, H, W), the result
            plus the tone map. "interleaved": the same as FP32 (N, H, W, 3).
        image: FP16 (N, H, W, 4), for "product".
        tone: FP32 (N, H, W, 4) as "product" leaves it, for "planar" and "interleaved"; 0 for none.

    Raises:
        ValueError: there is no such kernel, a picture is empty or too large, or a pointer is not aligned.
    """

    batch: int
    height: int
    width: int
    channels_in: int
    channels_out: int
    x: int
    weight: int
    bias: int
    out: int
    activation: str = "none"
    stride: int = 1
    upsample: int = 1
    shuffle: bool = False
    residual: int = 0
    sft: SftLayer | None = None
    second: int = 0
    then: SecondConvolution | None = None
    end: str = "features"
    image: int = 0
    tone: int = 0
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self._key())
        rows, columns = self.output_size
        if (
            min(self.batch, self.height, self.width) < 1
            or self.batch * max(rows, self.height) * max(columns, self.width) > MOST_PIXELS
        ):
            raise ValueError(f"a convolution cannot be {self.batch} x {rows} x {columns} pixels")
        pointers = {name: getattr(self, name) for name in _POINTERS}
        if self.sft:
            pointers["sft.bias"] = self.sft.bias
        if self.then:
            pointers.update({f"then.{name}": getattr(self.then, name) for name in ("weight", "bias", "rings")})
        needed = {
            "then.bias": 4,
            "image": 8,
            "x": min(16, 2 * self.channels_in),
            "out": _OUT_ALIGNMENT.get(self.end, 16),
        }
        crooked = [f"{name} to {needed.get(name, 16)}" for name in pointers if pointers[name] % needed.get(name, 16)]
        if crooked:
            raise ValueError(f"pointers are not aligned to bytes: {', '.join(crooked)}")

    def _key(self) -> str:
        """What the kernel is called in the table."""
        key = _KERNELS.get((self.channels_in, self.channels_out))
        three = self.channels_out == 8 or self.then is not None
        if self.stride == 2 and key == "64_64":
            key = "64_64_down"
        elif self.stride != 1:
            key = None
        if self.upsample in (2, 4) and (self.channels_in, self.channels_out) == (32, 32):
            key = "32_32_up"
        elif self.upsample != 1:
            key = None
        if self.sft and key == "4_64":
            key = "4_64_sft"
        if self.then:
            key = "64_64_3" if key == "64_64" else None
        fitting = (
            key is not None
            and self.activation in SLOPES
            and self.shuffle == (self.channels_out == 256)
            and (not self.sft or key in ("4_64_sft", "64_64_down", "64_256"))
            and (not self.residual or self.shuffle)
            and (not self.second or self.sft is not None or self._in_halves)
            and (self.end in ENDS if three else self.end == "features")
            and (self.image != 0) == (self.end == "product")
            and (not self.tone or self.end in ("planar", "interleaved"))
        )
        if not fitting or key is None:
            raise ValueError(
                f"no kernel convolves {self.channels_in} to {self.channels_out} channels with stride {self.stride}, "
                f"upsampling by {self.upsample}, {'' if self.shuffle else 'no '}shuffle, "
                f"{'' if self.sft else 'no '}SFT layer, {'a' if self.then else 'no'} second convolution, "
                f"end {self.end!r} and activation {self.activation!r}"
            )
        return key

    @property
    def _in_halves(self) -> bool:
        """Whether output channels go to two maps."""
        return self.sft is None and self.second != 0 and (self.channels_in, self.channels_out) == (32, 32)

    @property
    def out_channels(self) -> int:
        """Channels of the map ``out``, where it is one of features."""
        return 64 if self.shuffle else 16 if self._in_halves else self.channels_out

    @property
    def product_size(self) -> tuple[int, int]:
        """Rows and columns of pixels that are multiplied: those of the output, before a shuffle."""
        return tuple((size * self.upsample - 1) // self.stride + 1 for size in (self.height, self.width))  # type: ignore[return-value]

    @property
    def output_size(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        rows, columns = self.product_size
        return (2 * rows, 2 * columns) if self.shuffle else (rows, columns)

    @property
    def flops(self) -> int:
        """Operations that the network asks for; those on padded channels do not count."""
        rows, columns = self.product_size
        channels_in = 3 if self.channels_in == 4 else self.channels_in
        channels_out = {8: 3, 24: 18}.get(self.channels_out, self.channels_out)
        sft = 2 * 2 * 9 * 8 * 64 * self.output_size[0] * self.output_size[1] if self.sft else 0
        then = 2 * 9 * 64 * 3 * rows * columns if self.then else 0
        return self.batch * (2 * 9 * channels_in * channels_out * rows * columns + sft + then)

    @property
    def bytes(self) -> int:
        """Least traffic to and from memory: every map once, weights not counted."""
        rows, columns = self.output_size
        outputs = {"features": 2 * self.out_channels, "product": 16, "planar": 6}
        pixel = outputs.get(self.end, 12) * (2 if self.second else 1)
        pixel += (8 if self.image else 0) + (16 if self.tone else 0) + (128 if self.residual else 0)
        pixel += 32 if self.sft else 0
        return self.batch * (2 * self.channels_in * self.height * self.width + pixel * rows * columns)


_OUT_ALIGNMENT = {"planar": 2, "interleaved": 4}
_POINTERS = ("x", "weight", "bias", "out", "residual", "second", "image", "tone")


@dataclass(frozen=True)
class _Loaded:
    """A kernel on one device, and how many blocks of it the device holds at a time."""

    kernel: Kernel
    variant: Variant
    most_blocks: int


@dataclass(frozen=True)
class _OnDevice:
    """The kernels on one device: the convolutions' by their names in the table, and that of the tiles' rings."""

    convolutions: dict[str, _Loaded]
    rings: Kernel


class ConvolutionKernels(DeviceKernels[_OnDevice]):
    """The kernels of ``convolution.cu``, loaded for whichever device is current when they are launched.

    Args:
        cubins: compiled ``convolution.cu`` by SM, at least one.
        driver: stands in for ``cuda.bindings.driver`` in tests.
        table: the kernels' measures that the cubins were compiled with.
    """

    def __init__(
        self,
        cubins: Mapping[int, bytes],
        driver: Any = None,
        table: Callable[[int], Mapping[str, Variant]] = variants,
    ) -> None:
        super().__init__(cubins, driver)
        self._table = table

    def launch(self, arguments: ConvolutionArguments, stream: int) -> None:
        """Put a convolution on a stream of the current device and return at once.

        Raises:
            MissingDependency: as :meth:`prepare`, with the first call on a device.
            EngineError: as :meth:`prepare`, or the driver refuses a launch.
        """
        a = arguments
        on_device = self._current()
        loaded = on_device.convolutions[a.key]
        rows, columns = a.product_size
        tile_rows, tile_columns = loaded.variant.shape.tile
        tiles = a.batch * _ceil(rows, tile_rows) * _ceil(columns, tile_columns)
        chunks = a.channels_out // chunk_channels(a.channels_in, a.channels_out)
        blocks = chunks * min(_ceil(tiles, loaded.variant.shape.workers), max(1, loaded.most_blocks // chunks))
        sft = a.sft
        hidden, stride, weight, bias = (sft.channels, sft.stride, sft.weight, sft.bias) if sft else (0, 0, 0, 0)
        second = a.second or (a.out + 32 if a.key == "32_32" else 0)  # where the upper 16 of 32 channels go
        then = a.then or SecondConvolution(weight, bias, second)
        extra = a.residual or a.image or a.tone
        maps = (a.x, a.weight, a.bias, a.out, extra, then.rings)
        layer = (hidden, then.weight, then.bias)
        end = ENDS.index(a.end) if a.end in ENDS else 0
        sizes = (a.batch, a.height, a.width, a.upsample, chunks, a.out_channels, stride)
        loaded.kernel.launch(blocks, stream, (*maps, *layer, *sizes, end, SLOPES[a.activation]))
        if a.then:
            numbers = (a.batch, rows, columns, tile_rows, tile_columns, end)
            on_device.rings.launch(_ceil(tiles, _RING_TILES), stream, (then.rings, then.bias, a.out, extra, *numbers))

    def resident_blocks(self) -> dict[str, int]:
        """Return how many blocks of each kernel the current device holds at a time."""
        return {key: loaded.most_blocks for key, loaded in self._current().convolutions.items()}

    def _load(self, library: Library, sm: int, driver: Any, device: Any) -> _OnDevice:
        multiprocessors = device_attribute(driver, "MULTIPROCESSOR_COUNT", device)
        kernels = {}
        for key, variant in self._table(sm).items():
            shape = variant.shape
            kernel = library.kernel(PREFIX + key, _TYPES, shape.threads, shape.shared_bytes, device)
            kernels[key] = _Loaded(kernel, variant, kernel.resident_blocks() * multiprocessors)
        return _OnDevice(kernels, library.kernel(RINGS, "ppppiiiiii", 32 * _RING_TILES))


def _ceil(value: int, step: int) -> int:
    return -(-value // step)
