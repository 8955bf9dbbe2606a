"""HEIC, AVIF and JPEG XL come out as other pictures do: upright sRGB at their full depth, or refused in one line."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from container_files import (
    assembled,
    avif_bytes,
    deep_avif_bytes,
    exif_bytes,
    heic_bytes,
    jxl_bytes,
    jxl_header,
    jxl_with_profile,
    picture_item,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picture_files import (
    PRIMARIES,
    gamma_curve,
    matrix_profile,
    noise,
    parametric_curve,
    pillow_bytes,
    rgb_to_xyz,
    sampled_curve,
    smooth_rgb,
)
from picture_files import SRGB_PARAMETRIC as SRGB_CURVE
from PIL import Image, ImageOps

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import MAX_PIXELS, SUFFIXES, Frame, isobmff, probe, read_image
from dcdr_deploy.imaging.decoders import items, jxl
from dcdr_deploy.imaging.decoders.common import UnreadableError
from dcdr_deploy.imaging.jxl_header import parse as jxl_header_of
from dcdr_deploy.imaging.transfer import linear_to_srgb, srgb_to_linear
from dcdr_deploy.system.packages import install_line

RGB = smooth_rgb()
DEEP = smooth_rgb(np.uint16)
GRAY = np.ascontiguousarray(RGB[..., 2])
ALPHA = np.ascontiguousarray(RGB[..., 0])
P3 = matrix_profile("display-p3", parametric_curve(*SRGB_CURVE), "a P3 of ours")
NOISE = noise(3, np.uint8)


def read(folder: Path, data: bytes) -> Frame:
    path = folder / "picture.bin"
    path.write_bytes(data)
    return read_image(path)


def refusal(folder: Path, data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, data)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder / "picture.bin"))
    return message


def off(pixels: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference in codes of 8 bits."""
    scaled = [array.astype(float) / np.iinfo(array.dtype).max * 255 for array in (pixels, expected)]
    return float(np.abs(scaled[0] - scaled[1]).max())


def from_p3(pixels: np.ndarray) -> np.ndarray:
    """Codes of Display P3 as sRGB, by the definition of the primaries."""
    matrix = np.linalg.solve(rgb_to_xyz(PRIMARIES["srgb"]), rgb_to_xyz(PRIMARIES["display-p3"]))
    top = np.iinfo(pixels.dtype).max
    linear = srgb_to_linear(pixels / top) @ matrix.T
    return np.rint(linear_to_srgb(np.clip(linear, 0, 1)) * top).astype(pixels.dtype)


@pytest.mark.parametrize(
    ("data", "name"),
    [(heic_bytes(RGB), "HEIC"), (avif_bytes(RGB), "AVIF"), (jxl_bytes(RGB), "JPEG XL")],
    ids=["heic", "avif", "jxl"],
)
def test_eight_bits_of_srgb_stay_what_they_are(tmp_path: Path, data: bytes, name: str) -> None:
    frame = read(tmp_path, data)
    assert off(frame.pixels, RGB) <= (0 if name == "JPEG XL" else 2)  # the others round through YCbCr
    assert (frame.pixels.dtype, frame.alpha, frame.metadata["notes"]) == (np.uint8, None, [])
    assert frame.metadata["source_format"] == name
    assert frame.metadata["colour"].startswith("sRGB by ")


@pytest.mark.parametrize(
    ("data", "bits"),
    [
        (heic_bytes(DEEP), 10),
        (deep_avif_bytes(DEEP, 10), 10),
        (deep_avif_bytes(DEEP, 12), 12),
        (jxl_bytes(DEEP, bits=10), 10),
        (jxl_bytes(DEEP, bits=12), 12),
        (jxl_bytes(DEEP, bits=16), 16),
    ],
    ids=["heic 10", "avif 10", "avif 12", "jxl 10", "jxl 12", "jxl 16"],
)
def test_more_bits_are_kept_and_fill_the_range_of_sixteen(tmp_path: Path, data: bytes, bits: int) -> None:
    frame = read(tmp_path, data)
    assert frame.pixels.dtype == np.uint16
    assert off(frame.pixels, DEEP) <= 255 / 2**bits * 2


