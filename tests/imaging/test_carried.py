"""Exif, XMP and IPTC go from every input into every output that has a place for them; exiv2 wrote and reads them."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from container_files import avif_bytes, box, exif_bytes, heic_bytes, jxl_bytes
from hypothesis import given
from hypothesis import strategies as st
from picture_files import chunk, pillow_bytes, png_bytes, smooth_rgb, tifffile_bytes
from PIL import Image

from dcdr_deploy.imaging import exif_block, read_image, write_image
from dcdr_deploy.imaging.carried import STRIPPED, Carried, carry
from dcdr_deploy.imaging.frame import Kept
from dcdr_deploy.imaging.isobmff_write import exif_item, extended, xmp_item
from dcdr_deploy.imaging.jxl_header import CONTAINER
from dcdr_deploy.imaging.kept import kept_of
from dcdr_deploy.imaging.write import left_behind
from dcdr_deploy.imaging.xmp_carry import carried as carried_xmp

exiv2 = pytest.importorskip("exiv2")

RGB = smooth_rgb()
LINEAR = np.full((48, 64, 3), 0.05, np.float32)
SOFTWARE = "dcdr-deploy 9.9"
EXIF = {
    "Exif.Image.Make": "Acme",
    "Exif.Image.Model": "Camera 1",
    "Exif.Image.Artist": "Zoë",
    "Exif.Photo.DateTimeOriginal": "2024:05:06 07:08:09",
    "Exif.Photo.OffsetTimeOriginal": "+02:00",
    "Exif.Photo.LensModel": "50mm f/1.8",
    "Exif.Photo.ExposureTime": "1/250",
    "Exif.Photo.FNumber": "18/10",
    "Exif.Photo.ISOSpeedRatings": "400",
    "Exif.Photo.FocalLength": "50/1",
    "Exif.GPSInfo.GPSLatitudeRef": "S",
    "Exif.GPSInfo.GPSLatitude": "33/1 51/1 3150/100",
    "Exif.GPSInfo.GPSLongitudeRef": "E",
    "Exif.GPSInfo.GPSLongitude": "151/1 12/1 5400/100",
    "Exif.GPSInfo.GPSAltitudeRef": "0",
    "Exif.GPSInfo.GPSAltitude": "58/1",
}
XMP = {"Xmp.dc.creator": "Zoë", "Xmp.xmp.Rating": "4"}
IPTC = {"Iptc.Application2.Caption": "Harbour", "Iptc.Application2.City": "Sydney"}


def described(folder: Path, data: bytes, suffix: str, *, orientation: int = 6, iptc: bool = True) -> Path:
    """A picture into which exiv2 has written all of the above."""
    path = folder / f"in{suffix}"
    path.write_bytes(data)
    image = exiv2.ImageFactory.open(str(path))
    image.readMetadata()
    exif, xmp, records = image.exifData(), image.xmpData(), image.iptcData()
    for key, value in EXIF.items():
        datum = exif[key]
        datum.setValue(value)
    exif["Exif.Image.Orientation"].setValue(str(orientation))
    exif["Exif.Photo.MakerNote"].setValue("1 2 3 4")
    for key, value in XMP.items():
        xmp[key].setValue(value)
    xmp["Xmp.tiff.Orientation"].setValue(str(orientation))
    for key, value in IPTC.items() if iptc else ():
        records[key].setValue(value)
    image.setExifData(exif)
    image.setXmpData(xmp)
    image.setIptcData(records)
    image.writeMetadata()
    return path


def found(path: Path) -> dict[str, str]:
    """What exiv2 reads of a file."""
    image = exiv2.ImageFactory.open(str(path))
    image.readMetadata()
    return {each.key(): str(each.value()) for data in (image.exifData(), image.xmpData(), image.iptcData())
            for each in data}  # fmt: skip


def written(folder: Path, source: Path, name: str, **options: object) -> Path:
    """The picture's metadata on a picture of ours."""
    carried, notes = carry(read_image(source).kept, (64, 48), SOFTWARE)
    assert notes == []
    path = folder / name
    texts = {"software": SOFTWARE, "model": "a net", "peak": "8"}
    write_image(path, LINEAR, peak=8, metadata=texts, carried=carried, source=source, **options)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return described(tmp_path, pillow_bytes(RGB, "JPEG"), ".jpg", orientation=1)


def expected(suffix: str) -> dict[str, str]:
    """What the file holds of what was in the input."""
    kept = {**EXIF, **XMP, **IPTC}
    if suffix in (".avif", ".heic"):  # no place
        kept = {key: value for key, value in kept.items() if not key.startswith("Iptc")}
    return kept


