"""Ultra HDR files: the source's JPEG untouched, and the restored light by readers that did not write it."""

from __future__ import annotations

import io
import re
import struct
from xml.etree import ElementTree

import numpy as np
import pytest
from lit_pictures import base_of, jpeg, libultrahdr, light_of, smooth, stops_apart, written
from PIL import Image, ImageCms, MpoImagePlugin

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging import read_image
from dcdr_deploy.imaging.gain_map import HDRGM
from dcdr_deploy.imaging.jpeg_file import GAIN_MAP, MULTI_PICTURE, XMP
from dcdr_deploy.imaging.orientation import stored_layout
from dcdr_deploy.imaging.read_hdr import HdrOptions, read_hdr
from dcdr_deploy.imaging.ultrahdr import segments
from dcdr_deploy.imaging.ultrahdr.metadata import CONTAINER, ITEM
from dcdr_deploy.imaging.xmp import OWN, RDF

TYPICAL, SELDOM, WORST = 0.02, 0.15, 0.45
"""Stops that a decoded file may be off, for half of its samples, for 99 % of them and for all: 8 bits twice, and JPEG's
errors, which are largest where the gain is steepest."""


def close(light: np.ndarray, expected: np.ndarray, factor: float = 1) -> None:
    apart = stops_apart(light, expected)
    assert np.median(apart) <= TYPICAL * factor
    assert np.percentile(apart, 99) <= SELDOM * factor
    assert apart.max() <= WORST * factor


def pictures_of(data: bytes) -> MpoImagePlugin.MpoImageFile:
    """Both pictures by Pillow's reader of Multi-Picture files, which Image.open does not take where it sees hdrgm."""
    return MpoImagePlugin.MpoImageFile(io.BytesIO(data))


def without(data: bytes, *signatures: bytes) -> bytes:
    """The file without such segments, in both of its pictures, and with the lengths in its indexes as they were."""
    first = segments.split(data)
    parts = [first, segments.split(first.beyond)]
    pictures = [
        segments.join((each for each in part.segments if not each.payload.startswith(signatures)), part.scans)
        for part in parts
    ]
    return b"".join(pictures)


# The SDR picture


def test_the_original_jpeg_stays_to_the_byte_but_for_added_metadata(tmp_path):
    exif = Image.Exif()
    exif[271] = "Camera"
    source = jpeg(tmp_path / "in.jpg", smooth(), exif=exif, comment=b"hello", dpi=(72, 72), progressive=True)
    before = segments.split(source.read_bytes())
    after = segments.split(written(tmp_path / "out.jpg", source, light_of(source)))
    assert after.scans == before.scans
    kept = [each.raw for each in before.segments]
    assert [each.raw for each in after.segments if each.raw in kept] == kept
    added = [each.payload for each in after.segments if each.raw not in kept]
    assert len(added) == 3
    assert all(
        payload.startswith(signature) for payload, signature in zip(added, (XMP, GAIN_MAP, MULTI_PICTURE), strict=True)
    )


def test_sdr_viewers_see_the_source(tmp_path):
    source = jpeg(tmp_path / "in.jpg", smooth())
    data = written(tmp_path / "out.jpg", source, light_of(source))
    np.testing.assert_array_equal(base_of(data), base_of(source.read_bytes()))