def test_avif_of_ten_bits_is_read_in_eight_without_imagecodecs_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcdr_deploy.system.packages.installed", lambda module: module != "imagecodecs")
    frame = read(tmp_path, deep_avif_bytes(DEEP, 10))
    assert frame.pixels.dtype == np.uint8
    assert off(frame.pixels, DEEP) <= 3
    (note,) = frame.metadata["notes"]
    assert note.startswith("10-bit samples reduced to 8 bits")
    assert note.endswith(install_line("formats"))


@pytest.mark.parametrize(
    "data",
    [heic_bytes(GRAY), avif_bytes(GRAY)],
    ids=["heic", "avif"],
)
def test_pictures_without_chroma_are_gray(tmp_path: Path, data: bytes) -> None:
    pixels = read(tmp_path, data).pixels
    assert np.ptp(pixels, axis=-1).max() == 0
    assert off(pixels[..., 0], GRAY) <= 2


@pytest.mark.parametrize("encode", [heic_bytes, avif_bytes], ids=["heic", "avif"])
def test_alpha_is_split_off(tmp_path: Path, encode) -> None:
    frame = read(tmp_path, encode(np.dstack([RGB, ALPHA])))
    assert off(frame.pixels, RGB) <= 2
    assert frame.alpha is not None
    np.testing.assert_array_equal(frame.alpha, ALPHA.astype(np.float32) / 255)


def test_alpha_of_jpeg_xl_is_split_off(tmp_path: Path) -> None:
    import imagecodecs

    frame = read(tmp_path, imagecodecs.jpegxl_encode(np.dstack([RGB, ALPHA]), lossless=True))
    np.testing.assert_array_equal(frame.pixels, RGB)
    assert frame.alpha is not None
    np.testing.assert_array_equal(frame.alpha, ALPHA.astype(np.float32) / 255)


@pytest.mark.parametrize("encode", [heic_bytes, avif_bytes, jxl_bytes], ids=["heic", "avif", "jxl"])
def test_odd_sizes_keep_every_pixel(tmp_path: Path, encode) -> None:
    odd = np.ascontiguousarray(RGB[:47, :63])
    assert off(read(tmp_path, encode(odd)).pixels, odd) <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["heic", "avif", "jxl"])
def test_orientation_is_applied_once(tmp_path: Path, kind: str, orientation: int) -> None:
    """HEIC and AVIF have it in irot and imir, and in Exif too, which counts no second time."""
    picture = Image.fromarray(RGB)
    picture.getexif()[274] = orientation
    data = {
        "heic": lambda: heic_bytes(RGB, exif=exif_bytes(orientation)),
        "avif": lambda: avif_bytes(RGB, exif=exif_bytes(orientation)),
        "jxl": lambda: jxl_bytes(RGB, orientation=orientation),
    }[kind]()
    frame = read(tmp_path, data)
    assert off(frame.pixels, np.asarray(ImageOps.exif_transpose(picture))) <= 2
    assert frame.metadata["orientation"] == orientation


def test_avif_is_cropped_to_its_clean_aperture(tmp_path: Path) -> None:
    import struct

    kind, payload, properties = picture_item(avif_bytes(RGB))
    # 32 x 40 pixels, centred 8 pixels to the right and 2 up
    clap = struct.pack(">8i", 32, 1, 40, 1, 8, 1, -2, 1)
    frame = read(tmp_path, assembled(b"avif", [(kind, payload, [*properties, (b"clap", clap)])]))
    assert off(frame.pixels, RGB[2:42, 24:56]) <= 2


