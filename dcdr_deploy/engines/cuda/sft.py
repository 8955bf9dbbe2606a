"""An SFT layer as the kernels take it: gain and shift are computed from hidden maps where they are used."""

from __future__ import annotations

from dataclasses import dataclass

from dcdr_deploy.engines.cuda.packing import SFT_HIDDEN

ALIGNMENT = 16
"""Bytes that the kernels read at a time."""


@dataclass(frozen=True)
class SftLayer:
    """Where the gain and shift of an SFT layer come from. Pointers are addresses on the device.

    Attributes:
        hidden: hidden map (N, H, W, ``stride``) FP16 of the features' size, behind its leaky ReLU.
        stride: channels of a pixel of the hidden map, a multiple of 8.
        first: first of the layer's 16 channels, a multiple of 8: 8 of the gain, then 8 of the shift.
        weight: from ``pack_sft_weight`` of :mod:`packing` for blocks, of :mod:`convolution_packing` for convolutions.
        bias: from :func:`packing.pack_sft_bias`.

    Raises:
        ValueError: channels that the map does not have, or that cannot be read 16 bytes at a time.
    """

    hidden: int
    stride: int
    first: int
    weight: int
    bias: int

    def __post_init__(self) -> None:
        if self.stride % 8 or self.first % 8 or not 0 <= self.first <= self.stride - 2 * SFT_HIDDEN:
            raise ValueError(
                f"a hidden map of {self.stride} channels has no SFT layer's 16 from channel {self.first} on"
            )
        require_alignment(hidden=self.hidden, weight=self.weight)

    @property
    def channels(self) -> int:
        """Address of the first pixel's first channel of the layer."""
        return self.hidden + 2 * self.first


def require_alignment(**pointers: int) -> None:
    """Refuse pointers that are not aligned to :data:`ALIGNMENT` bytes.

    Raises:
        ValueError: it names them.
    """
    crooked = [name for name, pointer in pointers.items() if pointer % ALIGNMENT]
    if crooked:
        raise ValueError(f"not aligned to {ALIGNMENT} bytes: {', '.join(crooked)}")