@pytest.mark.parametrize("suffix", [".png", ".tif", ".avif", ".heic"])
def test_all_that_a_format_has_a_place_for_is_there_for_exiv2(tmp_path: Path, photo: Path, suffix: str) -> None:
    read = found(written(tmp_path, photo, f"out{suffix}"))
    assert {key: read.get(key) for key in expected(suffix)} == expected(suffix)
    assert read["Exif.Image.Orientation"] == "1"
    assert (read["Exif.Photo.PixelXDimension"], read["Exif.Photo.PixelYDimension"]) == ("64", "48")
    assert read["Exif.Photo.ColorSpace"] == "65535"  # it is sRGB no longer
    assert read["Exif.Image.Software"] == SOFTWARE
    assert read["Xmp.tiff.Orientation"] == "1"
    assert "Exif.Photo.MakerNote" not in read


def test_jpeg_xl_holds_exif_and_xmp_in_boxes_of_their_own(tmp_path: Path, photo: Path) -> None:
    read = found(written(tmp_path, photo, "out.jxl"))
    kept = {**EXIF, **XMP}
    assert {key: read.get(key) for key in kept} == kept


def test_an_ultra_hdr_file_keeps_what_its_jpeg_has(tmp_path: Path, photo: Path) -> None:
    read = found(written(tmp_path, photo, "out.jpg"))
    assert {key: read.get(key) for key in {**EXIF, **XMP, **IPTC}} == {**EXIF, **XMP, **IPTC}


def test_an_ultra_hdr_file_of_another_input_gets_what_that_has(tmp_path: Path) -> None:
    source = described(tmp_path, pillow_bytes(RGB, "PNG"), ".png", orientation=1)
    read = found(written(tmp_path, source, "out.jpg"))
    assert {key: read.get(key) for key in {**EXIF, **XMP, **IPTC}} == {**EXIF, **XMP, **IPTC}
    assert read["Exif.Photo.ColorSpace"] == "1"  # the base that was made is sRGB
    assert read_image(tmp_path / "out.jpg").size == (48, 64)


def test_exr_holds_exif_as_standard_attributes(tmp_path: Path, photo: Path) -> None:
    header = OpenEXR.File(str(written(tmp_path, photo, "out.exr"))).header()
    texts = {name: header[name] for name in ("capDate", "owner", "cameraMake", "cameraModel", "lensModel")}
    assert texts == {
        "capDate": "2024:05:06 07:08:09",
        "owner": "Zoë",
        "cameraMake": "Acme",
        "cameraModel": "Camera 1",
        "lensModel": "50mm f/1.8",
    }
    numbers = {name: float(header[name]) for name in ("latitude", "longitude", "altitude", "expTime", "aperture",
                                                      "isoSpeed", "nominalFocalLength", "utcOffset")}  # fmt: skip
    assert numbers == pytest.approx(
        {
            "latitude": -(33 + 51 / 60 + 31.5 / 3600),
            "longitude": 151 + 12 / 60 + 54 / 3600,
            "altitude": 58,
            "expTime": 1 / 250,
            "aperture": 1.8,
            "isoSpeed": 400,
            "nominalFocalLength": 50,
            "utcOffset": -7200,  # UTC = local time + utcOffset
        },
        rel=1e-6,
    )
    assert "<rdf:li>Zoë</rdf:li>" in header["xmp"]
    assert header["model"] == "a net"


def test_radiance_holds_date_and_place_and_what_is_left_out_is_said(tmp_path: Path, photo: Path) -> None:
    lines = written(tmp_path, photo, "out.hdr").read_bytes().split(b"\n\n")[0].decode().splitlines()
    assert "CAPDATE=2024:05:06 07:08:09" in lines
    assert "LATLONG=-33.858750 151.215000" in lines
    carried, _ = carry(read_image(photo).kept, (64, 48), SOFTWARE)
    assert left_behind("a.hdr", carried) == [
        ".hdr holds of Exif only date and place",
        ".hdr has no place for XMP, which is left out",
        ".hdr has no place for IPTC, which is left out",
    ]
    assert left_behind("a.exr", carried)[1:] == [".exr has no place for IPTC, which is left out"]
    assert left_behind("a.png", carried) == left_behind("a.tif", carried) == []


def _as_jxl(exif: bytes, xmp: bytes) -> bytes:
    head = CONTAINER + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    return head + box(b"jxlc", jxl_bytes(RGB)) + box(b"Exif", bytes(4) + exif) + box(b"xml ", xmp)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".heic", ".avif", ".jxl"])
