"""The orders in which the kernels of ``convolution.cu`` want their weights and biases.

A convolution is a product of a matrix of pixels and one of weights, whose rows are taps and, within a tap, input
channels. ``mma.m16n8k16`` takes 16 rows by 8 columns (a tile) of it at a time. The weights are stored so that a lane
reads the fragments of two tiles with one access of 16 bytes. Columns are permuted: lane ``4 * g + q`` owns
neighbouring channels of a pixel, so that stores, residuals and outputs are accesses of up to 16 bytes too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.cuda.packing import SFT_HIDDEN
from dcdr_deploy.modelfile.names import WIDTH


def pack_weight(
    weight: NDArray[np.floating], channels_in: int, channels_out: int, shuffle: bool = False
) -> NDArray[np.float16]:
    """Return the weights of a convolution in the order of the kernels' fragments.

    Args:
        weight: (out, in, 3, 3), the order of PyTorch and ONNX. Missing channels count as zero.
        channels_in: channels of the input map: 4, 32 or 64.
        channels_out: channels of the output map; 8 for a result of three.
        shuffle: the output goes through a pixel shuffle by two; channels come in groups of one place of it.

    Returns:
        one-dimensional float16.

    Raises:
        ValueError: the weights have more channels than the maps, or are no 3x3 convolution's.
    """
    if (
        weight.ndim != 4
        or weight.shape[2:] != (3, 3)
        or weight.shape[0] > channels_out
        or weight.shape[1] > channels_in
    ):
        raise ValueError(f"weights {weight.shape} do not fit ({channels_out}, {channels_in}, 3, 3)")
    padded = np.zeros((channels_out, channels_in, 3, 3), np.float32)
    padded[: weight.shape[0], : weight.shape[1]] = weight
    rows = padded.transpose(2, 3, 1, 0).reshape(9 * channels_in, channels_out)
    if channels_in == 4:  # 36 rows: the kernels take two steps of 16 and one of 8
        rows = np.concatenate([rows, np.zeros((4, channels_out), np.float32)])
    chunk = chunk_channels(channels_in, channels_out)
    chunks = _shuffled(rows, shuffle).reshape(rows.shape[0], -1, chunk)
    return np.concatenate([_fragments(chunks[:, number]) for number in range(chunks.shape[1])])


def pack_bias(bias: NDArray[np.floating], channels_out: int, shuffle: bool = False) -> NDArray[np.float32]:
    """Return the biases of a convolution, (channels_out,) float32; arguments as in :func:`pack_weight`.

    Raises:
        ValueError: there are more biases than channels.
    """
    if bias.ndim != 1 or bias.size > channels_out:
        raise ValueError(f"biases {bias.shape} do not fit ({channels_out},)")
    padded = np.zeros(channels_out, np.float32)
    padded[: bias.size] = bias
    return np.ascontiguousarray(_shuffled(padded, shuffle))


def pack_sft_weight(gain: NDArray[np.floating], shift: NDArray[np.floating]) -> NDArray[np.float16]:
    """Return the weights of the second convolutions of an SFT layer's gain and shift, each (64, 8, 3, 3).

    Returns:
        (2, 9 * 8 * 64) float16, gain and shift.

    Raises:
        ValueError: another shape.
    """
    maps = []
    for weight in (gain, shift):
        if weight.shape != (WIDTH, SFT_HIDDEN, 3, 3):
            raise ValueError(f"the kernels take SFT weights of shape {(WIDTH, SFT_HIDDEN, 3, 3)}, not {weight.shape}")
        maps.append(_fragments(weight.transpose(2, 3, 1, 0).reshape(9 * SFT_HIDDEN, WIDTH)))
    return np.stack(maps)


def pack_second_weight(weight: NDArray[np.floating]) -> NDArray[np.float16]:
    """Return the weights of a second convolution, from the 64 channels of a first one to three.

    Rows are the first one's channels in the order in which its sums lie in the registers; columns are the shares of the
    nine pixels around one, three channels each.

    Args:
        weight: (3, in, 3, 3). Missing channels count as zero.

    Returns:
        (64 * 32,) float16.

    Raises:
        ValueError: another shape.
    """
    if weight.ndim != 4 or weight.shape[0] != 3 or weight.shape[1] > WIDTH or weight.shape[2:] != (3, 3):
        raise ValueError(f"a second convolution has weights of shape {(3, WIDTH, 3, 3)}, not {weight.shape}")
    padded = np.zeros((WIDTH, 27), np.float32)
    padded[: weight.shape[1]] = weight.transpose(1, 2, 3, 0).reshape(-1, 27)
    rows = padded[channel_of(WIDTH // 8).reshape(-1)]
    return _fragments(np.pad(rows, ((0, 0), (0, 5))))


def chunk_channels(channels_in: int, channels_out: int) -> int:
    """Output channels that a block of the kernels computes."""
    return min(channels_out, 32 if channels_in == 32 else 64)


def channel_of(tiles: int) -> NDArray[np.intp]:
    """Return (tiles, 8): the channel that column 0 ... 7 of each of a block's tiles computes."""
    group = min(tiles, 4)
    tile, column = np.ogrid[:tiles, :8]
    return 8 * group * (tile // group) + 2 * group * (column // 2) + 2 * (tile % group) + column % 2


def _shuffled(values: NDArray[np.float32], shuffle: bool) -> NDArray[np.float32]:
    """Bring channels 4 c + place, as a pixel shuffle by two reads them, into the order (place, c)."""
    if not shuffle:
        return values
    return values.reshape(*values.shape[:-1], -1, 4).swapaxes(-1, -2).reshape(values.shape)


def _fragments(rows: NDArray[np.floating]) -> NDArray[np.float16]:
    """Order a matrix (K, channels) as fragments: steps of 16 rows, then of what is left of 8.

    A step is ordered by pairs of tiles (single tiles if their number is odd), lanes, tiles of the pair, halves of the
    step, and two neighbouring rows, which is what a lane holds of it in a register.
    """
    count, channels = rows.shape
    tiles = channels // 8
    unit = 1 if tiles % 2 else 2
    columns = channel_of(tiles).reshape(tiles // unit, unit, 8)
    pair, lane, tile, half, element = np.ogrid[: tiles // unit, :32, :unit, :2, :2]
    column = columns[pair, tile, lane // 4]
    whole = rows[: count // 16 * 16].reshape(-1, 16, channels)
    steps = whole[:, 8 * half + 2 * (lane % 4) + element, column]
    rest = rows[count // 16 * 16 :].reshape(-1, 8, channels)
    last = rest[:, (2 * (lane % 4) + element)[:, :, :, 0], column[:, :, :, 0]]
    return np.concatenate([steps.ravel(), last.ravel()]).astype(np.float16)
