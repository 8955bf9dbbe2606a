"""AVIF, HEIC and JPEG XL: tags and values as libraries read them that did not write the file.

AVIF and HEIC are written by libavif and libheif; FFmpeg (PyAV) parses both with its own code and decodes them by dav1d
and its own HEVC decoder. Pillow has a libavif of its own, and pillow-heif reads AVIF's properties. JPEG XL has one
decoder, libjxl: Debian's ffmpeg brings another build of it, years older than the one that writes.
"""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from delivered import PEAK, WEIGHTS, close, expected, picture, rgb_of, written
from PIL import Image

from dcdr_deploy.errors import InputError, MissingDependency, OutputError
from dcdr_deploy.imaging import WriteOptions, check_output, isobmff, write_image
from dcdr_deploy.imaging.delivery import CodeRange, Delivery
from dcdr_deploy.imaging.light import Light
from dcdr_deploy.imaging.read_hdr import read_hdr
from dcdr_deploy.imaging.xmp import OWN, parse, values
from dcdr_deploy.run.video.package import side_data_of
from dcdr_deploy.run.video.siting import Siting, measured

pytest.importorskip("imagecodecs")

H273 = {"rec709": 1, "rec2020": 9, "p3": 12, "pq": 16, "hlg": 18}


def by_ffmpeg(path: Path) -> dict[str, Any]:
    """Tags, brightness and planes of the first picture, (H, W, 3), by PyAV."""
    av = pytest.importorskip("av")
    with av.open(path) as container:
        frame = next(container.decode(video=0))
        sides = {kind: bytes(data) for kind, data in side_data_of(frame).items()}
        return {
            "format": frame.format.name,
            "tags": (frame.color_primaries, frame.color_trc, int(frame.colorspace)),
            "full_range": int(frame.color_range) == 2,
            "level": struct.unpack_from("=II", sides["CONTENT_LIGHT_LEVEL"]),
            "absolute": "MASTERING_DISPLAY_METADATA" in sides,
            "planes": _planes(frame),
        }