def test_it_is_found_in_every_input_format(tmp_path: Path, photo: Path, suffix: str) -> None:
    kept = read_image(photo).kept
    assert kept.exif is not None
    assert kept.xmp is not None
    blocks = [exif_item(kept.exif), xmp_item(kept.xmp)]
    if suffix in (".heic", ".avif"):
        encode = heic_bytes if suffix == ".heic" else avif_bytes
        source = tmp_path / f"in{suffix}"
        source.write_bytes(extended(encode(RGB), {}, blocks))
    elif suffix == ".jxl":
        source = tmp_path / "in.jxl"
        source.write_bytes(_as_jxl(kept.exif, kept.xmp))
    else:
        kind = {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())
        source = described(tmp_path, pillow_bytes(RGB, kind), suffix, orientation=1, iptc=suffix != ".webp")
    read = found(written(tmp_path, source, "out.tif"))
    wanted = {**EXIF, **XMP, **(IPTC if suffix in (".jpg", ".png", ".tif") else {})}
    assert {key: read.get(key) for key in wanted} == wanted


def test_big_endian_exif_is_turned_round(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.endian = ">"
    exif[271] = "Acme"
    exif.get_ifd(34665)[33434] = 0.004
    exif.get_ifd(34665)[37510] = b"UNICODE\0" + "Hafen".encode("utf-16-be")
    block = exif.tobytes()[6:]
    assert block[:2] == b"MM"
    little = exif_block.parse(exif_block.assembled(exif_block.parse(block)))
    assert little.picture[271].text() == "Acme"
    assert little.camera[33434].numbers() == pytest.approx((0.004,))
    assert little.camera[37510].data == b"UNICODE\0" + "Hafen".encode("utf-16-le")


def test_strip_leaves_nothing_of_the_input(tmp_path: Path) -> None:
    source = described(tmp_path, pillow_bytes(RGB, "JPEG", comment="a comment"), ".jpg")
    pixels = read_image(source).pixels
    for suffix in (".jpg", ".png", ".exr", ".avif"):
        path = tmp_path / f"out{suffix}"
        linear = np.rot90(LINEAR, -1)  # upright, as read_image gives it
        write_image(path, linear, peak=8, metadata={"software": SOFTWARE}, carried=STRIPPED, source=source)
        data = path.read_bytes()
        assert not any(word in data for word in (b"Acme", b"2024:05:06", b"Zo", b"Sydney", b"GPS", b"a comment"))
        assert b"dcdr-deploy" in data
    np.testing.assert_array_equal(read_image(tmp_path / "out.jpg").pixels, pixels)  # stands as before


def test_what_spoke_of_the_old_file_is_taken_out_of_xmp() -> None:
    packet = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
    <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
     xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" hdrgm:GainMapMax="3"
     xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="8" tiff:ImageWidth="9"
     xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:ColorSpace="1"
     xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/jpeg"><tiff:BitsPerSample><rdf:Seq><rdf:li>8</rdf:li>
     </rdf:Seq></tiff:BitsPerSample><dc:title><rdf:Alt><rdf:li xml:lang="x-default">T</rdf:li></rdf:Alt></dc:title>
    </rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
    left = carried_xmp(packet)
    assert left is not None
    assert b'tiff:Orientation="1"' in left
    assert b">T</rdf:li>" in left
    assert not any(word in left for word in (b"GainMapMax", b"ImageWidth", b"ColorSpace", b"BitsPerSample"))


def test_damaged_metadata_costs_no_picture_and_is_said() -> None:
    carried, notes = carry(Kept(b"II*\0\xff\xff\xff\xff" + bytes(20), b"<x:xmpmeta", b"\x1c\2"), (8, 8), SOFTWARE)
    assert carried == Carried(iptc=b"\x1c\2")
    assert [note.split(" (")[0] for note in notes] == ["Exif cannot be read", "XMP cannot be read"]


EXTENSION = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Description rdf:about=""><dc:description><rdf:Alt>
 <rdf:li xml:lang="x-default">%s</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>""" % (
    b"A long story. " * 9000
)
"""XMP of more bytes than a segment has, with a namespace that is declared further out."""


def with_extended_xmp(pixels: np.ndarray, extension: bytes, *, named: bytes | None = None, drop: int = -1) -> bytes:
    """A JPEG whose packet names an extension, in pieces that stand in reverse order (XMP part 3, 1.1.3.1)."""
    name = hashlib.md5(extension, usedforsecurity=False).hexdigest().upper().encode()
    packet = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
    <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"
     xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%s"/></rdf:RDF></x:xmpmeta>""" % (
        named or name
    )
    pieces = [
        b"http://ns.adobe.com/xmp/extension/\0"
        + name
        + struct.pack(">II", len(extension), at)
        + extension[at : at + 65000]
        for at in range(0, len(extension), 65000)
    ]
    bodies = [b"http://ns.adobe.com/xap/1.0/\0" + packet, *reversed(pieces)]
    segments = [b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in bodies]
    if drop >= 0:
        del segments[1 + drop]
    data = pillow_bytes(pixels, "JPEG")
    return data[:2] + b"".join(segments) + data[2:]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".avif"])
