"""One flipped bit anywhere in a file gives a picture or one line, never anything else, and nothing on the streams."""

from __future__ import annotations

import io
import random
import struct

import numpy as np
import pytest
from exr_files import exr_bytes
from picture_files import chunk, gamma_curve, matrix_profile, pillow_bytes, png_bytes, tifffile_bytes
from PIL import Image

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import read_image
from dcdr_deploy.imaging.radiance import encode_rgbe
from dcdr_deploy.imaging.read_hdr import read_hdr

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (6, 7, 3)).astype(np.uint8)
CODES = RANDOM.integers(0, 65536, (6, 7, 3)).astype(np.uint16)
LIGHT = RANDOM.random((6, 7, 3)).astype(np.float32)
PLANES = np.ascontiguousarray(np.dstack([CODES, CODES[..., 0]]).transpose(2, 0, 1))
FLIPS = 200
"""Bits a file, drawn anew for each by its name; all bits of all files take a quarter of an hour."""


def adobe_rgb() -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 65535
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    exif[274] = 6
    return exif.tobytes()


def npy(samples: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, samples)
    return stream.getvalue()


def tiff(samples: np.ndarray, **options) -> bytes:
    return tifffile_bytes(samples, photometric="rgb", metadata=None, **options)


COLOUR_CHUNKS = chunk(b"cICP", bytes((12, 13, 0, 1))) + chunk(b"gAMA", struct.pack(">I", 50_000))
WHITE = (318, 5, 2, (31270, 100_000, 32900, 100_000), True)
SDR = {
    "PNG": pillow_bytes(BYTES, "PNG", exif=adobe_rgb(), icc_profile=matrix_profile("display-p3", gamma_curve(2.2))),
    "PNG;16": png_bytes(CODES, 2, COLOUR_CHUNKS),
    "JPEG": pillow_bytes(BYTES, "JPEG", exif=adobe_rgb()),
    "WebP": pillow_bytes(BYTES, "WEBP", lossless=True, exif=adobe_rgb()),
    "BMP": pillow_bytes(BYTES, "BMP"),
    "TIFF LZW": pillow_bytes(BYTES, "TIFF", compression="tiff_lzw"),
    "TIFF JPEG": pillow_bytes(BYTES, "TIFF", compression="jpeg"),
    "TIFF;16": tiff(CODES, extratags=[WHITE]),
    "TIFF;16 deflate": tiff(CODES, compression="zlib", predictor=True, rowsperstrip=4),
    "TIFF;16 tiles": tiff(CODES, compression="zstd", tile=(16, 16)),
    "TIFF;16 planes": tiff(PLANES, planarconfig=2, extrasamples=[1]),
    "BigTIFF;16": tiff(CODES, bigtiff=True, byteorder=">"),
}
HALF = {"Y": LIGHT[:6, :6, 0].copy(), **{n: (LIGHT[:6:2, :6:2, i].copy(), 2, 2) for i, n in ((1, "RY"), (2, "BY"))}}
HDR_LINES = b"#?RADIANCE\nEXPOSURE=2\nCOLORCORR=1 2 1\nPRIMARIES=.7 .3 .17 .8 .13 .05 .31 .33\n"
HDR = {
    "EXR": exr_bytes({"Y": LIGHT[..., 0].copy()}, attributes={"colorInteropID": "lin_rec2020_scene"}),
    "EXR luminance/chroma": exr_bytes(HALF, attributes={"chromaticities": (0.7, 0.3, 0.2, 0.8, 0.1, 0.1, 0.31, 0.33)}),
    "Radiance": HDR_LINES + b"FORMAT=32-bit_rle_rgbe\n\n-Y 6 +X 7\n" + encode_rgbe(LIGHT).tobytes(),
    "TIFF;32F": tiff(LIGHT, compression="zlib", predictor=True),
    "TIFF;16F tiles": tiff(LIGHT.astype(np.float16), tile=(16, 16)),
    "NumPy": npy(LIGHT),
    "TIFF;16": SDR["TIFF;16 deflate"],
    "PNG;16": SDR["PNG;16"],
}


@pytest.fixture(autouse=True)
def small_pictures_only(monkeypatch):
    """A flipped bit in a size may ask for gigabytes, which are within the usual limit."""
    monkeypatch.setattr("dcdr_deploy.imaging.decoders.common.MAX_PIXELS", 2**18)


def outcomes(path, data: bytes, read, name: str) -> set[str]:
    found = set()
    for bit in random.Random(name).sample(range(8 * len(data)), FLIPS):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        found.add(outcome(path, read))
    return found


def outcome(path, read) -> str:
    try:
        read(path)
    except InputError as error:
        said = str(error)
    else:
        return "picture"
    assert "\n" not in said
    assert said.startswith(f"{path}: ")
    return "line"


@pytest.mark.parametrize("name", SDR)
def test_inputs_of_run(tmp_path, name, capfd):
    assert outcomes(tmp_path / "a", SDR[name], read_image, name) == {"picture", "line"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", HDR)
def test_hdr_pictures(tmp_path, name, capfd):
    assert outcomes(tmp_path / "a", HDR[name], read_hdr, name) == {"picture", "line"}
    assert capfd.readouterr() == ("", "")


def test_every_bit_of_the_directory_of_a_tiff_of_16_bits(tmp_path, capfd):
    """Types, counts and values of all tags: where decoders trust most."""
    data = tifffile_bytes(CODES[:2, :2], photometric="rgb", metadata=None, compression="zlib", predictor=True)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    path = tmp_path / "a.tif"
    for bit in range(8 * start, 8 * (start + 2 + 12 * count)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        outcome(path, read_image)
        outcome(path, read_hdr)
    assert capfd.readouterr() == ("", "")
