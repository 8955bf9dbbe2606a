"""The packed weights are what the tensor cores' fragments need, checked by multiplying as a warp does."""

from __future__ import annotations

import numpy as np
import pytest

from dcdr_deploy.engines.cuda.packing import (
    PACKED_SHAPE,
    SFT_HIDDEN,
    SFT_SHAPE,
    lane_channel,
    pack_sft_bias,
    pack_sft_weight,
    pack_weight,
    plain_weight,
    tile_channel,
)
from dcdr_deploy.modelfile.names import WIDTH

LANES = [(lane, lane & 3, lane >> 2) for lane in range(32)]  # number, q, g


def weight(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((WIDTH, WIDTH, 3, 3)).astype(np.float16)


def multiply_like_a_warp(pixels: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """Multiply 16 pixels (16, 64) by a tap's packed weights as 4 x 8 mma.m16n8k16 do it; returns (16, 64).

    The fragments are those of the PTX manual: a lane holds of A the rows g and g + 8 and of each eight columns 2q and
    2q + 1, of B the same as rows and column g, of C the rows g and g + 8 and columns 2q and 2q + 1.
    """
    result = np.full((16, WIDTH), np.nan)
    for tile in range(8):
        product = np.zeros((16, 8))
        for step in range(4):
            a, b = np.full((16, 16), np.nan), np.full((16, 8), np.nan)
            for lane, q, g in LANES:
                for half in range(2):
                    channel = lane_channel(np.int64(q), np.int64(2 * step + half))
                    columns = slice(8 * half + 2 * q, 8 * half + 2 * q + 2)
                    for row in (g, g + 8):
                        a[row, columns] = pixels[row, channel : channel + 2]
                    start = 4 * (tile % 2) + 2 * half
                    b[columns, g] = packed[step, tile // 2, lane, start : start + 2]
            product += a @ b
        for _, q, _ in LANES:
            for column in (2 * q, 2 * q + 1):
                result[:, tile_channel(np.int64(tile), np.int64(column))] = product[:, column]
    return result


@pytest.mark.parametrize("tap", range(9))
def test_a_warp_that_multiplies_packed_weights_applies_the_tap(tap):
    weights = weight()
    pixels = np.random.default_rng(1).standard_normal((16, WIDTH))
    expected = pixels @ weights.reshape(WIDTH, WIDTH, 9)[:, :, tap].T.astype(float)
    np.testing.assert_allclose(multiply_like_a_warp(pixels, pack_weight(weights)[tap]), expected, atol=1e-10)


def test_a_lane_owns_two_runs_of_eight_channels_on_both_sides():
    for q in range(4):
        gathered = [int(lane_channel(np.int64(q), np.int64(register))) for register in range(8)]
        written = [int(tile_channel(np.int64(tile), np.int64(2 * q))) for tile in range(8)]
        assert gathered == written == [8 * q, 8 * q + 2, 8 * q + 4, 8 * q + 6, *(32 + 8 * q + 2 * k for k in range(4))]


def test_packing_only_moves_weights():
    weights = weight()
    packed = pack_weight(weights)
    assert (packed.shape, packed.dtype, packed.flags.c_contiguous) == (PACKED_SHAPE, np.float16, True)
    np.testing.assert_array_equal(np.sort(packed.reshape(9, -1)), np.sort(weights.reshape(-1, 9).T))


def test_plain_weights_are_tap_input_output():
    weights = weight()
    plain = plain_weight(weights)
    assert (plain.shape, plain.dtype, plain.flags.c_contiguous) == ((9, WIDTH, WIDTH), np.float32, True)
    assert plain[3 * 2 + 1, 5, 60] == weights[60, 5, 2, 1]


def test_a_warp_that_multiplies_packed_sft_weights_applies_gain_and_shift():
    """A lane has nine words of each output tile: a word is a tap, its halves are two hidden channels."""
    rng = np.random.default_rng(2)
    layers = [rng.standard_normal((WIDTH, SFT_HIDDEN, 3, 3)).astype(np.float16) for _ in range(2)]
    packed = pack_sft_weight(*layers)
    assert (packed.shape, packed.dtype, packed.flags.c_contiguous) == (SFT_SHAPE, np.float16, True)
    for kind, weights in enumerate(layers):
        vectors = packed[kind, :16].reshape(8, 2, 32, 4, 2)
        last = packed[kind, 16:].reshape(8, 32, 2)
        for tile in range(8):
            for lane, q, g in LANES:
                channel_out = tile_channel(np.int64(tile), np.int64(g))
                words = [*vectors[tile, 0, lane], *vectors[tile, 1, lane], last[tile, lane]]
                for tap, word in enumerate(words):
                    np.testing.assert_array_equal(word, weights[channel_out, 2 * q : 2 * q + 2, tap // 3, tap % 3])


def test_the_gains_biases_have_the_one_that_the_layer_adds():
    gain, shift = np.arange(64, dtype=np.float32), -np.arange(64, dtype=np.float32)
    packed = pack_sft_bias(gain, shift)
    assert (packed.shape, packed.dtype, packed.flags.c_contiguous) == ((2, 64), np.float32, True)
    np.testing.assert_array_equal(packed, [gain + 1, shift])


@pytest.mark.parametrize("shape", [(64, 16, 3, 3), (32, 8, 3, 3), (64, 8, 1, 1)])
def test_other_shapes_of_sft_weights_are_refused(shape):
    right, wrong = np.zeros((WIDTH, SFT_HIDDEN, 3, 3)), np.zeros(shape)
    for pair in ((right, wrong), (wrong, right)):
        with pytest.raises(ValueError, match=r"take SFT weights of shape \(64, 8, 3, 3\)"):
            pack_sft_weight(*pair)


@pytest.mark.parametrize("arrange", [pack_weight, plain_weight])
@pytest.mark.parametrize("shape", [(32, 32, 3, 3), (64, 64, 1, 1), (64, 64, 9)])
def test_other_shapes_are_refused(arrange, shape):
    with pytest.raises(ValueError, match=r"take weights of shape \(64, 64, 3, 3\)"):
        arrange(np.zeros(shape, np.float32))
