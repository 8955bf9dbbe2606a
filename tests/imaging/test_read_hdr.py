"""Reading linear HDR pictures: real files of every format, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import WriteOptions, write_image
from dcdr_deploy.imaging.read_hdr import read_hdr


@pytest.fixture
def linear() -> np.ndarray:
    return np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)


@pytest.mark.parametrize("suffix", [".exr", ".hdr", ".png", ".tif"])
def test_what_the_tool_writes_is_read_back_with_its_peak(tmp_path, linear, suffix):
    path = tmp_path / f"out{suffix}"
    options = WriteOptions(float32=suffix == ".exr")
    write_image(path, linear, peak=8, options=options, metadata={"software": "x", "peak": "8"})
    picture = read_hdr(path)
    assert picture.peak == 8
    assert picture.integer == (suffix in (".png", ".tif"))
    pixels = picture.pixels if picture.integer else picture.pixels / 8
    assert pixels == pytest.approx(linear, abs={".exr": 1e-6, ".hdr": 4e-3}.get(suffix, 1e-5))
    assert picture.size == (20, 30)


@pytest.mark.parametrize("peak", ["1e300", "-1", "nan", "many"])
def test_a_scale_that_no_light_can_have_is_none(tmp_path, linear, peak):
    write_image(tmp_path / "a.png", linear, peak=8, metadata={"software": "x", "peak": peak})
    assert read_hdr(tmp_path / "a.png").peak is None


def test_codes_are_taken_as_they_are_whatever_profile_is_in_the_file(tmp_path, linear):
    codes = np.rint(linear * 65535).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", codes, photometric="rgb", iccprofile=b"not a profile")
    assert np.array_equal(np.rint(read_hdr(tmp_path / "a.tif").pixels * 65535), codes)


def test_gray_becomes_three_channels(tmp_path, linear):
    codes = np.rint(linear[..., 0] * 65535).astype(np.uint16)
    Image.fromarray(codes).save(tmp_path / "gray.png")
    OpenEXR.File({}, {"Y": np.ascontiguousarray(linear[..., 0])}).write(str(tmp_path / "gray.exr"))
    for name in ("gray.png", "gray.exr"):
        pixels = read_hdr(tmp_path / name).pixels
        assert pixels == pytest.approx(np.repeat(linear[..., :1], 3, axis=2), abs=1e-5)


def test_other_channels_and_alpha_are_left_out(tmp_path, linear):
    planes = {name: np.ascontiguousarray(linear[..., i]) for i, name in enumerate("RGB")}
    depth = np.full(linear.shape[:2], np.inf, np.float32)
    OpenEXR.File({}, {**planes, "A": planes["R"], "Z": depth}).write(str(tmp_path / "a.exr"))
    assert np.array_equal(read_hdr(tmp_path / "a.exr").pixels, linear)


def test_a_radiance_file_of_another_exposure_is_brought_back_to_the_scene(tmp_path, linear):
    write_image(tmp_path / "a.hdr", linear, peak=1)
    exposed = (tmp_path / "a.hdr").read_bytes().replace(b"EXPOSURE=1\n", b"EXPOSURE=4\n")
    (tmp_path / "b.hdr").write_bytes(exposed)
    assert read_hdr(tmp_path / "b.hdr").pixels * 4 == pytest.approx(read_hdr(tmp_path / "a.hdr").pixels)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize("suffix", [".exr", ".hdr", ".png", ".tif"])
def test_a_file_cut_short_is_one_line_and_nothing_on_the_streams(tmp_path, linear, suffix, capfd):
    path = tmp_path / f"cut{suffix}"
    write_image(path, linear, peak=1)
    cut(path, path.stat().st_size // 2)
    with pytest.raises(InputError, match=rf"cut\{suffix}: is damaged") as told:
        read_hdr(path)
    assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"text", "no HDR picture by its content"), (b"\x1a\x45\xdf\xa3", "a video"), (b"\0\0\0\x20ftypisom", "a video")],
)
def test_what_is_no_picture_is_told_by_its_content(tmp_path, content, words):
    (tmp_path / "a.exr").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.exr: is {words}; give an OpenEXR"):
        read_hdr(tmp_path / "a.exr")


def test_eight_bits_are_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "sdr.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "sdr.jpg")
    with pytest.raises(InputError, match=r"sdr\.png: has 8 bits"):
        read_hdr(tmp_path / "sdr.png")
    with pytest.raises(InputError, match=r"sdr\.jpg: is a JPEG, which is SDR"):
        read_hdr(tmp_path / "sdr.jpg")


def test_channels_that_are_no_colours_are_named(tmp_path):
    OpenEXR.File({}, {"Z": np.zeros((4, 4), np.float32)}).write(str(tmp_path / "depth.exr"))
    with pytest.raises(InputError, match=r"channels Z and not R, G, B"):
        read_hdr(tmp_path / "depth.exr")


def test_missing_files_folders_and_empty_files_are_told(tmp_path):
    (tmp_path / "empty.exr").touch()
    for name, said in (("none.exr", "cannot be read"), (".", "cannot be read"), ("empty.exr", "is empty")):
        with pytest.raises(InputError, match=said):
            read_hdr(tmp_path / name)
