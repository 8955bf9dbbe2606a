"""Gain maps: found, said, and put together with their base as their standards and libultrahdr do."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from container_files import (
    APPLE_GAIN_MAP,
    assembled,
    avif_bytes,
    box,
    heic_bytes,
    iso_gain_map,
    jxl_bytes,
    picture_item,
    with_tmap,
)
from hypothesis import given
from hypothesis import strategies as st
from picture_files import PRIMARIES, pillow_bytes, rgb_to_xyz, smooth_rgb
from PIL import Image

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import read_image
from dcdr_deploy.imaging.gain_map import (
    AppleRecipe,
    BrokenGainMapError,
    Recipe,
    apple_headroom,
    from_iso,
    from_xmp,
)
from dcdr_deploy.imaging.read_hdr import HdrOptions, Picture, read_hdr
from dcdr_deploy.imaging.transfer import srgb_to_linear

RGB = smooth_rgb()
GAIN = np.ascontiguousarray(RGB[::2, ::2, 0])
P3_TO_REC709 = np.linalg.solve(rgb_to_xyz(PRIMARIES["srgb"]), rgb_to_xyz(PRIMARIES["display-p3"]))


def truth(folder: Path, data: bytes) -> Picture:
    path = folder / "picture.bin"
    path.write_bytes(data)
    return read_hdr(path, HdrOptions(use_gain_map=True))


def note(folder: Path, data: bytes) -> str:
    path = folder / "picture.bin"
    path.write_bytes(data)
    notes = [each for each in read_image(path).metadata["notes"] if "gain map" in each]
    assert len(notes) == 1
    return notes[0]


def ultra_hdr(gamut: int = 0) -> bytes:
    import imagecodecs

    y, x = np.mgrid[0:48, 0:64] / 63
    light = np.stack([x * 4, y * 3, (x + y) * 1.5, np.ones_like(x)], axis=-1)
    return imagecodecs.ultrahdr_encode(light.astype(np.float16), 95, gamut=gamut)


@pytest.mark.parametrize("gamut", [0, 1], ids=["rec. 709", "p3"])
def test_ultra_hdr_gives_the_light_that_libultrahdr_gives(tmp_path: Path, gamut: int) -> None:
    import imagecodecs

    data = ultra_hdr(gamut)
    picture = truth(tmp_path, data)
    theirs = imagecodecs.ultrahdr_decode(data, dtype="float16")[..., :3].astype(np.float32)
    if gamut == 1:  # it gives the light in the primaries of the HDR picture that it was made from
        theirs = theirs @ P3_TO_REC709.T.astype(np.float32)
    difference = np.abs(picture.pixels - theirs)
    assert np.median(difference) < 0.01
    assert difference.max() < 0.05
    assert picture.pixels.max() > 3.5
    assert (picture.integer, picture.peak) == (False, None)
    assert "base x gain map (ISO 21496-1)" in picture.notes[0]


def test_the_base_of_ultra_hdr_is_read_as_a_picture_and_its_map_is_said(tmp_path: Path) -> None:
    data = ultra_hdr()
    assert note(tmp_path, data).startswith("has a gain map (ISO 21496-1, up to 5.6 stops above white)")
    assert read_image(tmp_path / "picture.bin").size == (48, 64)


def xmp_ultra_hdr(base: bytes, gain: bytes, packet: bytes) -> bytes:
    """A JPEG with a gain map described by XMP, in the order of Android's format: MP index, then the second picture."""
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + packet
    gain = gain[:2] + b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp + gain[2:]
    size_of_index = 4 + 8 + 2 + 3 * 12 + 4 + 32

    def index(first: int, offset: int) -> bytes:
        entries = struct.pack(">IIIHH", 0x30000, first, 0, 0, 0) + struct.pack(">IIIHH", 0, len(gain), offset, 0, 0)
        tags = struct.pack(">HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHII", 0xB001, 4, 1, 2)
        tags += struct.pack(">HHII", 0xB002, 7, 32, 8 + 2 + 36 + 4)
        return b"MPF\0MM\0*" + struct.pack(">IH", 8, 3) + tags + bytes(4) + entries

    whole = len(base) + 4 + size_of_index
    segment = b"\xff\xe2" + struct.pack(">H", size_of_index + 2) + index(whole, whole - 2 - 4 - 4)
    return base[:2] + segment + base[2:] + gain