def test_xmp_of_many_segments_is_carried_whole(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "in.jpg").write_bytes(with_extended_xmp(RGB, EXTENSION))
    read = found(written(tmp_path, tmp_path / "in.jpg", f"out{suffix}"))
    assert read["Xmp.xmp.Rating"] == "4"
    assert read["Xmp.dc.description"].count("A long story. ") == 9000
    assert "Xmp.xmpNote.HasExtendedXMP" not in read


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"drop": 0}, "it is not whole"),
        ({"drop": 1}, "it is not whole"),
        ({"named": b"F" * 32}, "it is not whole"),
        ({"extension": b"<x:xmpmeta"}, "no XMP"),
        ({"extension": b"<!DOCTYPE x []><x/>"}, "document type"),
    ],
)
def test_an_extension_that_is_damaged_costs_only_itself_and_is_said(given, reason) -> None:
    data = with_extended_xmp(RGB, **{"extension": EXTENSION, **given})
    carried, (note,) = carry(kept_of(data, "JPEG"), (64, 48), SOFTWARE)
    assert note.startswith("the extension of XMP cannot be read")
    assert reason in note
    assert carried.xmp is not None
    assert b'xmp:Rating="4"' in carried.xmp


def test_an_extension_beyond_all_measure_is_left_out_and_said() -> None:
    extension = EXTENSION.replace(b"A long story. ", b"A very, very long story. " * 20)
    carried, (note,) = carry(kept_of(with_extended_xmp(RGB, extension), "JPEG"), (64, 48), SOFTWARE)
    assert "bytes of XMP" in note
    assert carried.xmp is not None


def test_xmp_that_would_expand_is_left_out() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
    carried, (note,) = carry(Kept(xmp=bomb), (8, 8), SOFTWARE)
    assert carried.xmp is None
    assert "document type" in note


@given(at=st.integers(0, 400), value=st.integers(0, 255), cut=st.integers(0, 400))
def test_any_exif_gives_a_block_that_can_be_read_or_none(at: int, value: int, cut: int) -> None:
    exif = Image.Exif()
    exif[271], exif[274] = "Acme", 6
    exif.get_ifd(34665)[36867] = "2024:05:06 07:08:09"
    exif.get_ifd(34853)[2] = (47.0, 30.0, 0.0)
    block = bytearray(exif.tobytes()[6:])
    block[at % len(block)] = value
    carried, notes = carry(Kept(bytes(block[: len(block) - cut % 20])), (64, 48), SOFTWARE)
    assert (carried.exif is None) == bool(notes)
    if carried.exif_bytes is not None:
        again = exif_block.parse(carried.exif_bytes)
        assert again.picture[exif_block.SOFTWARE].text() == SOFTWARE
        assert (again.camera, again.place) == (carried.exif.camera, carried.exif.place)


def test_tiffs_with_iptc_as_numbers_of_four_bytes_keep_its_bytes() -> None:
    """Photoshop's habit, in both byte orders."""
    records = b"\x1c\2\x78\0\7Harbour\x1c\2\x5a\0\6Sydney\0\0"
    records += bytes(-len(records) % 4)
    for order in "<>":
        numbers = struct.unpack(f"{order}{len(records) // 4}I", records)
        data = tifffile_bytes(
            RGB, byteorder=order, photometric="rgb", extratags=[(33723, 4, len(numbers), numbers, True)]
        )
        assert kept_of(data, "TIFF").iptc == records


def test_exif_and_iptc_that_imagemagick_put_into_texts_of_a_png_are_found() -> None:
    exif, records = exif_bytes(1), b"\x1c\2\x78\0\7Harbour"

    def text(name: str, block: bytes) -> bytes:
        digits = block.hex()
        lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
        return f"\n{name}\n{len(block):8d}\n{lines}\n".encode()

    chunks = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text("exif", exif)))
    chunks += chunk(b"tEXt", b"Raw profile type iptc\0" + text("iptc", records))
    kept = kept_of(png_bytes(RGB, 2, chunks, depth=8), "PNG")
    assert kept.exif == exif[6:]
    assert kept.iptc == records
