"""16-bit PNG as FFmpeg and libpng read it: PQ, HLG and linear light, pixels and chunks."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from ffmpeg_reader import content_light, mastering_display, read_by_ffmpeg
from PIL import Image

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import WriteOptions, read_image, write_image
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.hdr_transfer import eetf_bt2390, hlg_decode, pq_decode
from dcdr_deploy.imaging.light import PRIMARIES, Light
from dcdr_deploy.imaging.read_hdr import read_hdr

PEAK = 8.0
LINEAR, PQ, HLG = 8, 16, 18
"""TransferCharacteristics of H.273."""


def picture() -> np.ndarray:
    y, x = np.mgrid[0:1:90j, 0:1:50j]
    return np.stack([0.02 + 1.1 * x * y, 0.02 + y**2, 0.02 + 0.5 * (1 - x)], axis=-1).astype(np.float32)


def written(path: Path, linear: np.ndarray | None = None, **light: object) -> Path:
    write_image(path, picture() if linear is None else linear, peak=PEAK, options=WriteOptions(light=Light(**light)))
    return path


def chunks(path: Path) -> list[tuple[bytes, bytes]]:
    data, at, found = path.read_bytes(), 8, []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def rolled(linear: np.ndarray, primaries: str, white: float, peak_nits: float) -> np.ndarray:
    """cd/m2 by the formulas, in float64."""
    absolute = linear.astype(np.float64) @ p.from_rec709(PRIMARIES[primaries]).T * PEAK * white
    if PEAK * white <= peak_nits:
        return np.minimum(absolute, peak_nits)
    largest = absolute.max(axis=-1, keepdims=True)
    return absolute * eetf_bt2390(largest, PEAK * white, peak_nits) / largest


@pytest.mark.parametrize(("primaries", "code"), [("rec2020", 9), ("p3", 12), ("rec709", 1)])
def test_pq_is_absolute_light_with_its_roll_off_to_another_reader(tmp_path, primaries, code):
    pixels, frame = read_by_ffmpeg(written(tmp_path / "a.png", transfer="pq", primaries=primaries))
    np.testing.assert_allclose(pq_decode(pixels / 65535), rolled(picture(), primaries, 203, 1000), rtol=1e-3)
    assert (frame.color_primaries, frame.color_trc, frame.color_range) == (code, PQ, 2)


@pytest.mark.parametrize(("white", "peak_nits"), [(203, 1000), (100, 400), (300, 4000)])
def test_reference_white_and_peak_are_those_asked_for(tmp_path, white, peak_nits):
    path = written(tmp_path / "a.png", transfer="pq", reference_white=white, peak_nits=peak_nits)
    pixels, frame = read_by_ffmpeg(path)
    nits = pq_decode(pixels / 65535)
    np.testing.assert_allclose(nits, rolled(picture(), "rec2020", white, peak_nits), rtol=1e-3)
    assert nits.max() <= peak_nits * 1.0005
    assert mastering_display(frame)["most"] == (peak_nits,)


def test_tags_are_exact(tmp_path):
    path = written(tmp_path / "a.png", transfer="pq")
    _, frame = read_by_ffmpeg(path)
    nits = rolled(picture(), "rec2020", 203, 1000).max(axis=-1)
    assert mastering_display(frame) == {
        "primaries": (0.64, 0.33, 0.30, 0.60, 0.15, 0.06),  # no light lies outside of Rec. 709
        "white": (0.3127, 0.3290),
        "least": (0.0001,),
        "most": (1000.0,),
    }
    assert content_light(frame) == pytest.approx((nits.max(), nits.mean()), abs=1)
    found = dict(chunks(path))
    assert found[b"cICP"] == bytes([9, 16, 0, 1])
    assert len(found[b"mDCV"]) == 24
    most, mean = struct.unpack(">2I", found[b"cLLI"])
    assert (most / 10000, mean / 10000) == pytest.approx((nits.max(), nits.mean()), rel=2e-4)


def test_chunks_of_colour_come_before_the_pixels_and_none_contradicts(tmp_path):
    for light in ({"transfer": "pq"}, {"transfer": "hlg"}, {}):
        names = [name for name, _ in chunks(written(tmp_path / "a.png", **light))]
        colour = {b"cICP", b"mDCV", b"cLLI", b"gAMA", b"cHRM", b"sRGB", b"iCCP"} & set(names)
        assert max(names.index(name) for name in colour) < names.index(b"IDAT")
        assert b"cICP" in colour
        assert (b"gAMA" in colour) == (not light)


def test_hlg_is_tagged_as_such_and_has_no_absolute_levels(tmp_path):
    dark = picture() * np.float32(0.3)
    pixels, frame = read_by_ffmpeg(written(tmp_path / "a.png", dark, transfer="hlg"))
    assert (frame.color_primaries, frame.color_trc) == (9, HLG)
    assert not frame.side_data
    scene = hlg_decode(pixels / 65535)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    np.testing.assert_allclose(
        1000 * scene * luminance[..., None] ** 0.2, rolled(dark, "rec2020", 203, 1000), rtol=4e-3
    )


def test_libpng_reads_the_same_pixels(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    path = written(tmp_path / "a.png", transfer="pq")
    np.testing.assert_array_equal(imagecodecs.png_decode(path.read_bytes()), read_by_ffmpeg(path)[0])


@pytest.mark.parametrize("primaries", ["rec709", "p3", "rec2020", "acescg"])
def test_linear_light_is_told_by_gamma_and_chromaticities(tmp_path, primaries):
    path = written(tmp_path / "a.png", picture() * np.float32(0.8), primaries=primaries)
    expected = np.clip(picture() * 0.8 @ p.from_rec709(PRIMARIES[primaries]).T, 0, 1) * 65535
    pixels, frame = read_by_ffmpeg(path)
    np.testing.assert_allclose(pixels, expected, atol=0.51)
    assert frame.color_trc == LINEAR
    code = {"rec709": 1, "p3": 12, "rec2020": 9}.get(primaries)
    assert dict(chunks(path)).get(b"cICP") == (None if code is None else bytes([code, LINEAR, 0, 1]))
    with Image.open(path) as image:
        assert image.info["gamma"] == 1.0
        *colours, white_x, white_y = PRIMARIES[primaries]
        assert image.info["chromaticity"] == pytest.approx((white_x, white_y, *colours))
    np.testing.assert_allclose(read_hdr(path).pixels, np.clip(picture() * 0.8, 0, 1), atol=5e-5)


def test_alpha_stays_straight_beside_pq(tmp_path):
    alpha = np.linspace(0, 1, 90 * 50, dtype=np.float32).reshape(90, 50)
    opaque = written(tmp_path / "a.png", transfer="pq")
    options = WriteOptions(light=Light(transfer="pq"))
    write_image(tmp_path / "b.png", picture(), peak=PEAK, alpha=alpha, options=options)
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = imagecodecs.png_decode((tmp_path / "b.png").read_bytes())
    np.testing.assert_array_equal(pixels[..., :3], imagecodecs.png_decode(opaque.read_bytes()))
    np.testing.assert_array_equal(pixels[..., 3], np.rint(alpha * 65535))


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_given_as_an_input_it_is_refused_as_hdr(tmp_path, transfer):
    with pytest.raises(
        InputError, match=f"is an HDR picture already \\(PNG with {transfer.upper()} transfer by its cICP"
    ):
        read_image(written(tmp_path / "a.png", transfer=transfer))


@pytest.mark.parametrize("white", [203, 100])
def test_read_as_hdr_it_is_the_light_again_whatever_white_it_was_written_with(tmp_path, white):
    dark = picture() * np.float32(0.3)  # below the knee
    held = read_hdr(written(tmp_path / "a.png", dark, transfer="pq", reference_white=white))
    np.testing.assert_allclose(held.pixels, dark * PEAK, rtol=2e-3, atol=1e-3)