@pytest.mark.parametrize(("name", "mode", "pixels"), [
    ("in.png", "RGB", smooth()),
    ("in.png", "RGBA", np.dstack([smooth(), np.full((48, 64), 99, np.uint8)])),
    ("in.png", "I;16", (smooth()[..., 0].astype(np.uint16) * 257)),
])  # fmt: skip
def test_a_source_that_is_no_jpeg_becomes_one(tmp_path, name, mode, pixels):
    source = tmp_path / name
    Image.fromarray(pixels).save(source)
    light = light_of(source)
    data = written(tmp_path / "out.jpg", source, light)
    sdr = pixels[..., :3] if mode != "I;16" else np.repeat((pixels // 257).astype(np.uint8)[..., None], 3, axis=2)
    assert np.abs(base_of(data).astype(int) - sdr).mean() < 2
    assert np.median(stops_apart(libultrahdr(data), light)) <= 2 * TYPICAL  # its base is off by JPEG's errors, too


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_a_jpeg_that_readers_take_no_gain_map_with_becomes_an_rgb_one(tmp_path, mode):
    source = tmp_path / "in.jpg"
    Image.fromarray(smooth()).convert(mode).save(source, quality=95)
    light = light_of(source)
    data = written(tmp_path / "out.jpg", source, light)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGB"
    assert np.median(stops_apart(libultrahdr(data), light)) <= 2 * TYPICAL


# The light


def test_libultrahdr_finds_the_restored_light(tmp_path):
    source = jpeg(tmp_path / "in.jpg", smooth())
    light = light_of(source)
    close(libultrahdr(written(tmp_path / "out.jpg", source, light)), light)
    assert light.max() == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("left", [GAIN_MAP, XMP])
def test_either_standards_words_are_enough(tmp_path, left):
    source = jpeg(tmp_path / "in.jpg", smooth())
    light = light_of(source)
    data = written(tmp_path / "out.jpg", source, light)
    other = {GAIN_MAP: XMP, XMP: GAIN_MAP}[left]
    # The index of pictures counts bytes of the segments that are gone; libultrahdr looks for the second itself.
    close(libultrahdr(without(data, other, MULTI_PICTURE)), light)


def test_on_a_display_without_headroom_the_picture_is_the_sdr_one(tmp_path):
    codecs = pytest.importorskip("imagecodecs")
    source = jpeg(tmp_path / "in.jpg", smooth())
    data = written(tmp_path / "out.jpg", source, light_of(source))
    shown = codecs.ultrahdr_decode(data, dtype="float16", boost=1.0).astype(np.float32)[..., :3]
    assert shown.max() <= 1.01
    half = codecs.ultrahdr_decode(data, dtype="float16", boost=2.0).astype(np.float32)[..., :3]
    assert half.max() == pytest.approx(2, rel=0.1)  # half of the stops of 4, which is what the picture asks for


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_gain_map_lies_as_the_stored_pixels_do(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    source = jpeg(tmp_path / "in.jpg", smooth(), exif=exif)
    light = light_of(source)
    data = written(tmp_path / "out.jpg", source, light)
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[274] == orientation
    close(libultrahdr(data), stored_layout(light, orientation))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 5), (33, 65), (8, 8)])
def test_pictures_of_odd_and_tiny_sizes_work(tmp_path, size):
    source = tmp_path / "in.jpg"
    jpeg(source, smooth(*size))
    light = light_of(source)
    data = written(tmp_path / "out.jpg", source, light)
    assert base_of(data).shape == (*size, 3)
    with pictures_of(data) as image:
        image.seek(1)
        assert image.size == size[::-1]
    close(libultrahdr(data), light, factor=3)  # ramps are steep over a few pixels


def test_a_gain_without_colour_has_one_channel(tmp_path):
    source = jpeg(tmp_path / "in.jpg", smooth())
    sdr = light_of(source, most=1)
    with pictures_of(written(tmp_path / "out.jpg", source, sdr)) as image:
        image.seek(1)
        assert image.mode == "L"