HDRGM = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" hdrgm:GainMapMin="0.5"
 hdrgm:GainMapMax="2" hdrgm:Gamma="2" hdrgm:OffsetSDR="0.02" hdrgm:OffsetHDR="0.01" hdrgm:HDRCapacityMin="0"
 hdrgm:HDRCapacityMax="2" hdrgm:BaseRenditionIsHDR="False"/></rdf:RDF></x:xmpmeta>"""


def by_formula(base: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Adobe's Gain Map Specification 1.0, for the numbers of HDRGM; gain (H, W) of the base's size."""
    boost = 0.5 + (2 - 0.5) * (gain[..., None] / 255) ** (1 / 2)
    return (srgb_to_linear(base / 255) + 0.02) * 2**boost - 0.01


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_map_described_by_xmp_is_applied_and_turned_with_its_base(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    base, gain = (pillow_bytes(each, "JPEG", quality=95, subsampling=0) for each in (RGB, RGB[..., 0].copy()))
    turned = pillow_bytes(RGB, "JPEG", quality=95, subsampling=0, exif=exif.tobytes())
    picture = truth(tmp_path, xmp_ultra_hdr(turned, gain, HDRGM.encode()))
    expected = by_formula(decoded(base), decoded(gain))
    if orientation == 6:
        expected = np.rot90(expected, -1)
    np.testing.assert_allclose(picture.pixels, expected, rtol=1e-4, atol=1e-5)
    assert "hdrgm XMP" in note(tmp_path, xmp_ultra_hdr(turned, gain, HDRGM.encode()))


def test_lists_of_three_and_defaults_in_xmp_are_understood() -> None:
    packet = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
    <rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"><hdrgm:GainMapMax><rdf:Seq><rdf:li>1</rdf:li>
    <rdf:li>2</rdf:li><rdf:li>3</rdf:li></rdf:Seq></hdrgm:GainMapMax></rdf:Description></rdf:RDF></x:xmpmeta>"""
    small = (1 / 64,) * 3
    assert from_xmp(packet.encode()) == Recipe((0, 0, 0), (1, 2, 3), (1, 1, 1), small, small, 0, alternate_stops=3)
    assert from_xmp(packet.replace("hdrgm:GainMapMax", "hdrgm:Other").encode()) is None


@pytest.mark.parametrize(("encode", "brand"), [(heic_bytes, b"heic"), (avif_bytes, b"avif")], ids=["heic", "avif"])
@pytest.mark.parametrize("base_colours", [True, False])
def test_an_item_tmap_of_heic_and_avif_is_applied(tmp_path: Path, encode, brand: bytes, base_colours: bool) -> None:
    """The alternate is P3; where the gain applies in its colours, gray gain leaves the same light."""
    description = iso_gain_map(0.5, 2, 2, gamma=2, offset=0.01, base_colours=base_colours)
    alternate = b"nclx" + struct.pack(">HHHB", 12, 13, 0, 0x80)
    file = with_tmap(brand, encode(RGB), encode(GAIN), description, alternate)
    picture = truth(tmp_path, file)
    base = read_image(tmp_path / "picture.bin").pixels
    gain = read_image(_file(tmp_path, encode(GAIN))).pixels[..., 0]
    import cv2

    large = cv2.resize(gain.astype(np.float32), (64, 48), interpolation=cv2.INTER_LINEAR)
    boost = 0.5 + 1.5 * (large[..., None] / 255) ** (1 / 2)
    expected = (srgb_to_linear(base / 255) + 0.01) * 2**boost - 0.01
    np.testing.assert_allclose(picture.pixels, expected, rtol=2e-3, atol=2e-3)
    assert "ISO 21496-1, up to 2 stops" in note(tmp_path, file)


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "other.bin"
    path.write_bytes(data)
    return path


def _apple(*described: tuple[tuple[bytes, bytes], int]) -> bytes:
    """A HEIC with Apple's auxiliary picture (item 2), and what describes one of the two: (type, bytes), item."""
    kind, payload, properties = picture_item(heic_bytes(GAIN))
    auxiliary = (kind, payload, [*properties, (b"auxC", bytes(4) + APPLE_GAIN_MAP + b"\0")])
    items = [picture_item(heic_bytes(RGB)), auxiliary, *((kind, body, []) for (kind, body), _ in described)]
    references = [(b"auxl", 2, (1,)), *((b"cdsc", 3 + n, (of,)) for n, (_, of) in enumerate(described))]
    return assembled(b"heic", items, references)


def test_apples_map_is_found_and_without_its_headroom_that_is_said(tmp_path: Path) -> None:
    file = _apple()
    assert "cannot be read (nothing says how bright it is)" in note(tmp_path, file)
    with pytest.raises(InputError, match="nothing says how bright it is"):
        truth(tmp_path, file)


def test_apples_map_is_applied_by_the_headroom_in_its_xmp(tmp_path: Path) -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:g="http://ns.apple.com/HDRGainMap/1.0/" g:HDRGainMapVersion="131072" '
        b'g:HDRGainMapHeadroom="4"/></rdf:RDF></x:xmpmeta>'
    )
    picture = truth(tmp_path, _apple(((b"mime", packet), 2)))
    np.testing.assert_allclose(picture.pixels[-1, -1], 4, rtol=0.02)  # base and map are white there
    np.testing.assert_allclose(picture.pixels[0, 0], 0, atol=0.01)


