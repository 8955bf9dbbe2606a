"""The packed weights are what the tensor cores' fragments need, checked by multiplying as a warp does."""

from __future__ import annotations

import numpy as np
import pytest

from dcdr_deploy.engines.cuda.convolution_packing import (
    channel_of,
    chunk_channels,
    pack_bias,
    pack_second_weight,
    pack_sft_weight,
    pack_weight,
)


def weight(out: int, into: int) -> np.ndarray:
    return np.random.default_rng(out + into).standard_normal((out, into, 3, 3)).astype(np.float16)


def unpacked(packed: np.ndarray, count: int, channels: int) -> np.ndarray:
    """Return the matrix (count, channels) that fragments stand for, by the PTX manual's figures of mma.m16n8k16 and k8.

    A lane 4 g + q holds of the 16 (8) rows those numbered 2q, 2q + 1 (and 2q + 8, 2q + 9) of column g.
    """
    tiles = channels // 8
    unit = 1 if tiles % 2 else 2
    matrix = np.full((count, channels), np.nan)
    words = iter(packed.reshape(-1, 2))
    for first, halves in [(row, 2) for row in range(0, count - 15, 16)] + [(count - 8, 1)] * (count % 16 == 8):
        for pair in range(tiles // unit):
            for lane in range(32):
                for tile in range(unit):
                    for half in range(halves):
                        row = first + 8 * half + 2 * (lane % 4)
                        column = channel_of(tiles)[unit * pair + tile, lane // 4]
                        matrix[row : row + 2, column] = next(words)
    assert next(words, None) is None
    return matrix


@pytest.mark.parametrize(("into", "out"), [(4, 32), (4, 64), (32, 8), (32, 16), (32, 32), (64, 8), (64, 24), (64, 64)])
def test_fragments_hold_every_weight_at_its_tap_channel_and_column(into, out):
    given = weight(out, into)
    rows = given.transpose(2, 3, 1, 0).reshape(9 * into, out)
    count = 40 if into == 4 else 9 * into
    matrix = unpacked(pack_weight(given, into, out), count, out)
    np.testing.assert_array_equal(matrix[: 9 * into], rows)
    np.testing.assert_array_equal(matrix[9 * into :], 0)


@pytest.mark.parametrize("tiles", [1, 2, 3, 4, 8])
def test_columns_are_a_permutation_in_which_a_lane_owns_neighbours(tiles):
    channels = channel_of(tiles)
    assert sorted(channels.ravel()) == list(range(8 * tiles))
    group = min(tiles, 4)
    for q in range(4):
        own = channels[:group, 2 * q : 2 * q + 2].ravel()
        np.testing.assert_array_equal(own, own[0] + np.arange(2 * group))


@pytest.mark.parametrize(("into", "out", "shuffle"), [(32, 128, False), (64, 256, True)])
def test_wide_outputs_come_in_chunks(into, out, shuffle):
    given = weight(out, into)
    chunk = chunk_channels(into, out)
    packed = pack_weight(given, into, out, shuffle).reshape(out // chunk, -1)
    bias = pack_bias(np.arange(out, dtype=np.float32), out, shuffle).reshape(out // chunk, -1)
    for number in range(out // chunk):
        # Pixel shuffle: channel 4 c + place goes to place (place // 2, place % 2) of channel c.
        own = slice(number, None, out // chunk) if shuffle else slice(number * chunk, (number + 1) * chunk)
        np.testing.assert_array_equal(packed[number], pack_weight(given[own], into, chunk))
        np.testing.assert_array_equal(bias[number], np.arange(out)[own])


def test_missing_channels_are_zero():
    given = weight(18, 48)
    matrix = unpacked(pack_weight(given, 64, 24), 9 * 64, 24).reshape(9, 64, 24)
    np.testing.assert_array_equal(matrix[:, :48, :18], given.transpose(2, 3, 1, 0).reshape(9, 48, 18))
    assert not matrix[:, 48:].any()
    assert not matrix[:, :, 18:].any()
    np.testing.assert_array_equal(pack_bias(np.ones(18), 24), [1] * 18 + [0] * 6)


def test_an_sft_layers_maps_follow_each_other():
    gain, shift = weight(64, 8), -weight(64, 8)
    packed = pack_sft_weight(gain, shift)
    for map_packed, given in zip(packed, (gain, shift), strict=True):
        np.testing.assert_array_equal(unpacked(map_packed, 72, 64), given.transpose(2, 3, 1, 0).reshape(72, 64))


@pytest.mark.parametrize("width", [64, 48])
def test_a_second_convolution_has_a_row_for_each_channel_as_the_first_ones_sums_lie_in_registers(width):
    given = weight(3, width)
    matrix = unpacked(pack_second_weight(given), 64, 32)
    channels = channel_of(8).reshape(-1)
    assert sorted(channels) == list(range(64))
    for row, channel in enumerate(channels):
        shares = given[:, channel].transpose(1, 2, 0).reshape(27) if channel < width else np.zeros(27)
        np.testing.assert_array_equal(matrix[row], [*shares, *[0] * 5])


@pytest.mark.parametrize("shape", [(65, 64, 3, 3), (64, 65, 3, 3), (64, 64, 1, 1), (64, 64)])
def test_weights_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match=r"do not fit \(64, 64, 3, 3\)"):
        pack_weight(np.zeros(shape), 64, 64)


def test_biases_and_sft_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"do not fit \(64,\)"):
        pack_bias(np.zeros(65), 64)
    with pytest.raises(ValueError, match=r"SFT weights of shape \(64, 8, 3, 3\), not \(64, 16, 3, 3\)"):
        pack_sft_weight(weight(64, 8), weight(64, 16))
    with pytest.raises(ValueError, match=r"weights of shape \(3, 64, 3, 3\), not \(4, 64, 3, 3\)"):
        pack_second_weight(weight(4, 64))