def test_a_picture_in_which_nothing_was_restored_is_a_file_that_changes_nothing(tmp_path):
    source = jpeg(tmp_path / "in.jpg", smooth() // 2)
    light = light_of(source)
    close(libultrahdr(written(tmp_path / "out.jpg", source, light)), light)


def test_light_that_no_file_can_hold_ends_at_its_limits(tmp_path):
    source = jpeg(tmp_path / "in.jpg", np.full((16, 16, 3), 255, np.uint8))
    light = np.ones((16, 16, 3), np.float32)
    light[:8, :8], light[:8, 8:], light[8:, :8] = np.inf, np.nan, -5
    shown = libultrahdr(written(tmp_path / "out.jpg", source, light))
    assert np.median(shown[:8, :8]) == pytest.approx(10000 / 203, rel=0.05)
    assert np.median(shown[:8, 8:]) == pytest.approx(0, abs=0.01)
    assert np.median(shown[8:, :8]) == pytest.approx(0, abs=0.01)
    assert np.median(shown[8:, 8:]) == pytest.approx(1, rel=0.05)


def test_less_light_than_in_the_source_is_possible_too(tmp_path):
    source = jpeg(tmp_path / "in.jpg", smooth())
    light = light_of(source) / 4
    close(libultrahdr(written(tmp_path / "out.jpg", source, light)), light, factor=3)  # the map has all the detail


def decoded_by_the_formula(data: bytes) -> np.ndarray:
    """ISO 21496-1, equation 4 in plain words, in the base's own encoding by Pillow's LittleCMS; linear Rec. 709."""
    first = segments.split(data)
    with pictures_of(data) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        base = np.array(image).astype(np.float64) / 255
        image.seek(1)
        code = np.array(image).astype(np.float64) / 255
    xmp = first.beyond.decode("latin-1")
    least, most, offset = (
        float(re.search(rf'hdrgm:{name}="([^"]+)"', xmp)[1]) for name in ("GainMapMin", "GainMapMax", "OffsetSDR")
    )
    hdr = (base ** (563 / 256) + offset) * 2 ** (least + code * (most - least)) - offset
    matrix = np.array([[1.39831, -0.39831, 0], [0, 1, 0], [0, -0.04293, 1.04293]])  # Adobe RGB -> sRGB, D65
    assert "Adobe" in ImageCms.getProfileDescription(profile)
    return hdr @ matrix.T


def test_a_base_in_another_colour_space_keeps_its_profile_and_its_gain_is_meant_in_it(tmp_path):
    with Image.open("samples/rocket.jpg") as image:
        adobe = image.info["icc_profile"]
    source = jpeg(tmp_path / "in.jpg", smooth(), icc_profile=adobe)
    light = light_of(source)
    data = written(tmp_path / "out.jpg", source, light)
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == adobe
    codes = read_image(source).pixels
    inside = ((codes > 0) & (codes < 255)).all(axis=-1)  # sRGB holds their colours
    found = decoded_by_the_formula(data)
    close(found[inside], light[inside], factor=1.5)  # clipped pixels are few among these


@pytest.mark.parametrize("profile", ["none", "Adobe RGB"])
def test_this_projects_own_reader_finds_the_light_too(tmp_path, profile):
    """By its own mathematics, which follow the profile of the base, as libultrahdr does not."""
    with Image.open("samples/rocket.jpg") as image:
        extra = {} if profile == "none" else {"icc_profile": image.info["icc_profile"]}
    source = jpeg(tmp_path / "in.jpg", smooth(), **extra)
    light = light_of(source)
    written(tmp_path / "out.jpg", source, light)
    found = read_hdr(tmp_path / "out.jpg", HdrOptions(use_gain_map=True)).pixels
    codes = read_image(source).pixels
    inside = ((codes > 0) & (codes < 255)).all(axis=-1)  # sRGB holds their colours
    close(np.maximum(found, 0)[inside], light[inside], factor=1.5)


# What readers look for


def test_pillow_finds_both_pictures_by_the_multi_picture_index(tmp_path):
    source = jpeg(tmp_path / "in.jpg", smooth())
    with pictures_of(written(tmp_path / "out.jpg", source, light_of(source))) as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
        assert image.mpinfo[0xB002][0]["Attribute"]["MPType"] == "Baseline MP Primary Image"
        image.seek(1)
        assert image.size == (64, 48)


def descriptions(data: bytes) -> list[ElementTree.Element]:
    """What the SDR picture's XMP says, by the standard library's other reader of XML."""
    with Image.open(io.BytesIO(data)) as image:
        return ElementTree.fromstring(image.info["xmp"].decode()).findall(f".//{{{RDF}}}Description")


def test_xmp_says_where_the_map_is_and_what_made_the_picture(tmp_path):
    source = jpeg(tmp_path / "in.jpg", smooth())
    data = written(tmp_path / "out.jpg", source, light_of(source))
    place, maker = descriptions(data)
    items = place.findall(f".//{{{CONTAINER}}}Item")
    assert place.get(f"{{{HDRGM}}}Version") == "1.0"
    assert [item.get(f"{{{ITEM}}}Semantic") for item in items] == ["Primary", "GainMap"]
    assert int(items[1].get(f"{{{ITEM}}}Length")) == len(segments.split(data).beyond)
    assert maker.get(f"{{{OWN}}}software") == "dcdr-deploy 1"
    assert maker.get(f"{{{OWN}}}model") == 'a "model" <1>'


def test_the_xmp_of_the_source_is_kept_and_what_it_said_of_another_map_is_not(tmp_path):
    xmp = (
        '<?xpacket begin="\ufeff"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="uuid:1" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:g="http://ns.adobe.com/hdr-gain-map/1.0/" xmp:Rating="5" '
        'g:Version="9.9"><dc:title xmlns:dc="http://purl.org/dc/elements/1.1/">Zürich</dc:title></rdf:Description>'
        "</rdf:RDF></x:xmpmeta>" + " " * 2000 + '<?xpacket end="w"?>'
    ).encode()
    source = jpeg(tmp_path / "in.jpg", smooth(), xmp=xmp)
    old, *ours = descriptions(written(tmp_path / "out.jpg", source, light_of(source)))
    assert old.get("{http://ns.adobe.com/xap/1.0/}Rating") == "5"
    assert old.find("{http://purl.org/dc/elements/1.1/}title").text == "Zürich"
    assert [each.get(f"{{{HDRGM}}}Version") for each in (old, *ours)] == [None, "1.0", None]
    assert all(each.get(f"{{{RDF}}}about") == "uuid:1" for each in ours)


def test_xmp_that_leaves_no_room_stays_and_iso_readers_still_find_the_map(tmp_path, caplog):
    source = jpeg(tmp_path / "in.jpg", smooth(), xmp=full_packet())
    light = light_of(source)
    data = written(tmp_path / "out.jpg", source, light)
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["xmp"] == full_packet()
    assert "no room for the gain map" in caplog.text
    close(libultrahdr(data), light)


def full_packet() -> bytes:
    head = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    body = b'<rdf:Description rdf:about="" xmlns:a="urn:a" a:long="' + b"x" * 65000 + b'"/>'
    return head + body + b"</rdf:RDF></x:xmpmeta>"


def test_an_ultra_hdr_file_as_source_gets_the_new_map_in_place_of_its_own(tmp_path):
    source = jpeg(tmp_path / "in.jpg", smooth())
    light = light_of(source)
    one = written(tmp_path / "one.jpg", source, light)
    two = written(tmp_path / "two.jpg", tmp_path / "one.jpg", light)
    assert written(tmp_path / "three.jpg", tmp_path / "two.jpg", light) == two
    assert [len(descriptions(data)) for data in (one, two)] == [2, 2]
    close(libultrahdr(two), light)


def test_damaged_xmp_gives_way(tmp_path):
    source = jpeg(tmp_path / "in.jpg", smooth(), xmp=b"<x:xmpmeta>never closed")
    light = light_of(source)
    close(libultrahdr(written(tmp_path / "out.jpg", source, light)), light)


# What is refused


def test_a_source_that_has_become_another_picture_is_told(tmp_path):
    source = jpeg(tmp_path / "in.jpg", smooth())
    light = light_of(source)
    jpeg(source, smooth(48, 66))
    with pytest.raises(OutputError, match=r"in\.jpg: has become another picture"):
        written(tmp_path / "out.jpg", source, light)


def test_a_source_that_has_become_unreadable_is_told(tmp_path):
    source = jpeg(tmp_path / "in.jpg", smooth())
    light = light_of(source)
    source.write_bytes(source.read_bytes()[:600])
    with pytest.raises(InputError, match=r"in\.jpg: is damaged"):
        written(tmp_path / "out.jpg", source, light)


@pytest.mark.parametrize("cut", [1, 100, 1000])
def test_the_bytes_of_the_map_are_where_the_index_says(tmp_path, cut):
    """A reader that trusts CIPA DC-007 alone: offsets count from the index's TIFF header."""
    source = jpeg(tmp_path / "in.jpg", smooth(), comment=b"x" * cut)
    data = written(tmp_path / "out.jpg", source, light_of(source))
    at = data.index(MULTI_PICTURE) + 4
    primary, secondary = (struct.unpack_from(">IIIHH", data, at + 50 + 16 * number) for number in (0, 1))
    assert data[primary[1] - 2 : primary[1]] == segments.END
    assert data[at + secondary[2] : at + secondary[2] + 2] == segments.START
    assert at + secondary[2] + secondary[1] == len(data)
