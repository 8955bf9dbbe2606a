"""What cannot be read is refused in one line that names the file, never decoded to garbage."""

import struct
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picture_files import chunk, noise, pillow_bytes, png_bytes, png_header_only, tifffile_bytes

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import MAX_PIXELS, SUFFIXES, probe, read_image

RGB = noise(3, np.uint8)  # noise: compressed data fills most of each file, so cuts hit it
DEEP = noise(3)

WHOLE = {
    "PNG": pillow_bytes(RGB, "PNG"),
    "PNG interlaced": png_bytes(RGB, 2, depth=8, interlaced=True),
    "PNG;16 interlaced": png_bytes(DEEP, 2, interlaced=True),
    "PNG;16": png_bytes(DEEP, 2),
    "JPEG": pillow_bytes(RGB, "JPEG"),
    "JPEG progressive": pillow_bytes(RGB, "JPEG", progressive=True),
    "WebP": pillow_bytes(RGB, "WEBP"),
    "WebP lossless": pillow_bytes(RGB, "WEBP", lossless=True),
    "BMP": pillow_bytes(RGB, "BMP"),
    "TIFF": pillow_bytes(RGB, "TIFF"),
    "TIFF LZW": pillow_bytes(RGB, "TIFF", compression="tiff_lzw"),
    "TIFF;16": tifffile_bytes(DEEP, photometric="rgb"),
    "TIFF;16 deflate": tifffile_bytes(DEEP, photometric="rgb", compression="zlib", predictor=True, rowsperstrip=8),
    "TIFF;16 planes": tifffile_bytes(np.ascontiguousarray(DEEP.transpose(2, 0, 1)), photometric="rgb", planarconfig=2),
}


