"""The orders in which the kernels of ``dcrb_from_maps.cu`` and ``dcrb_from_hidden.cu`` want their weights.

The FP16 kernel multiplies with ``mma.m16n8k16`` and keeps the weights in shared memory. They are stored so that a lane
reads the B fragments of two multiplications with one access of 16 bytes. Input and output channels are permuted on the
way: lane ``4 * g + q`` owns the channels ``8 q ... 8 q + 7`` and ``32 + 8 q ... 32 + 8 q + 7`` of a pixel on both
sides, so that gathers, epilogues and stores are accesses of 16 bytes too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.modelfile.names import WIDTH

PACKED_SHAPE = (9, 4, 4, 32, 8)
"""Taps, steps of 16 input channels, pairs of 8 output channels, lanes, the lane's eight weights."""

SFT_HIDDEN = 8
"""Hidden channels of the gain and of the shift of an SFT layer."""

SFT_SHAPE = (2, 18, 32, 8)
"""Gain and shift, vectors, lanes, halves of a vector."""


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


def pack_sft_weight(gain: NDArray[np.floating], shift: NDArray[np.floating]) -> NDArray[np.float16]:
    """Return the weights of an SFT layer's second convolutions as the kernels of ``dcrb_from_hidden.cu`` want them.

    A lane multiplies nine words of two neighbouring hidden channels, one a tap, into each of eight output tiles: eight
    of a tile lie in two vectors of 16 bytes, the ninth words of all tiles behind them.

    Args:
        gain: (64 out, 8 in, 3, 3), the order of PyTorch and ONNX.
        shift: likewise.

    Returns:
        :data:`SFT_SHAPE` float16, contiguous.

    Raises:
        ValueError: another shape.
    """
    for weight in (gain, shift):
        if weight.shape != (WIDTH, SFT_HIDDEN, 3, 3):
            raise ValueError(f"the kernels take SFT weights of shape {(WIDTH, SFT_HIDDEN, 3, 3)}, not {weight.shape}")
    taps = np.stack([gain, shift]).transpose(0, 3, 4, 2, 1).reshape(2, 9, SFT_HIDDEN, WIDTH)
    tile, tap, lane, element = np.ogrid[:8, :9, :32, :2]
    words = taps[:, tap, 2 * (lane % 4) + element, tile_channel(tile, lane // 4)]  # kind, tile, tap, lane, element
    front = words[:, :, :8].reshape(2, 8, 2, 4, 32, 2).transpose(0, 1, 2, 4, 3, 5)
    packed = np.concatenate([front.reshape(2, -1), words[:, :, 8].reshape(2, -1)], axis=1)
    return np.ascontiguousarray(packed.reshape(SFT_SHAPE), dtype=np.float16)


def pack_sft_bias(gain: NDArray[np.floating], shift: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the biases of an SFT layer's second convolutions, (64,) each: (2, 64) float32, 1 + gain's and shift's.

    The kernels compute (1 + gain) * x + shift, and the 1 costs nothing in here.
    """
    return np.stack([1 + gain.astype(np.float32), shift.astype(np.float32)])