def _planes(frame: Any) -> list[np.ndarray]:
    return [
        np.frombuffer(bytes(plane), "<u2")
        .reshape(plane.height, plane.line_size // 2)[:, : plane.width]
        .astype(np.float64)
        for plane in frame.planes
    ]


# AVIF


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_ffmpeg_reads_the_tags_the_brightness_and_the_codes_of_an_avif(tmp_path, transfer, bits):
    linear = picture()
    written(tmp_path / "out.avif", linear, bits=bits, quality=95, light=Light(transfer=transfer))
    found = by_ffmpeg(tmp_path / "out.avif")
    assert found["format"] == f"yuv444p{bits}le"
    assert found["tags"] == (9, H273[transfer], 9)
    assert found["full_range"]
    assert found["absolute"] == (transfer == "pq")
    codes, level = expected(linear, Light(transfer=transfer), bits)
    assert found["level"] == (round(level.max_cll), round(level.max_fall))
    rgb = rgb_of(found["planes"], CodeRange(bits).top, WEIGHTS["rec2020"])
    close(rgb, codes, CodeRange(bits).top)


@pytest.mark.parametrize("primaries", ["rec709", "p3"])
def test_an_avif_in_other_primaries_says_so(tmp_path, primaries):
    linear = picture()
    light = Light(transfer="pq", primaries=primaries)
    written(tmp_path / "out.avif", linear, quality=95, light=light)
    found = by_ffmpeg(tmp_path / "out.avif")
    assert found["tags"] == (H273[primaries], 16, 1)
    close(rgb_of(found["planes"], 1023, WEIGHTS[primaries]), expected(linear, light)[0], 1023)


@pytest.mark.parametrize("bits", [10, 12])
def test_an_avif_of_quality_100_gives_back_its_codes(tmp_path, bits):
    linear = picture()
    written(tmp_path / "out.avif", linear, bits=bits, quality=100)
    found = by_ffmpeg(tmp_path / "out.avif")
    assert found["format"] == f"gbrp{bits}le"
    green, blue, red = found["planes"]
    codes, _ = Delivery(Light(transfer="pq"), PEAK).codes(linear, CodeRange(bits))
    np.testing.assert_array_equal(np.stack([red, green, blue], axis=-1), codes)


@pytest.mark.parametrize("quality", [95, 100])
def test_an_imagecodecs_that_cannot_be_told_colours_writes_them_too(tmp_path, monkeypatch, quality):
    """As those are that Python 3.10 has: container and stream tell the colours, and the matrix is that of BT.601."""
    import imagecodecs

    encode = imagecodecs.avif_encode
    monkeypatch.setattr(
        imagecodecs,
        "avif_encode",
        lambda data, level, speed, bitspersample, numthreads: encode(
            data, level=level, speed=speed, bitspersample=bitspersample, numthreads=numthreads
        ),
    )
    linear, light = picture(), Light(transfer="hlg")
    data = written(tmp_path / "out.avif", linear, quality=quality, light=light)
    found = by_ffmpeg(tmp_path / "out.avif")
    assert found["tags"] == (9, 18, 0 if quality == 100 else 6)
    container = isobmff.read(data)
    assert (container.items[container.primary].property(b"colr") or b"")[:8] == b"nclx\0\x09\0\x12"
    close(imagecodecs.avif_decode(data).astype(np.float64), expected(linear, light)[0], 1023)
    with Image.open(io.BytesIO(data)) as image:
        close(np.array(image).astype(np.float64) * (1023 / 255), expected(linear, light)[0], 1023)


def test_libheif_reads_the_properties_of_an_avif(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    linear = picture()
    light = Light(transfer="pq", peak_nits=600)
    written(tmp_path / "out.avif", linear, light=light)
    said_by_libheif(heif.open_heif(tmp_path / "out.avif").info, linear, light)


def said_by_libheif(info: dict[str, Any], linear: np.ndarray, light: Light) -> None:
    level = expected(linear, light)[1]
    assert info["bit_depth"] == 10
    assert [info["nclx_profile"][key] for key in ("color_primaries", "transfer_characteristics")] == [9, 16]
    assert (info["nclx_profile"]["matrix_coefficients"], info["nclx_profile"]["full_range_flag"]) == (9, 1)
    assert info["content_light_level"] == {
        "max_content_light_level": round(level.max_cll),
        "max_pic_average_light_level": round(level.max_fall),
    }
    mastering = info["mastering_display_colour_volume"]
    assert mastering["max_display_mastering_luminance"] == 600 * 10000
    assert mastering["display_primaries_x"] == (15000, 7500, 32000)  # green, blue, red of Rec. 709 by 50000
    assert (mastering["white_point_x"], mastering["white_point_y"]) == (15635, 16450)
    assert values(parse(info["xmp"]), OWN, "model") == ["a <model>"]


def test_another_libavif_decodes_the_same_picture_alpha_and_xmp(tmp_path):
    linear = picture()
    alpha = np.linspace(0, 1, linear.shape[1], dtype=np.float32)[None].repeat(len(linear), 0)
    data = written(tmp_path / "out.avif", linear, alpha, quality=95)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGBA"
        assert values(parse(image.info["xmp"]), OWN, "software") == ["dcdr-deploy 1"]
        pixels = np.array(image).astype(np.float64)
    close(pixels[..., :3] * (1023 / 255), expected(linear, Light(transfer="pq"))[0], 1023)
    assert np.abs(pixels[..., 3] / 255 - alpha).max() <= 0.02


# HEIC


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_ffmpeg_reads_the_tags_the_brightness_and_the_codes_of_a_heic(tmp_path, transfer):
    pytest.importorskip("pillow_heif")
    linear = picture()
    written(tmp_path / "out.heic", linear, quality=95, light=Light(transfer=transfer))
    found = by_ffmpeg(tmp_path / "out.heic")
    assert found["format"] == "yuv420p10le"
    assert found["tags"] == (9, H273[transfer], 9)
    assert found["full_range"]
    codes, level = expected(linear, Light(transfer=transfer))
    assert found["level"] == (round(level.max_cll), round(level.max_fall))
    close(rgb_of(found["planes"], 1023, WEIGHTS["rec2020"]), codes, 1023, factor=2)  # colour at half resolution


def test_chroma_of_a_heic_lies_in_the_middle_of_four_samples_and_ffmpeg_is_told_so(tmp_path):
    """Its place, in luma samples from the upper left one, by least squares: found = truth + place x d truth."""
    pytest.importorskip("pillow_heif")
    av = pytest.importorskip("av")
    rows, columns = np.mgrid[:64, :96]
    edges = np.tanh((rows - 30) / 4) * np.tanh((columns - 40) / 4)
    linear = np.stack([np.full_like(edges, 0.02), 0.02 * np.exp(edges), np.full_like(edges, 0.02)], -1)
    linear = linear.astype(np.float32)
    written(tmp_path / "out.heic", linear, quality=100, light=Light(transfer="pq"))
    (red, blue), signal = WEIGHTS["rec2020"], expected(linear, Light(transfer="pq"))[0]
    luma = signal @ np.array([red, 1 - red - blue, blue])
    truths = ((signal[..., channel] - luma) / (2 * (1 - part)) for channel, part in ((2, blue), (0, red)))
    for found, truth in zip(by_ffmpeg(tmp_path / "out.heic")["planes"][1:], truths, strict=True):
        slopes = np.stack([slope[::2, ::2].ravel() for slope in np.gradient(truth)], axis=-1)
        place, *_ = np.linalg.lstsq(slopes, (found - 512 - truth[::2, ::2]).ravel())
        np.testing.assert_allclose(place, 0.5, atol=0.1)
    with av.open(tmp_path / "out.heic") as container:
        assert measured(next(container.decode(video=0)), "hevc") == Siting(centred=True)


def test_libheif_reads_the_properties_and_the_alpha_of_a_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    linear = picture()
    alpha = np.linspace(0, 1, linear.shape[1], dtype=np.float32)[None].repeat(len(linear), 0)
    light = Light(transfer="pq", peak_nits=600)
    written(tmp_path / "out.heic", linear, alpha, light=light)
    opened = heif.open_heif(tmp_path / "out.heic", convert_hdr_to_8bit=False)
    said_by_libheif(opened.info, linear, light)
    assert opened.mode == "RGBA;16"
    assert np.abs(np.asarray(opened[0])[..., 3] / 65535 - alpha).max() <= 0.02


# JPEG XL


def by_other_libjxl(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """(H, W, 3) or (H, W, 4) uint16 and the tags, by the ffmpeg that the system has."""
    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        pytest.skip("no ffmpeg")
    listed = subprocess.run(["ffmpeg", "-v", "error", "-decoders"], capture_output=True, text=True, check=True).stdout
    if "libjxl" not in listed:
        pytest.skip("this ffmpeg has no libjxl")
    probe = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(path)]
    stream = json.loads(subprocess.run(probe, capture_output=True, text=True, check=True).stdout)["streams"][0]
    channels = 4 if stream["pix_fmt"].startswith("rgba") else 3
    form = {3: "rgb48le", 4: "rgba64le"}[channels]
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", form, "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, "<u2").reshape(stream["height"], stream["width"], channels), stream


@pytest.mark.parametrize("bits", [10, 12])
def test_an_older_libjxl_reads_pq_and_its_tags(tmp_path, bits):
    linear = picture()
    written(tmp_path / "out.jxl", linear, bits=bits, quality=97)
    pixels, stream = by_other_libjxl(tmp_path / "out.jxl")
    assert (stream["color_primaries"], stream["color_transfer"]) == ("bt2020", "smpte2084")
    close(pixels / 65535 * 1023, expected(linear, Light(transfer="pq"))[0], 1023)


@pytest.mark.parametrize("bits", [10, 12])
def test_a_jpeg_xl_of_quality_100_gives_back_its_codes(tmp_path, bits):
    linear = picture()
    alpha = np.linspace(0, 1, linear.shape[1], dtype=np.float32)[None].repeat(len(linear), 0)
    written(tmp_path / "out.jxl", linear, alpha, bits=bits, quality=100)
    pixels, stream = by_other_libjxl(tmp_path / "out.jxl")
    top = CodeRange(bits).top
    codes, _ = Delivery(Light(transfer="pq"), PEAK).codes(linear, CodeRange(bits))
    np.testing.assert_array_equal(np.rint(pixels[..., :3] / 65535 * top), codes)
    np.testing.assert_array_equal(np.rint(pixels[..., 3] / 65535 * top), np.rint(alpha * top))
    assert (stream["color_primaries"], stream["color_transfer"]) == ("bt2020", "smpte2084")


@pytest.mark.parametrize(("primaries", "named"), [("rec709", "bt709"), ("rec2020", "bt2020"), ("p3", "smpte432")])
def test_an_older_libjxl_reads_linear_light_and_its_primaries(tmp_path, primaries, named):
    linear = picture() / PEAK  # that ffmpeg gives 16-bit integers, which end at SDR white
    light = Light(transfer="linear", primaries=primaries)
    written(tmp_path / "out.jxl", linear, quality=97, light=light)
    pixels, stream = by_other_libjxl(tmp_path / "out.jxl")
    assert (stream["color_primaries"], stream["color_transfer"]) == (named, "linear")
    wanted = light_of(linear, primaries)
    assert np.abs(pixels / 65535 - wanted).max() <= 0.05
    assert np.median(np.abs(pixels / 65535 - wanted)) <= 0.003


def light_of(linear: np.ndarray, primaries: str) -> np.ndarray:
    from dcdr_deploy.imaging import primaries as p
    from dcdr_deploy.imaging.light import PRIMARIES

    return (linear * PEAK) @ p.from_rec709(PRIMARIES[primaries]).T


def test_linear_jpeg_xl_keeps_light_above_white_and_is_exact_at_quality_100(tmp_path):
    """By the library that wrote it: no other here gives halves out."""
    codecs = pytest.importorskip("imagecodecs")
    linear = picture() * 1.5  # beyond the peak
    lossless = written(tmp_path / "a.jxl", linear, quality=100, light=Light(transfer="linear"))
    found = codecs.jpegxl_decode(lossless)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, (linear * np.float32(PEAK)).astype(np.float16))
    lossy = codecs.jpegxl_decode(written(tmp_path / "b.jxl", linear, light=Light(transfer="linear"))).astype(np.float32)
    assert lossy.max() == pytest.approx(12, rel=0.05)
    assert np.median(np.abs(np.log2((lossy + 0.05) / (linear * PEAK + 0.05)))) < 0.03


