"""OpenEXR files as FFmpeg reads their pixels, and as their bytes spell their tags."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from ffmpeg_reader import read_by_ffmpeg

from dcdr_deploy.imaging import WriteOptions, write_image
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.light import PRIMARIES, Light
from dcdr_deploy.imaging.read_hdr import read_hdr
from dcdr_deploy.imaging.writers.base import EXR_COMPRESSIONS

PEAK = 8.0
SCENE_ID = {
    "rec709": "lin_rec709_scene",
    "p3": "lin_p3d65_scene",
    "rec2020": "lin_rec2020_scene",
    "acescg": "lin_ap1_scene",
    "aces2065-1": "lin_ap0_scene",
}
COMPRESSION_CODE = {"none": 0, "zips": 2, "zip": 3, "piz": 4, "dwaa": 8}
"""OpenEXR File Layout, "compression"."""


def picture() -> np.ndarray:
    """Smooth colours, in more rows than are worked on at once, up to one and a half times the model's peak."""
    y, x = np.mgrid[0:1:90j, 0:1:50j]
    return np.stack([0.02 + 1.4 * x * y, 0.02 + y**2, 0.02 + 0.5 * (1 - x)], axis=-1).astype(np.float32)


def written(path: Path, compression: str = "zip", floats: bool = False, **light: object) -> Path:
    write_image(path, picture(), peak=PEAK, options=WriteOptions(compression, floats, Light(**light)))
    return path


def header_of(path: Path) -> dict[str, tuple[str, bytes]]:
    """Attributes of a single-part file, from its bytes: type and value by name."""
    data, found = path.read_bytes(), {}
    at = 8
    while data[at]:
        name, at = data[at : (end := data.index(b"\0", at))].decode(), end + 1
        kind, at = data[at : (end := data.index(b"\0", at))].decode(), end + 1
        (size,) = struct.unpack_from("<i", data, at)
        found[name] = kind, data[at + 4 : at + 4 + size]
        at += 4 + size
    return found


@pytest.mark.parametrize("floats", [False, True], ids=["half", "float"])
@pytest.mark.parametrize("compression", EXR_COMPRESSIONS)
def test_another_reader_finds_the_light_under_every_compression(tmp_path, compression, floats):
    path = written(tmp_path / "a.exr", compression, floats, primaries="acescg")
    pixels, _ = read_by_ffmpeg(path)
    assert pixels.dtype == (np.float32 if floats else np.float16)
    expected = picture().astype(np.float64) @ p.from_rec709(p.ACES_AP1).T * PEAK
    tolerance = 0.03 if compression == "dwaa" else 1e-6 if floats else 2**-11
    np.testing.assert_allclose(pixels, expected, rtol=tolerance, atol=0.02 if compression == "dwaa" else 0)
    assert header_of(path)["compression"][1][0] == COMPRESSION_CODE[compression]


@pytest.mark.parametrize("primaries", PRIMARIES)
def test_primaries_are_converted_white_on_white_and_come_back(tmp_path, primaries):
    path = written(tmp_path / "a.exr", floats=True, primaries=primaries)
    pixels, _ = read_by_ffmpeg(path)
    expected = picture().astype(np.float64) @ p.from_rec709(PRIMARIES[primaries]).T * PEAK
    np.testing.assert_allclose(pixels, expected, rtol=2e-6)
    np.testing.assert_allclose(read_hdr(path).pixels, picture() * PEAK, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("primaries", PRIMARIES)
def test_display_light_is_told_by_chromaticities_and_white_luminance_alone(tmp_path, primaries):
    header = header_of(written(tmp_path / "a.exr", primaries=primaries, reference_white=100))
    kind, value = header["chromaticities"]
    assert kind == "chromaticities"
    assert value == np.array(PRIMARIES[primaries], "<f4").tobytes()
    assert header["whiteLuminance"] == ("float", struct.pack("<f", 100))
    assert "colorInteropID" not in header


@pytest.mark.parametrize("primaries", PRIMARIES)
def test_scene_light_is_told_by_its_id_alone(tmp_path, primaries):
    path = written(tmp_path / "a.exr", primaries=primaries, tag="scene")
    header = header_of(path)
    assert header["colorInteropID"] == ("string", SCENE_ID[primaries].encode())
    assert not header.keys() & {"chromaticities", "whiteLuminance", "acesImageContainerFlag"}
    np.testing.assert_allclose(read_hdr(path).pixels, picture() * PEAK, rtol=2e-3, atol=6e-3)


@pytest.mark.skipif(not hasattr(OpenEXR, "checkColorMetadata"), reason="OpenEXR before 3.5")
@pytest.mark.parametrize("tag", ["display", "scene"])
@pytest.mark.parametrize("primaries", PRIMARIES)
def test_openexr_itself_finds_no_contradiction_and_the_same_primaries(tmp_path, primaries, tag):
    with OpenEXR.File(str(written(tmp_path / "a.exr", primaries=primaries, tag=tag))) as file:
        header = dict(file.header())
    assert OpenEXR.checkColorMetadata(header) == 0
    if tag == "scene":
        meant = OpenEXR.colorInteropIDToChromaticities(header["colorInteropID"])
        assert meant == pytest.approx(PRIMARIES[primaries], abs=1e-6)


def test_line_order_and_windows_are_ordinary(tmp_path):
    header = header_of(written(tmp_path / "a.exr"))
    window = struct.pack("<4i", 0, 0, 49, 89)
    assert header["lineOrder"] == ("lineOrder", b"\0")  # increasing y
    assert header["dataWindow"] == header["displayWindow"] == ("box2i", window)
    assert header["pixelAspectRatio"] == ("float", struct.pack("<f", 1))
    assert header["screenWindowWidth"] == ("float", struct.pack("<f", 1))
    assert header["screenWindowCenter"] == ("v2f", bytes(8))


def test_colour_attributes_are_no_matter_of_strings(tmp_path):
    strings = {"chromaticities": "mine", "colorInteropID": "srgb", "adoptedNeutral": "x", "model": "demo"}
    write_image(tmp_path / "a.exr", picture(), peak=PEAK, metadata=strings)
    header = header_of(tmp_path / "a.exr")
    assert header["chromaticities"][0] == "chromaticities"
    assert header["model"] == ("string", b"demo")
    assert not header.keys() & {"colorInteropID", "adoptedNeutral"}


def test_alpha_is_multiplied_into_other_primaries_too(tmp_path):
    alpha = np.full((90, 50), 0.25, np.float32)
    options = WriteOptions(light=Light(primaries="rec2020"))
    write_image(tmp_path / "a.exr", picture(), peak=PEAK, alpha=alpha, options=options)
    pixels, _ = read_by_ffmpeg(tmp_path / "a.exr")
    expected = picture() @ p.from_rec709(p.REC2020).T * PEAK / 4
    np.testing.assert_allclose(pixels, expected, rtol=2**-10)