@pytest.mark.parametrize(
    "data",
    [
        heic_bytes(RGB, color_primaries=12, transfer_characteristics=13),
        deep_avif_bytes(DEEP, 10, primaries=12),
        jxl_bytes(RGB, primaries=11),
        avif_bytes(RGB, icc_profile=P3),
    ],
    ids=["heic nclx", "avif nclx", "jxl header", "avif icc"],
)
def test_display_p3_is_converted(tmp_path: Path, data: bytes) -> None:
    frame = read(tmp_path, data)
    expected = from_p3(RGB if frame.pixels.dtype == np.uint8 else DEEP)
    bright = expected.min(axis=-1) > expected.max() * 0.3  # near black a code of YCbCr is many after the matrix
    assert off(frame.pixels[bright], expected[bright]) <= 5
    assert frame.metadata["colour"].endswith("converted to sRGB")


def test_a_gamma_in_the_header_of_jpeg_xl_is_undone(tmp_path: Path) -> None:
    frame = read(tmp_path, jxl_bytes(RGB, gamma=1 / 1.8))
    expected = np.rint(linear_to_srgb((RGB / 255) ** 1.8) * 255)
    assert np.abs(frame.pixels - expected).max() <= 1
    assert "gamma 1.8 by JPEG XL header" in frame.metadata["colour"]


@pytest.mark.parametrize("transfer", [16, 18])
@pytest.mark.parametrize("kind", ["heic", "avif", "jxl"])
def test_pq_and_hlg_are_refused_as_hdr_already(tmp_path: Path, kind: str, transfer: int) -> None:
    data = {
        "heic": lambda: heic_bytes(DEEP, color_primaries=9, transfer_characteristics=transfer),
        "avif": lambda: deep_avif_bytes(DEEP, 10, 9, transfer),
        "jxl": lambda: jxl_bytes(DEEP, bits=10, primaries=9, transfer=transfer),
    }[kind]()
    assert f"is an HDR picture already ({probe(_written(tmp_path, data))} with" in refusal(tmp_path, data)


def _written(folder: Path, data: bytes) -> Path:
    path = folder / "picture.bin"
    path.write_bytes(data)
    return path


def _coded(kind: str, primaries: int, transfer: int) -> bytes:
    if kind == "heic":
        return heic_bytes(DEEP, color_primaries=primaries, transfer_characteristics=transfer)
    return deep_avif_bytes(DEEP, 10, primaries, transfer)


@pytest.mark.parametrize("kind", ["heic", "avif"])
def test_without_a_colour_box_the_coded_stream_says_what_the_colours_are(tmp_path: Path, kind: str) -> None:
    boxed = _coded(kind, 12, 13)
    bare = boxed.replace(b"colrnclx", b"freenclx")
    assert bare != boxed
    frame = read(tmp_path, bare)
    np.testing.assert_array_equal(frame.pixels, read(tmp_path, boxed).pixels)
    assert "Display P3, sRGB by its coded stream" in frame.metadata["colour"]


@pytest.mark.parametrize("kind", ["heic", "avif"])
@pytest.mark.parametrize("transfer", [16, 18])
@pytest.mark.parametrize("box", [b"freenclx", b"colrnclx\0\2\0\2"])
def test_hdr_that_only_the_coded_stream_tells_is_refused(tmp_path: Path, kind: str, transfer: int, box: bytes) -> None:
    data = bytearray(_coded(kind, 9, transfer))
    at = data.index(b"colrnclx")
    data[at : at + len(box)] = box
    assert "is an HDR picture already" in refusal(tmp_path, bytes(data))


def test_floats_of_jpeg_xl_are_refused_as_hdr(tmp_path: Path) -> None:
    import imagecodecs

    data = imagecodecs.jpegxl_encode(RGB.astype(np.float32) / 255, lossless=True)
    assert "floating-point samples" in refusal(tmp_path, data)