def test_exiv2_reads_what_made_a_jpeg_xl(tmp_path):
    exiv2 = pytest.importorskip("exiv2")
    written(tmp_path / "out.jxl", picture())
    image = exiv2.ImageFactory.open(str(tmp_path / "out.jxl"))
    image.readMetadata()
    assert str(image.xmpData()["Xmp.dcdr.model"].value()) == "a <model>"


# All of them


@pytest.mark.parametrize("suffix", [".avif", ".heic", ".jxl"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 5), (33, 65)])
def test_odd_and_tiny_pictures_work(tmp_path, suffix, size):
    if suffix == ".heic":
        pytest.importorskip("pillow_heif")
    linear = np.full((*size, 3), 0.25, np.float32)
    data = written(tmp_path / f"out{suffix}", linear)
    pixels, top = own_codes(suffix, data)
    assert pixels.shape == (*size, 3)
    # 2 x SDR white is 406 cd/m2; BT.2390's knee for 1624 to 1000 cd/m2 lies above it.
    codes = expected(linear, Light(transfer="pq"))[0]
    assert np.abs(pixels / top - codes / 1023).max() <= 0.02


def own_codes(suffix: str, data: bytes) -> tuple[np.ndarray, int]:
    import imagecodecs

    if suffix == ".heic":
        import pillow_heif

        return np.asarray(pillow_heif.open_heif(data, convert_hdr_to_8bit=False)[0]).astype(np.float64), 65535
    decode = imagecodecs.avif_decode if suffix == ".avif" else imagecodecs.jpegxl_decode
    pixels = decode(data).astype(np.float64)
    return pixels, 1023 if pixels.max() <= 1023 else 65535


