"""Radiance RGBE: values, run-length encoding and what other readers see."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dcdr_deploy.imaging import write_image
from dcdr_deploy.imaging.radiance import RGBE_MAX, decode_rgbe, encode_rgbe, run_length_encode

POSITIVE = st.floats(2.0**-118, 2.0**120, width=32)


@given(hnp.arrays(np.float32, (5, 3), elements=POSITIVE))
def test_largest_channel_is_off_by_at_most_1_in_256_and_the_others_by_half_a_step(rgb):
    error = np.abs(decode_rgbe(encode_rgbe(rgb)).astype(np.float64) - rgb)
    largest = rgb.max(axis=-1, keepdims=True).astype(np.float64)
    assert np.all(error <= largest / 256 * (1 + 1e-6))


@given(hnp.arrays(np.uint8, (7, 4)))
def test_what_was_decoded_is_encoded_to_the_same_values(rgbe):
    linear = decode_rgbe(rgbe)
    linear[linear.max(axis=-1) < 2.0**-118] = 0  # near the blackest that is kept
    np.testing.assert_array_equal(decode_rgbe(encode_rgbe(linear)), linear)


def test_rounding_keeps_the_mean_where_truncation_darkens():
    linear = np.exp(np.random.default_rng(0).uniform(-8, 4, (200_000, 1))).astype(np.float32).repeat(3, axis=1)
    decoded = decode_rgbe(encode_rgbe(linear))
    assert abs((decoded / linear).mean() - 1) < 1e-4


@pytest.mark.parametrize(
    ("rgb", "rgbe"),
    [
        ((0, 0, 0), (0, 0, 0, 0)),
        ((1, 1, 1), (128, 128, 128, 129)),
        ((1, 0.5, 0.25), (128, 64, 32, 129)),
        ((0.9999, 0, 0), (128, 0, 0, 129)),  # rounds up to 256/256 of 1: next exponent
        ((1e-39, 0, 0), (0, 0, 0, 0)),
        ((RGBE_MAX, 0, 0), (255, 0, 0, 255)),
    ],
)
def test_known_pixels(rgb, rgbe):
    assert encode_rgbe(np.array([rgb], np.float32))[0].tolist() == list(rgbe)


def run_length_decode(data, rows, width):
    """The format's definition, byte by byte."""
    at, out = 0, np.empty((rows, width, 4), np.uint8)
    for row in range(rows):
        assert tuple(data[at : at + 4]) == (2, 2, width >> 8, width & 255)
        at += 4
        for component in range(4):
            x = 0
            while x < width:
                count = data[at]
                if count > 128:
                    out[row, x : x + count - 128, component] = data[at + 1]
                    x, at = x + count - 128, at + 2
                else:
                    assert count > 0
                    out[row, x : x + count, component] = list(data[at + 1 : at + 1 + count])
                    x, at = x + count, at + 1 + count
            assert x == width
    assert at == len(data)
    return out


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(8, 400), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_run_length_encoding_is_undone_by_the_formats_definition(rows, width, levels, seed):
    rng = np.random.default_rng(seed)
    rgbe = rng.integers(0, levels, (rows, width, 4)).astype(np.uint8)
    rgbe[:, : rng.integers(0, width)] = rng.integers(0, 256)  # a long run from the row's start
    np.testing.assert_array_equal(run_length_decode(run_length_encode(rgbe), rows, width), rgbe)


def test_flat_areas_are_packed():
    assert len(run_length_encode(np.zeros((10, 1000, 4), np.uint8))) < 10 * (4 + 4 * 2 * 8 + 1)


@pytest.mark.parametrize("width", [1, 7, 8, 64, 129])
def test_file_reads_back_in_opencv(tmp_path, width):
    path = tmp_path / "out.hdr"
    linear = np.random.default_rng(1).random((300, width, 3), dtype=np.float32)
    write_image(path, linear, peak=8, metadata={"software": "test"})
    scene = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_array_equal(scene, decode_rgbe(encode_rgbe(linear * np.float32(8))))
    header = path.read_bytes().split(b"\n\n")[0].decode().splitlines()
    assert header[0] == "#?RADIANCE"
    assert {"SOFTWARE=test", "FORMAT=32-bit_rle_rgbe", "EXPOSURE=1"} <= set(header)
    assert "PRIMARIES=0.64 0.33 0.3 0.6 0.15 0.06 0.3127 0.329" in header