def test_a_packed_jpeg_is_read_as_the_jpeg_that_it_was(tmp_path: Path) -> None:
    """Profile, orientation and all: its colours are in no header of JPEG XL's own."""
    import imagecodecs

    jpeg = pillow_bytes(RGB, "JPEG", quality=95, icc_profile=P3, exif=exif_bytes(6))
    expected = read(tmp_path, jpeg)
    frame = read(tmp_path, imagecodecs.jpegxl_encode_jpeg(jpeg))
    np.testing.assert_array_equal(frame.pixels, expected.pixels)
    assert frame.metadata["colour"] == expected.metadata["colour"]
    assert frame.metadata["source_format"] == "JPEG XL"


ADOBE = matrix_profile("adobe-rgb", gamma_curve(2.2), "an Adobe RGB of ours")


def test_a_profile_inside_jpeg_xl_says_what_lossless_samples_are(tmp_path: Path) -> None:
    frame = read(tmp_path, jxl_with_profile(RGB, ADOBE, lossy=False))
    expected = read(tmp_path, pillow_bytes(RGB, "PNG", icc_profile=ADOBE))
    np.testing.assert_array_equal(frame.pixels, expected.pixels)
    assert frame.metadata["colour"] == expected.metadata["colour"]
    assert "an Adobe RGB of ours by ICC profile" in frame.metadata["colour"]


def test_lossy_jpeg_xl_has_its_own_colours_whatever_its_profile(tmp_path: Path) -> None:
    """Without colour management libjxl gives such files as linear light in 8 bits: darks would be gone."""
    frame = read(tmp_path, jxl_with_profile(RGB, ADOBE, lossy=True))
    assert frame.pixels.dtype == np.uint16
    plain = off(read(tmp_path, imagecodecs_lossy(RGB)).pixels, RGB)
    assert off(frame.pixels, RGB) <= plain + 1
    assert frame.metadata["colour"].startswith("Rec. 2020")


def imagecodecs_lossy(samples: np.ndarray) -> bytes:
    import imagecodecs

    return imagecodecs.jpegxl_encode(samples, distance=0.1)


@pytest.mark.parametrize(
    "profile",
    [
        *(matrix_profile("adobe-rgb", gamma_curve(1 + number / 7), "n" * number) for number in range(12)),
        ADOBE,
        matrix_profile("adobe-rgb", sampled_curve(lambda x: x**1.9, 2000), "sampled"),
        matrix_profile("display-p3", gamma_curve(1.8), "a name of many letters " * 40),
    ],
    ids=[*map(str, range(12)), "gamma", "sampled", "long"],
)
def test_profiles_come_out_of_jpeg_xl_to_the_byte(profile: bytes) -> None:
    import imagecodecs

    packed = imagecodecs.jpegxl_encode_jpeg(pillow_bytes(RGB, "JPEG", icc_profile=profile))
    codestream = b"".join(body for kind, body in jxl.boxes_of(packed) if kind == b"jxlc")
    assert jxl_header_of(codestream).icc == profile


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95, -1])
@pytest.mark.parametrize(
    "data",
    [heic_bytes(NOISE), avif_bytes(NOISE), deep_avif_bytes(noise(3), 10), jxl_bytes(NOISE)],
    ids=["heic", "avif", "avif 10", "jxl"],
)
def test_truncated_files_are_refused(tmp_path: Path, data: bytes, kept: float, capfd: pytest.CaptureFixture) -> None:
    cut = data[: int(len(data) * kept) if kept > 0 else int(kept)]
    assert "damaged or incomplete" in refusal(tmp_path, cut)
    assert capfd.readouterr().out == ""


def _huge(kind: str) -> bytes:
    import struct

    if kind == "jxl":
        return jxl_header(2**15, 2**14) + bytes(64)
    item, payload, properties = picture_item(heic_bytes(RGB) if kind == "heic" else avif_bytes(RGB))
    large = [(b"ispe", bytes(4) + struct.pack(">II", 2**15, 2**14)) if name == b"ispe" else (name, body)
             for name, body in properties]  # fmt: skip
    return assembled(b"heic" if kind == "heic" else b"avif", [(item, payload, large)])