def refusal(path):
    """The one-line message with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert ";" in message  # what to do follows what is wrong
    return message


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_the_whole_files_of_this_module_are_readable(tmp_path, data):
    path = tmp_path / "whole"
    path.write_bytes(data)
    assert read_image(path).size == (48, 64)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95, -1])
@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_truncated_files_are_refused(tmp_path, data, kept, capfd):
    path = tmp_path / "cut.png"
    path.write_bytes(data[: int(len(data) * kept) if kept > 0 else kept])
    assert "damaged or incomplete" in refusal(path)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("kind", ["PNG", "PNG;16", "TIFF;16 deflate"])
def test_flipped_bits_in_checked_data_are_refused(tmp_path, kind):
    data = bytearray(WHOLE[kind])
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / "flipped"
    path.write_bytes(data)
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("depth", "samples"), [(8, RGB), (16, DEEP)])
def test_png_with_too_few_rows_is_refused(tmp_path, depth, samples, interlaced):
    data = png_bytes(samples[:47], 2, depth=depth, interlaced=interlaced)
    header = struct.pack(">IIBBBBB", 64, 48, depth, 2, 0, 0, interlaced)
    path = tmp_path / "picture.png"
    path.write_bytes(data[:8] + chunk(b"IHDR", header) + data[33:])
    assert "damaged" in refusal(path)


def test_size_is_refused_by_the_header_alone(tmp_path):
    path = tmp_path / "bomb.png"
    for width, height in ((50_000, 50_000), (2**31 - 1, 2**31 - 1), (2**28 + 1, 1)):
        path.write_bytes(png_header_only(width, height))
        start = time.perf_counter()
        message = refusal(path)
        assert time.perf_counter() - start < 0.5
        assert f"{width} x {height}" in message
        assert f"{MAX_PIXELS:,}" in message


@pytest.mark.parametrize("bits", [8, 16])
def test_size_of_tiff_and_bmp_is_refused_by_the_header_alone(tmp_path, bits):
    samples = np.zeros((4, 4, 3), f"u{bits // 8}")
    data = tifffile_bytes(samples, photometric="rgb")
    path = tmp_path / "bomb.tif"
    wide = struct.pack("<HHII", 256, 4, 1, 50_000), struct.pack("<HHII", 257, 4, 1, 50_000)
    for tag, entry in zip((256, 257), wide, strict=True):
        at = data.index(struct.pack("<HHI", tag, 4, 1))
        data = data[:at] + entry + data[at + 12 :]
    path.write_bytes(data)
    assert "50000 x 50000" in refusal(path)
    bitmap = bytearray(pillow_bytes(RGB, "BMP"))
    bitmap[18:26] = struct.pack("<ii", 50_000, 50_000)
    path.write_bytes(bitmap)
    assert "50000 x 50000" in refusal(path)


def test_empty_text_missing_and_folder(tmp_path):
    empty, text = tmp_path / "empty.png", tmp_path / "text.png"
    empty.write_bytes(b"")
    text.write_text("hello world\n" * 100)
    assert "empty" in refusal(empty)
    assert "no picture by its content" in refusal(text)
    assert "no such file" in refusal(tmp_path / "missing.png")
    assert "is a folder" in refusal(tmp_path)
    assert "cannot be read" in refusal(text / "below a file.png")


OTHERS = {
    "OpenEXR": b"\x76\x2f\x31\x01\2\0\0\0",
    "Radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n",
    "RAW": b"II*\0\x10\0\0\0CR\2\0" + bytes(60),
    "video": b"\0\0\0\x20ftypisom\0\0\2\0",
    "a video": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81",
    "GIF": b"GIF89a\1\0\1\0",
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds_of_files_are_named_with_what_is_taken_instead(tmp_path, name):
    path = tmp_path / "file.png"
    path.write_bytes(OTHERS[name])
    message = refusal(path)
    assert name in message
    assert "PNG, JPEG, WebP, TIFF, BMP, AVIF, HEIC or JPEG XL" in message
    with pytest.raises(InputError, match=name):
        probe(path)


def test_hdr_and_raw_inside_readable_containers(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(png_bytes(DEEP, 2, chunk(b"cICP", bytes((9, 16, 0, 1)))))
    assert "PQ" in refusal(path)
    path.write_bytes(tifffile_bytes(DEEP.astype(np.float32), photometric="rgb"))
    assert "HDR" in refusal(path)
    path.write_bytes(tifffile_bytes(DEEP, photometric="rgb", extratags=[(50706, 1, 4, b"\1\4\0\0", True)]))
    assert "RAW" in refusal(path)
    path.write_bytes(tifffile_bytes(DEEP.astype(np.uint32), photometric="rgb"))
    assert "32 bits" in refusal(path)


def test_decoder_warnings_and_log_settings_are_put_back(tmp_path):
    import warnings

    import cv2

    path = tmp_path / "cut.tif"
    path.write_bytes(WHOLE["TIFF LZW"][:5000])
    log = getattr(cv2.utils, "logging", cv2)
    level, filters = log.getLogLevel(), list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refusal(path)
    assert log.getLogLevel() == level
    assert warnings.filters == filters


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(WHOLE)),
    where=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=8),
    values=st.binary(min_size=8, max_size=8),
    repair=st.booleans(),
)
def test_damaged_bytes_give_a_frame_or_an_input_error_and_nothing_else(tmp_path, name, where, values, repair):
    data = bytearray(WHOLE[name])
    for share, value in zip(where, values, strict=False):
        # Half of the hits go into the first kilobyte, where headers are.
        data[int(share * (len(data) if repair else min(len(data), 1024)))] = value
    path = tmp_path / "fuzz"
    path.write_bytes(data)
    try:
        outcome = read_image(path).size
    except InputError as error:
        outcome = str(error)
    assert isinstance(outcome, tuple) or "\n" not in outcome


def test_suffixes_for_folder_discovery():
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"} <= SUFFIXES
    assert {".jfif", ".mpo"} <= SUFFIXES  # JPEGs as browsers on Windows and stereo cameras name them
    assert not {".exr", ".hdr", ".gif", ".mp4"} & SUFFIXES
