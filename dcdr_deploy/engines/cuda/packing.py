"""The orders in which the kernels of ``dcrb.cu`` want the weights of a deformable convolution.

The FP16 kernel multiplies with ``mma.m16n8k16`` and keeps the weights in shared memory. They are stored so that a lane
reads the B fragments of two multiplications with one access of 16 bytes. Input and output channels are permuted on the
way: lane ``4 * g + q`` owns the channels ``8 q ... 8 q + 7`` and ``32 + 8 q ... 32 + 8 q + 7`` of a pixel on both
sides, so that gathers, epilogues and stores are accesses of 16 bytes too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH = 64
"""Channels of a block; the only width the kernels are written for."""

PACKED_SHAPE = (9, 4, 4, 32, 8)
"""Taps, steps of 16 input channels, pairs of 8 output channels, lanes, the lane's eight weights."""


def plain_weight(weight: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the weights as the FP32 kernel wants them: tap, input channel, output channel.

    Args:
        weight: (64 out, 64 in, 3, 3), the order of PyTorch and ONNX.

    Returns:
        (9, 64 in, 64 out) float32, contiguous.

    Raises:
        ValueError: another shape.
    """
    if weight.shape != (WIDTH, WIDTH, 3, 3):
        raise ValueError(f"the kernels take weights of shape {(WIDTH, WIDTH, 3, 3)}, not {weight.shape}")
    taps = weight.transpose(2, 3, 1, 0).reshape(9, WIDTH, WIDTH)
    return np.ascontiguousarray(taps, dtype=np.float32)


def pack_weight(weight: NDArray[np.floating]) -> NDArray[np.float16]:
    """Return the weights as the FP16 kernel wants them: in the order of its B fragments.

    Args:
        weight: (64 out, 64 in, 3, 3), the order of PyTorch and ONNX.

    Returns:
        :data:`PACKED_SHAPE` float16, contiguous. The eight weights of a lane are [tile of the pair][half of the step]
        [two neighbouring input channels].

    Raises:
        ValueError: another shape.
    """
    step, pair, lane, tile, half, element = np.ogrid[:4, :4, :32, :2, :2, :2]
    channel_in = lane_channel(lane % 4, 2 * step + half) + element
    channel_out = tile_channel(2 * pair + tile, lane // 4)
    packed = plain_weight(weight)[:, channel_in, channel_out]
    return np.ascontiguousarray(packed.reshape(PACKED_SHAPE), dtype=np.float16)


def lane_channel(q: NDArray[np.integer], register: NDArray[np.integer]) -> NDArray[np.integer]:
    """First of the two channels that lanes ``4 * g + q`` hold in half2 register 0 ... 7 of a gathered pixel."""
    return 32 * (register // 4) + 8 * q + 2 * (register % 4)


def tile_channel(tile: NDArray[np.integer], column: NDArray[np.integer]) -> NDArray[np.integer]:
    """Output channel that column 0 ... 7 of output tile 0 ... 7 computes."""
    return 32 * (tile // 4) + 8 * (column // 2) + 2 * (tile % 4) + column % 2