@pytest.mark.parametrize("suffix", [".avif", ".heic", ".jxl"])
def test_numbers_that_are_no_light_become_black_or_the_peak(tmp_path, suffix):
    if suffix == ".heic":
        pytest.importorskip("pillow_heif")
    linear = np.full((32, 32, 3), 0.125, np.float32)
    linear[:16, :16], linear[:16, 16:], linear[16:, :16] = np.nan, np.inf, -1
    pixels, top = own_codes(suffix, written(tmp_path / f"out{suffix}", linear, quality=98))
    corners = [pixels[4:12, 4:12], pixels[4:12, 20:28], pixels[20:28, 4:12], pixels[20:28, 20:28]]
    black, bright, dark, white = (float(np.median(corner)) / top for corner in corners)
    assert max(black, dark) <= 0.02
    assert bright == pytest.approx(0.7518, abs=0.01)  # 1000 cd/m2
    assert white == pytest.approx(0.5807, abs=0.01)  # 203 cd/m2


def test_speed_slow_gives_another_file_of_the_same_picture(tmp_path):
    linear = picture()
    for suffix in (".avif", ".jxl"):
        fast, slow = (written(tmp_path / f"{speed}{suffix}", linear, speed=speed) for speed in ("fast", "slow"))
        assert fast != slow
        (one, top), (two, _) = own_codes(suffix, fast), own_codes(suffix, slow)
        close(one, two, top)