def test_apples_map_is_applied_by_the_maker_note_of_its_base(tmp_path: Path) -> None:
    fractions = {33: (12, 10), 48: (1, 100)}  # headroom 2^(-70 x 0.01 + 3) = 2^2.3
    entries, values = b"", b""
    for number, (tag, pair) in enumerate(fractions.items()):
        entries += struct.pack(">HHII", tag, 10, 1, 14 + 2 + 24 + 4 + 8 * number)
        values += struct.pack(">ii", *pair)
    maker_note = b"Apple iOS\0\0\1MM" + struct.pack(">H", 2) + entries + bytes(4) + values
    exif = Image.Exif()
    exif.get_ifd(34665)[37500] = maker_note
    block = struct.pack(">I", 0) + exif.tobytes()[6:]
    picture = truth(tmp_path, _apple(((b"Exif", block), 1)))
    assert "Apple's gain map), up to 2.3 stops" in picture.notes[-1]
    np.testing.assert_allclose(picture.pixels[-1, -1], 2**2.3, rtol=0.02)


@pytest.mark.parametrize(
    ("maker33", "maker48", "stops"),
    [
        *((0.5, 0.0, 1.8), (0.5, 0.01, 1.6), (0.5, 0.02, 1.59898), (0.5, 8.0, 0.793), (0.5, 20.0, 0.0)),
        *((1.0, 0.0, 3.0), (1.5, 0.01, 2.3), (1.5, 0.02, 2.29694), (1.5, 5.0, 0.788), (1.5, 20.0, 0.0)),
    ],
)
def test_apples_headroom_follows_its_four_pieces(maker33: float, maker48: float, stops: float) -> None:
    """Apple's formula: -20 x + 1.8 up to 0.01, then -0.101 x + 1.601; from 1 on -70 x + 3, then -0.303 x + 2.303."""
    assert np.log2(apple_headroom(maker33, maker48)) == pytest.approx(stops, abs=1e-9)


def test_apples_map_is_encoded_by_the_curve_of_bt709() -> None:
    lit = AppleRecipe(4).apply(np.full((1, 3, 3), 0.5, np.float32), np.array([[[0.0], [0.5], [1.0]]]))
    middle = ((0.5 + 0.099) / 1.099) ** (1 / 0.45)
    np.testing.assert_allclose(lit[0, :, 0], 0.5 * (1 + 3 * np.array([0, middle, 1])), rtol=1e-3)


def test_a_picture_without_a_map_is_no_truth(tmp_path: Path) -> None:
    for data in (pillow_bytes(RGB, "JPEG"), heic_bytes(RGB), avif_bytes(RGB)):
        with pytest.raises(InputError, match=r"has no gain map|without a gain map"):
            truth(tmp_path, data)