@pytest.mark.parametrize("kind", ["heic", "avif", "jxl"])
def test_the_size_is_checked_before_anything_is_decoded(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import imagecodecs
    import pillow_heif
    from PIL import AvifImagePlugin

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a decoder was called")

    data = _huge(kind)
    monkeypatch.setattr(pillow_heif, "open_heif", never)
    monkeypatch.setattr(AvifImagePlugin, "AvifImageFile", never)
    monkeypatch.setattr(imagecodecs, "jpegxl_decode", never)
    assert f"above the limit of {MAX_PIXELS:,}" in refusal(tmp_path, data)


@pytest.mark.parametrize(
    ("data", "package", "extra"),
    [(heic_bytes(RGB), "pillow_heif", "heif"), (jxl_bytes(RGB), "imagecodecs", "formats")],
    ids=["heic", "jxl"],
)
def test_a_missing_package_is_one_line_with_what_installs_it(
    tmp_path: Path, data: bytes, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcdr_deploy.system.packages.installed", lambda module: module != package)
    assert refusal(tmp_path, data).endswith(f"install it: {install_line(extra)}")


def test_avif_is_read_by_imagecodecs_where_pillow_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import features

    monkeypatch.setattr(features, "check", lambda feature: feature != "avif")
    assert off(read(tmp_path, avif_bytes(RGB)).pixels, RGB) <= 3
    monkeypatch.setattr("dcdr_deploy.system.packages.installed", lambda module: False)
    assert refusal(tmp_path, avif_bytes(RGB)).endswith(f"install it: {install_line('formats')}")


def test_other_formats_load_none_of_the_packages(tmp_path: Path) -> None:
    path = _written(tmp_path, pillow_bytes(RGB, "JPEG"))
    script = (
        f"import sys; from dcdr_deploy.imaging import read_image; read_image({str(path)!r}); "
        "print({'imagecodecs', 'pillow_heif', 'exiv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_folders_are_searched_for_them() -> None:
    assert {".heic", ".heif", ".hif", ".avif", ".jxl"} <= SUFFIXES


_SMALL = RGB[:16, :16].copy()
_WHOLE = {
    "heic": heic_bytes(_SMALL),
    "avif": avif_bytes(_SMALL),
    "jxl": jxl_bytes(_SMALL),
    "jxl with a profile": jxl_with_profile(_SMALL, ADOBE, lossy=True),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(_WHOLE)), at=st.integers(0, 999), value=st.integers(0, 255))
def test_a_changed_byte_gives_a_picture_or_a_refusal_never_a_crash(
    tmp_path: Path, kind: str, at: int, value: int
) -> None:
    data = bytearray(_WHOLE[kind])
    data[at % len(data)] = value
    with suppress(InputError):
        assert read(tmp_path, bytes(data)).pixels.ndim == 3


def test_samples_of_another_depth_than_the_file_announces_are_refused(tmp_path: Path) -> None:
    kind, payload, properties = picture_item(avif_bytes(RGB))
    said = dict(properties)
    said[b"pixi"] = bytes([0, 0, 0, 0, 3, 10, 10, 10])
    said[b"av1C"] = bytes([*said[b"av1C"][:2], said[b"av1C"][2] | 0x40, *said[b"av1C"][3:]])
    assert "announced with 10 bits" in refusal(tmp_path, assembled(b"avif", [(kind, payload, list(said.items()))]))


def test_a_heic_of_many_tiles_is_one_picture(tmp_path: Path) -> None:
    large = np.tile(RGB, (4, 5, 1))
    data = heic_bytes(large, tile_size=64)
    container = isobmff.read(data)
    assert container.items[container.primary].kind == b"grid"
    assert off(read(tmp_path, data).pixels, large) <= 2


def test_samples_of_more_bits_than_are_kept_are_refused():
    """Whole numbers of 32 bits are allowed in JPEG XL, and any number in HEIF's box pixi."""
    with pytest.raises(UnreadableError, match="32 bits"):
        items.expanded(np.zeros((2, 2), np.uint16), 32)