@pytest.mark.parametrize(("options", "said"), [
    ({"quality": 0}, "quality must be 1 to 100, not 0"),
    ({"quality": 101}, "quality must be 1 to 100, not 101"),
    ({"bits": 11}, "bits must be 10 or 12, not 11"),
    ({"speed": "warp"}, "unknown speed 'warp'; choose one of fast, slow"),
])  # fmt: skip
def test_settings_out_of_range_are_told(options, said):
    with pytest.raises(InputError, match=said):
        WriteOptions(**options)


@pytest.mark.parametrize(("name", "options", "said"), [
    ("a.heic", {"bits": 12}, "a.heic: .heic has no `bits`"),
    ("a.exr", {"quality": 80}, "a.exr: .exr has no `quality`"),
    ("a.jpg", {"speed": "slow"}, "a.jpg: .jpg has no `speed`"),
    ("a.avif", {"light": Light(transfer="linear")}, "a.avif: .avif cannot hold `transfer` linear; it has pq, hlg"),
    ("a.jxl", {"light": Light(transfer="hlg")}, "a.jxl: .jxl cannot hold `transfer` hlg; it has pq, linear"),
    ("a.jxl", {"light": Light(primaries="acescg")}, "a.jxl: .jxl cannot hold `primaries` acescg"),
    ("a.jpg", {"light": Light(transfer="pq")}, "a.jpg: .jpg cannot hold `transfer` pq; leave it out"),
])  # fmt: skip
def test_what_a_format_cannot_hold_is_told_before_any_work(tmp_path, name, options, said):
    with pytest.raises(OutputError) as told:
        check_output(tmp_path / name, WriteOptions(**options))
    assert said in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("suffix", "module", "package"), [
    (".avif", "imagecodecs", "imagecodecs"),
    (".jxl", "imagecodecs", "imagecodecs"),
    (".heic", "pillow_heif", "pillow-heif"),
])  # fmt: skip
def test_a_format_without_its_package_is_told_with_the_line_that_installs_it(
    tmp_path, monkeypatch, suffix, module, package
):
    monkeypatch.setattr("dcdr_deploy.imaging.writers.base.installed", lambda name: name != module)
    with pytest.raises(MissingDependency) as told:
        check_output(tmp_path / f"out{suffix}")
    assert f'out{suffix}: {suffix} needs the package {module}; pip install "{package}' in str(told.value)


def test_a_picture_that_an_encoder_refuses_leaves_no_file(tmp_path):
    wide = np.zeros((1, 70000, 3), np.float32)
    with pytest.raises(OutputError, match=r"out\.avif: cannot be written: libavif cannot encode it"):
        write_image(tmp_path / "out.avif", wide, peak=PEAK)
    assert list(tmp_path.iterdir()) == []


def test_the_light_reported_is_that_of_the_file(tmp_path):
    from dcdr_deploy.imaging.write import stored_light

    linear = picture()
    light = Light(transfer="pq", primaries="rec709")
    options = WriteOptions(light=light, quality=100)
    held = stored_light(tmp_path / "a.avif", linear, peak=PEAK, options=options)(0, len(linear))
    codes, _ = expected(linear, replace(light))
    again = Delivery(light, 1.0, PEAK).signals(held)[0] * 1023
    assert np.abs(again - codes).max() > 5  # rolled off twice, it is no longer the same
    assert held.max() == pytest.approx(1000 / 203, rel=1e-3)


@pytest.mark.parametrize("suffix", [".avif", ".heic", ".jxl"])
def test_a_file_is_read_back_by_the_reference_white_that_it_was_written_with(tmp_path, suffix):
    if suffix == ".heic":
        pytest.importorskip("pillow_heif")
    linear = np.full((32, 32, 3), 0.25, np.float32)
    written(tmp_path / f"out{suffix}", linear, quality=95, light=Light(transfer="pq", reference_white=100))
    found = read_hdr(tmp_path / f"out{suffix}")
    assert np.median(found.pixels) == pytest.approx(2, rel=0.02)
    assert (found.texts["model"], found.texts["referencewhite"]) == ("a <model>", "100")