def test_the_map_of_a_jpeg_that_is_packed_in_jpeg_xl_is_that_jpegs(tmp_path: Path) -> None:
    import imagecodecs

    jpeg = ultra_hdr()
    expected = truth(tmp_path, jpeg)
    packed = imagecodecs.jpegxl_encode_jpeg(jpeg)
    assert note(tmp_path, packed) == note(tmp_path, jpeg)
    np.testing.assert_array_equal(truth(tmp_path, packed).pixels, expected.pixels)


def test_a_map_of_jpeg_xls_own_kind_is_said(tmp_path: Path) -> None:
    head = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    file = head + box(b"jhgm", bytes(9)) + box(b"jxlc", jxl_bytes(RGB))
    assert "it is of JPEG XL's own kind, which is not looked into" in note(tmp_path, file)


def test_an_hdr_picture_needs_no_map_to_be_a_truth(tmp_path: Path) -> None:
    from container_files import deep_avif_bytes

    white = np.full((48, 64, 3), round(0.5807 * 65535), np.uint16)  # 203 cd/m2 in PQ
    picture = truth(tmp_path, deep_avif_bytes(white, 10, primaries=9, transfer=16))
    np.testing.assert_allclose(picture.pixels, 1, rtol=0.02)


def test_without_being_asked_for_no_map_is_applied(tmp_path: Path) -> None:
    path = _file(tmp_path, ultra_hdr())
    with pytest.raises(InputError, match="is a JPEG, which is SDR; `use_gain_map` takes it"):
        read_hdr(path)


def test_a_damaged_map_costs_no_picture(tmp_path: Path) -> None:
    file = bytearray(ultra_hdr())
    at = file.rindex(b"urn:iso:std:iso:ts:21496:-1\0") + 28
    file[at : at + 2] = b"\0\x09"  # a version that nobody knows
    assert "cannot be read (its description is of version 9)" in note(tmp_path, bytes(file))
    with pytest.raises(InputError, match="version 9"):
        truth(tmp_path, bytes(file))


def test_a_base_that_is_the_hdr_rendition_is_no_base_for_a_truth() -> None:
    with pytest.raises(BrokenGainMapError, match="its base is the HDR rendition"):
        Recipe((0, 0, 0), (1, 1, 1), base_stops=2, alternate_stops=0)
    with pytest.raises(BrokenGainMapError, match="its base is the HDR rendition"):
        from_xmp(HDRGM.replace('"False"', '"True"').encode())


@given(
    low=st.floats(-3, 0),
    span=st.floats(0.1, 6),
    gamma=st.floats(0.3, 4),
    offset=st.floats(0, 0.1),
    gain=st.floats(0.05, 1),
)
def test_what_the_standards_formula_makes_is_undone_by_its_inverse(
    low: float, span: float, gamma: float, offset: float, gain: float
) -> None:
    """ISO 21496-1's encoder: the map is the normalised log2 of the ratio with offsets, to the power of gamma."""
    recipe = from_iso(iso_gain_map(low, low + span, span, gamma=gamma, offset=offset))
    base = np.full((1, 1, 3), 0.4, np.float32)
    hdr = recipe.apply(base, np.full((1, 1, 1), gain, np.float32))
    ratio = np.log2((hdr + recipe.alternate_offset[0]) / (base + recipe.base_offset[0]))
    encoded = np.clip((ratio - recipe.low[0]) / (recipe.high[0] - recipe.low[0]), 0, 1) ** recipe.gamma[0]
    np.testing.assert_allclose(encoded, gain, atol=2e-3)


def test_the_bytes_of_the_standard_are_read_in_both_of_their_forms() -> None:
    plain = from_iso(iso_gain_map(-1, 3, 2.5, gamma=1.5, offset=0.25, base_colours=False))
    below = 1000
    channels = struct.pack(">iiIii", -1000, 3000, 1500, 250, 250) * 3
    common = from_iso(struct.pack(">HHBIII", 0, 0, 0x88, below, 0, 2500) + channels)
    assert common == plain
    assert plain.high == (3.0, 3.0, 3.0)
    assert AppleRecipe(4).stops == 2


@given(st.binary(max_size=80))
def test_any_bytes_are_a_description_or_are_refused(data: bytes) -> None:
    for read in (from_iso, from_xmp):
        with suppress(BrokenGainMapError):
            recipe = read(data)
            assert recipe is None or recipe.stops > 0
