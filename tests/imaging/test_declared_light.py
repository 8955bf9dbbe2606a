"""What an input says about its light is followed, in the order of the PNG specification and its like, and reported."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from picture_files import (
    SRGB_PARAMETRIC,
    chunk,
    description_tag,
    gamma_curve,
    gray_profile,
    icc_profile,
    matrix_profile,
    parametric_curve,
    pillow_bytes,
    png_bytes,
    sampled_curve,
    smooth_rgb,
    tifffile_bytes,
)
from PIL import Image, ImageCms

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import linear_to_srgb, read_image, srgb_to_linear, write_image
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.declared import Declared, Stated, resolve
from dcdr_deploy.imaging.hdr_transfer import hlg_decode, pq_decode

RGB, DEEP = smooth_rgb(), smooth_rgb(np.uint16)
KINDS = ("PNG", "JPEG", "WEBP", "TIFF")


def converted(samples: np.ndarray, decode, chromaticities: p.Chromaticities = p.REC709) -> np.ndarray:
    """The conversion by definition: decode, white on white to Rec. 709, clip, encode; in codes, not rounded."""
    top = np.iinfo(samples.dtype).max
    linear = decode(samples / top) @ p.to_rec709(chromaticities).T
    return linear_to_srgb(np.clip(linear, 0, 1)) * top


def near(pixels: np.ndarray, expected: np.ndarray, codes: float = 1.5) -> bool:
    """Within so many codes of 8 bits, of the top."""
    return float(np.abs(pixels - expected).max()) <= codes * (1 if pixels.dtype == np.uint8 else 257)


def cicp(primaries: int, transfer: int, matrix: int = 0, full_range: int = 1) -> bytes:
    return chunk(b"cICP", bytes((primaries, transfer, matrix, full_range)))


def gama(exponent: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(exponent * 100_000)))


def chrm(chromaticities: p.Chromaticities) -> bytes:
    numbers = (*chromaticities[6:], *chromaticities[:6])
    return chunk(b"cHRM", struct.pack(">8i", *(round(number * 100_000) for number in numbers)))


def iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"n\0\0" + zlib.compress(profile))


SRGB_CHUNK = chunk(b"sRGB", b"\0")
P3_PROFILE = matrix_profile("display-p3", parametric_curve(*SRGB_PARAMETRIC), "Display P3")

# PNG


def power(exponent):
    return lambda x: x**exponent


def bt709(x):
    return np.where(x < 0.081, x / 4.5, ((x + 0.099) / 1.099) ** (1 / 0.45))


def smpte240(x):
    return np.where(x < 0.0912, x / 4, ((x + 0.1115) / 1.1115) ** (1 / 0.45))


def logarithmic(decades):
    return lambda x: np.where(x > 0, 10 ** (decades * (x - 1)), 0)


C, D65 = (0.310, 0.316), (0.3127, 0.3290)

CICP = [
    (12, 13, srgb_to_linear, p.DISPLAY_P3),
    (9, 13, srgb_to_linear, p.REC2020),
    (1, 8, lambda x: x, p.REC709),
    (9, 8, lambda x: x, p.REC2020),
    (1, 4, power(2.2), p.REC709),
    (1, 5, power(2.8), p.REC709),
    (1, 1, bt709, p.REC709),
    (9, 14, bt709, p.REC2020),
    (1, 7, smpte240, p.REC709),
    (1, 9, logarithmic(2), p.REC709),
    (1, 10, logarithmic(2.5), p.REC709),
    (4, 13, srgb_to_linear, (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, *C)),
    (5, 13, srgb_to_linear, (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *D65)),
    (6, 13, srgb_to_linear, (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *D65)),
    (8, 13, srgb_to_linear, (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *C)),
    (22, 13, srgb_to_linear, (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *D65)),
    (11, 17, lambda x: np.minimum(52.37 / 48 * x**2.6, 1), p.DCI_P3),
]


@pytest.mark.parametrize(("primaries", "transfer", "decode", "chromaticities"), CICP)  # H.273, tables 2 and 3
@pytest.mark.parametrize("samples", [RGB, DEEP], ids=["8", "16"])
def test_sdr_code_points_are_converted(read, primaries, transfer, decode, chromaticities, samples):
    frame = read(png_bytes(samples, 2, cicp(primaries, transfer), depth=8 * samples.dtype.itemsize))
    assert near(frame.pixels, converted(samples, decode, chromaticities))
    assert frame.pixels.dtype == samples.dtype
    assert "by cICP, converted to sRGB" in frame.metadata["colour"]
    assert frame.metadata["notes"] == []


@pytest.mark.parametrize("samples", [RGB, DEEP], ids=["8", "16"])
def test_narrow_range_has_black_at_16_and_white_at_235(read, samples):
    depth = 8 * samples.dtype.itemsize
    full = samples.astype(np.float64) / np.iinfo(samples.dtype).max
    narrow = np.rint((16 + 219 * full) * 2 ** (depth - 8)).astype(samples.dtype)
    frame = read(png_bytes(narrow, 2, cicp(1, 13, full_range=0), depth=depth))
    assert near(frame.pixels, samples.astype(np.float64))
    assert "narrow range" in frame.metadata["colour"]


def test_code_points_of_srgb_change_nothing(read):
    frame = read(png_bytes(RGB, 2, cicp(1, 13), depth=8))
    np.testing.assert_array_equal(frame.pixels, RGB)
    assert frame.metadata["colour"] == "sRGB by cICP"


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("full_range", [0, 1])
def test_code_points_of_hdr_are_refused(read, transfer, name, full_range):
    with pytest.raises(InputError, match=rf"is an HDR picture already \(PNG with {name} transfer by its cICP\)"):
        read(png_bytes(DEEP, 2, cicp(9, transfer, full_range=full_range)))


@pytest.mark.parametrize("nothing", [(2, 2, 0, 1), (1, 13, 1, 1), (77, 13, 0, 1), (1, 3, 0, 1)])
def test_code_points_without_sense_are_noted_and_the_next_word_counts(read, nothing):
    frame = read(png_bytes(RGB, 2, cicp(*nothing) + iccp(P3_PROFILE), depth=8))
    assert near(frame.pixels, converted(RGB, srgb_to_linear, p.DISPLAY_P3))
    assert any("cICP chunk ignored" in note for note in frame.metadata["notes"])


def test_linear_light_by_gama_comes_back_as_it_was(read):
    frame = read(png_bytes(DEEP, 2, gama(1.0)))
    assert np.abs(srgb_to_linear(frame.pixels / 65535) - DEEP / 65535).max() < 2e-5
    assert frame.metadata["colour"] == "Rec. 709, linear by gAMA, converted to sRGB"


@pytest.mark.parametrize("exponent", [1 / 1.8, 1 / 2.6, 1 / 1.0])
@pytest.mark.parametrize("chromaticities", [p.REC709, p.ADOBE_RGB, p.DISPLAY_P3])
def test_gama_and_chrm_are_curve_and_primaries(read, exponent, chromaticities):
    frame = read(png_bytes(RGB, 2, gama(exponent) + chrm(chromaticities), depth=8))
    assert near(frame.pixels, converted(RGB, power(1 / round(exponent, 5)), chromaticities))


def test_chrm_alone_leaves_the_curve_of_srgb(read):
    frame = read(png_bytes(RGB, 2, chrm(p.REC2020), depth=8))
    assert near(frame.pixels, converted(RGB, srgb_to_linear, p.REC2020))


@pytest.mark.parametrize("extra", [gama(0.45455), gama(0.45455) + chrm(p.REC709), SRGB_CHUNK + gama(0.45455)])
def test_the_gama_that_belongs_to_srgb_is_srgb(read, extra):
    np.testing.assert_array_equal(read(png_bytes(RGB, 2, extra, depth=8)).pixels, RGB)


def test_the_same_gama_beside_other_primaries_is_a_power(read):
    frame = read(png_bytes(DEEP, 2, gama(0.4547) + chrm(p.ADOBE_RGB)))
    assert near(frame.pixels, converted(DEEP, power(1 / 0.4547), p.ADOBE_RGB))


@pytest.mark.parametrize(
    ("extra", "by"),
    [
        (cicp(1, 13) + iccp(P3_PROFILE) + gama(1.0) + chrm(p.REC2020), "cICP"),
        (SRGB_CHUNK + gama(1.0) + chrm(p.REC2020), "sRGB chunk"),
    ],
)
def test_the_first_in_the_order_holds(read, extra, by):
    frame = read(png_bytes(RGB, 2, extra, depth=8))
    np.testing.assert_array_equal(frame.pixels, RGB)
    assert frame.metadata["colour"] == f"sRGB by {by}"


def test_a_profile_stands_before_srgb_and_gama(read):
    frame = read(png_bytes(RGB, 2, gama(1.0) + SRGB_CHUNK + iccp(P3_PROFILE), depth=8))
    assert near(frame.pixels, converted(RGB, srgb_to_linear, p.DISPLAY_P3))
    assert frame.metadata["colour"] == "Display P3 by ICC profile, converted to sRGB"


def test_broken_words_are_noted_and_the_next_one_holds(read):
    frame = read(png_bytes(RGB, 2, iccp(b"no profile") + gama(1.0), depth=8))
    assert near(frame.pixels, converted(RGB, lambda x: x))
    assert frame.metadata["icc"].startswith("ignored: ")
    assert any("ICC profile ignored" in note for note in frame.metadata["notes"])
    for extra in (gama(0), chunk(b"gAMA", b"\0\0"), chunk(b"cHRM", bytes(32)), chunk(b"cICP", b"\1"), chrm((0.3,) * 8)):
        frame = read(png_bytes(RGB, 2, extra, depth=8))
        np.testing.assert_array_equal(frame.pixels, RGB)
        assert any("ignored" in note for note in frame.metadata["notes"])
    half_right = read(png_bytes(RGB, 2, gama(1.0) + chrm((0.3,) * 8), depth=8))
    assert near(half_right.pixels, converted(RGB, lambda x: x))
    other_half = read(png_bytes(RGB, 2, gama(0) + chrm(p.ADOBE_RGB), depth=8))
    assert near(other_half.pixels, converted(RGB, srgb_to_linear, p.ADOBE_RGB))
    assert "gAMA chunk ignored: a gamma of 0" in other_half.metadata["notes"]


WORDS = [gama(1.0), chrm(p.ADOBE_RGB), cicp(9, 1), iccp(matrix_profile("display-p3", gamma_curve(1.8)))]


@pytest.mark.parametrize("extra", WORDS)
def test_colour_chunks_with_a_wrong_checksum_say_nothing(read, extra):
    broken = extra[:-1] + bytes([extra[-1] ^ 1])
    frame = read(png_bytes(RGB, 2, broken, depth=8))
    np.testing.assert_array_equal(frame.pixels, RGB)
    assert any("wrong checksum" in note for note in frame.metadata["notes"])


@pytest.mark.parametrize("extra", [word for word in WORDS if b"cICP" not in word])
def test_colour_chunks_behind_the_pixels_say_nothing(read, extra):
    plain = png_bytes(RGB, 2, depth=8)
    frame = read(plain[:-12] + extra + plain[-12:])
    np.testing.assert_array_equal(frame.pixels, RGB)
    assert any("after the image data" in note for note in frame.metadata["notes"])


def test_pq_is_refused_wherever_its_chunk_stands(read):
    plain = png_bytes(RGB, 2, depth=8)
    with pytest.raises(InputError, match="HDR picture already"):
        read(plain[:-12] + cicp(9, 16) + plain[-12:])


@pytest.mark.parametrize(
    "extra", [gama(1.0), cicp(12, 8), iccp(gray_profile(gamma_curve(1.0))), gama(1.0) + chrm(p.REC2020)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_pictures_follow_the_curve_and_stay_gray(read, extra, dtype):
    gray = smooth_rgb(dtype)[..., 2]
    pixels = read(png_bytes(gray, 0, extra, depth=8 * np.dtype(dtype).itemsize)).pixels
    top = np.iinfo(dtype).max
    assert near(pixels[..., 0], linear_to_srgb(gray / top) * top)
    assert np.ptp(pixels.astype(int), axis=-1).max() == 0


# ICC profiles of HDR


def cicp_tag(primaries: int, transfer: int) -> bytes:
    return b"cicp\0\0\0\0" + bytes((primaries, transfer, 0, 1))


def hdr_profile(transfer: int, *, tag: bool, name: str = "phone") -> bytes:
    light = (lambda x: pq_decode(x) / 10000) if transfer == 16 else hlg_decode
    plain = matrix_profile("display-p3", sampled_curve(light, 4096), name)
    if not tag:
        return plain
    (count,) = struct.unpack_from(">I", plain, 128)
    table = {plain[at : at + 4]: struct.unpack_from(">II", plain, at + 4) for at in range(132, 132 + 12 * count, 12)}
    tags = {key: plain[offset : offset + size] for key, (offset, size) in table.items()}
    return icc_profile("RGB", {**tags, b"cicp": cicp_tag(12, transfer)})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("tag", [True, False], ids=["by cicp tag", "by its curve"])
def test_profiles_of_pq_and_hlg_are_refused_in_every_format(read, kind, transfer, name, tag):
    data = pillow_bytes(RGB, kind, icc_profile=hdr_profile(transfer, tag=tag))
    with pytest.raises(InputError, match=rf"is an HDR picture already \(.* with {name} transfer by its ICC profile\)"):
        read(data)


def test_profiles_of_tables_are_known_by_their_name(read):
    lut = icc_profile("RGB", {b"desc": description_tag("Display P3; SMPTE ST 2084 PQ"), b"A2B0": bytes(32)})
    with pytest.raises(InputError, match="HDR picture already"):
        read(png_bytes(RGB, 2, iccp(lut), depth=8))


def test_a_16_bit_tiff_of_pq_is_refused(read):
    with pytest.raises(InputError, match="TIFF with PQ"):
        read(tifffile_bytes(DEEP, photometric="rgb", iccprofile=hdr_profile(16, tag=True)))


def test_steep_sdr_profiles_are_no_hdr(read):
    for exponent in (1.0, 1.8, 2.2, 2.6, 3.0):
        frame = read(png_bytes(RGB, 2, iccp(matrix_profile("srgb", gamma_curve(exponent))), depth=8))
        assert near(frame.pixels, converted(RGB, power(round(exponent * 256) / 256)), 2)


def test_bitmaps_with_a_profile_are_converted(read):
    plain = pillow_bytes(RGB, "BMP")
    pixels = plain[54:]
    profile = P3_PROFILE
    header = bytearray(124)
    header[:40] = plain[14:54]
    header[:4] = struct.pack("<I", 124)
    header[56:60] = b"DEBM"
    header[112:120] = struct.pack("<II", 124 + len(pixels), len(profile))
    whole = b"BM" + struct.pack("<IHHI", 138 + len(pixels) + len(profile), 0, 0, 138) + bytes(header) + pixels + profile
    frame = read(whole)
    assert near(frame.pixels, converted(RGB, srgb_to_linear, p.DISPLAY_P3))
    assert frame.metadata["colour"].startswith("Display P3 by ICC profile")


def bitmap(header_tail: bytes, size: int = 108) -> bytes:
    """A bitmap of 24 bits whose header goes on with ``header_tail`` from its colour space."""
    plain = pillow_bytes(RGB, "BMP")
    header = bytearray(size)
    header[:40] = plain[14:54]
    header[:4] = struct.pack("<I", size)
    header[56 : 56 + len(header_tail)] = header_tail
    return b"BM" + struct.pack("<IHHI", 14 + size + len(plain) - 54, 0, 0, 14 + size) + bytes(header) + plain[54:]


def calibrated(colours: p.Chromaticities, gamma: float, scale: tuple[float, ...] = (1, 1, 1)) -> bytes:
    points = [(x * s, y * s, (1 - x - y) * s) for x, y, s in zip(colours[:6:2], colours[1:6:2], scale, strict=True)]
    numbers = [round(number * 2**30) for point in points for number in point] + [round(gamma * 65536)] * 3
    return bytes(4) + struct.pack("<12I", *numbers)


@pytest.mark.parametrize("size", [108, 124])
def test_calibrated_bitmaps_are_converted(read, size):
    frame = read(bitmap(calibrated(p.ADOBE_RGB, 1.8), size))
    assert near(frame.pixels, converted(RGB, power(1.8), p.ADOBE_RGB))
    assert frame.metadata["colour"].startswith("Adobe RGB (1998), gamma 1.8 by BMP header")


def test_end_points_in_xyz_have_the_white_that_they_add_up_to(read):
    sums = p.to_xyz(p.DCI_P3).sum(axis=0)
    frame = read(bitmap(calibrated(p.DCI_P3, 2.6, tuple(sums))))
    assert near(frame.pixels, converted(RGB, power(2.6), p.DCI_P3))


@pytest.mark.parametrize("tail", [b"", calibrated(p.REC709, 2.2), calibrated(p.ADOBE_RGB, 0.0), b" niW", b"KNIL"])
def test_bitmaps_that_say_srgb_or_nothing_stay_as_they_are(read, tail):
    frame = read(bitmap(tail))
    np.testing.assert_array_equal(frame.pixels, RGB)
    assert any("only names it" in note for note in frame.metadata["notes"]) == (tail == b"KNIL")


# Exif


def exif_block(space: int | None, index: str | None) -> Image.Exif:
    exif = Image.Exif()
    directory = exif.get_ifd(0x8769)
    if space is not None:
        directory[0xA001] = space
    if index is not None:
        directory[0xA005] = {1: index}
    return exif


def flat(colour: tuple[int, int, int]) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (16, 16, 3)).copy()


def with_exif(kind: str, colour: tuple[int, int, int], space: int | None, index: str | None) -> bytes:
    if kind == "TIFF":
        return tiff_with_exif(colour, space, index)
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    return pillow_bytes(flat(colour), kind, exif=exif_block(space, index).tobytes(), **options)


def tiff_with_exif(colour: tuple[int, int, int], space: int | None, index: str | None, dtype: type = np.uint8) -> bytes:
    """Pillow writes the inner directories of JPEG and PNG, and of TIFF not: they are put at the file's end here."""
    samples = flat(colour).astype(dtype) * dtype(257 if dtype == np.uint16 else 1)
    data = bytearray(tifffile_bytes(samples, photometric="rgb", byteorder="<", extratags=[(65000, 4, 1, 0, True)]))
    inner: list[bytes] = []
    if index is not None:
        interoperability = len(data)
        data += struct.pack("<HHHI4sI", 1, 1, 2, 4, index.encode().ljust(4, b"\0"), 0)
        inner.append(struct.pack("<HHII", 0xA005, 4, 1, interoperability))
    if space is not None:
        inner.insert(0, struct.pack("<HHIHH", 0xA001, 3, 1, space, 0))
    place = data.index(struct.pack("<HHI", 65000, 4, 1))  # tifffile does not write the tag itself
    data[place : place + 12] = struct.pack("<HHII", 0x8769, 4, 1, len(data))
    return bytes(data + struct.pack("<H", len(inner)) + b"".join(inner) + bytes(4))


# Stored codes and what LittleCMS makes of them from the Adobe RGB (1998) profile, relative colorimetric.
ADOBE = {
    (255, 13, 12): (255, 5, 4),
    (13, 255, 13): (0, 255, 0),
    (152, 115, 89): (166, 116, 87),
    (238, 239, 99): (238, 239, 86),
    (128, 13, 26): (150, 5, 20),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colour", ADOBE)
@pytest.mark.parametrize(("space", "index"), [(65535, "R03"), (2, None), (None, "R03")])
def test_adobe_rgb_by_exif_is_converted_in_every_format(read, kind, colour, space, index):
    frame = read(with_exif(kind, colour, space, index))
    assert np.abs(frame.pixels[8, 8].astype(int) - ADOBE[colour]).max() <= 2
    assert frame.metadata["colour"] == "Adobe RGB (1998) by Exif, converted to sRGB"


def test_adobe_rgb_by_exif_is_converted_at_16_bits(read):
    frame = read(tiff_with_exif((152, 115, 89), 65535, "R03", np.uint16))
    assert frame.pixels.dtype == np.uint16
    assert np.abs(frame.pixels[8, 8] / 257 - (166, 116, 87)).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("space", "index"), [(1, "R98"), (1, "R03"), (None, "R98"), (None, None)])
def test_other_exif_leaves_the_codes(read, kind, space, index):
    frame = read(with_exif(kind, (152, 115, 89), space, index))
    assert np.abs(frame.pixels[8, 8].astype(int) - (152, 115, 89)).max() <= 1
    assert frame.metadata["notes"] == []


def test_a_profile_stands_before_exif_and_uncalibrated_colours_are_noted(read):
    exif = exif_block(65535, "R03").tobytes()
    frame = read(pillow_bytes(flat((152, 115, 89)), "PNG", exif=exif, icc_profile=P3_PROFILE))
    assert frame.metadata["colour"].startswith("Display P3 by ICC profile")
    frame = read(with_exif("JPEG", (152, 115, 89), 65535, None))
    assert frame.metadata["colour"] == "nothing declared, taken as sRGB"
    assert any("not sRGB" in note for note in frame.metadata["notes"])


# TIFF's own tags


def colorimetry(chromaticities: p.Chromaticities | None, table: np.ndarray | None = None) -> list[tuple]:
    tags: list[tuple] = []
    if table is not None:
        tags.append((301, 3, table.size, tuple(table.ravel().tolist()), True))
    if chromaticities is not None:
        fractions = [number for value in chromaticities for number in (round(value * 100_000), 100_000)]
        tags += [(318, 5, 2, tuple(fractions[12:]), True), (319, 5, 6, tuple(fractions[:12]), True)]
    return tags


@pytest.mark.parametrize("samples", [RGB, DEEP], ids=["8", "16"])
@pytest.mark.parametrize("three", [False, True])
def test_transfer_function_and_primaries_of_tiff_are_followed(read, samples, three):
    top = np.iinfo(samples.dtype).max
    table = np.rint((np.arange(top + 1) / top) ** 1.8 * 65535).astype(np.uint16)
    tags = colorimetry(p.DISPLAY_P3, np.tile(table, 3) if three else table)
    frame = read(tifffile_bytes(samples, photometric="rgb", extratags=tags))
    assert near(frame.pixels, converted(samples, power(1.8), p.DISPLAY_P3))
    assert "by TIFF colorimetry tags" in frame.metadata["colour"]


def test_primaries_without_a_transfer_function_have_the_standards_gamma(read):
    frame = read(tifffile_bytes(DEEP, photometric="rgb", extratags=colorimetry(p.ADOBE_RGB)))
    assert near(frame.pixels, converted(DEEP, power(2.2), p.ADOBE_RGB))


def test_the_primaries_of_srgb_without_a_transfer_function_leave_the_codes(read):
    frame = read(tifffile_bytes(DEEP, photometric="rgb", extratags=colorimetry(p.REC709)))  # as ImageMagick writes
    np.testing.assert_array_equal(frame.pixels, DEEP)


def test_a_table_of_another_length_is_noted(read):
    frame = read(tifffile_bytes(RGB, photometric="rgb", extratags=colorimetry(None, np.zeros(99, np.uint16))))
    np.testing.assert_array_equal(frame.pixels, RGB)
    assert any("TransferFunction ignored" in note for note in frame.metadata["notes"])


# Our own files


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_our_own_output_is_refused_by_its_tag(tmp_path, suffix):
    path = tmp_path / f"own{suffix}"
    write_image(path, DEEP / np.float32(65535), peak=8, metadata={"software": "dcdr-deploy 0.1", "peak": "8"})
    with pytest.raises(
        InputError, match=r"is an HDR picture already \(written by dcdr-deploy, full scale 8 x SDR white"
    ):
        read_image(path)


def test_sdr_pictures_that_other_programs_made_of_our_output_are_taken(read):
    texts = chunk(b"tEXt", b"Software\0dcdr-deploy 0.1") + chunk(b"tEXt", b"peak\x008")
    np.testing.assert_array_equal(read(png_bytes(RGB, 2, texts, depth=8)).pixels, RGB)
    np.testing.assert_array_equal(read(png_bytes(DEEP, 2, texts + SRGB_CHUNK)).pixels, DEEP)
    with pytest.raises(InputError, match="written by dcdr-deploy"):
        read(png_bytes(DEEP, 2, texts))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_without_the_tag_it_is_the_linear_picture_that_it_says_it_is(tmp_path, suffix):
    path = tmp_path / f"own{suffix}"
    write_image(path, DEEP / np.float32(65535), peak=8)
    frame = read_image(path)
    assert np.abs(srgb_to_linear(frame.pixels / 65535) - DEEP / 65535).max() < 2e-5
    assert "inear" in frame.metadata["colour"]


def test_the_profile_in_our_tiff_is_one_for_littlecms_too(tmp_path):
    path = tmp_path / "own.tif"
    write_image(path, DEEP / np.float32(65535), peak=8)
    with Image.open(path) as opened:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(opened.info["icc_profile"]))
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(3).reshape(16, 16, 3))
    shown = np.asarray(ImageCms.profileToProfile(ramp, profile, ImageCms.createProfile("sRGB")))
    assert np.abs(shown - linear_to_srgb(np.asarray(ramp) / 255) * 255).max() <= 1.5


def test_a_gamma_of_0_in_the_header_of_jpeg_xl_says_nothing():
    found = resolve(Declared(stated=Stated("JPEG XL header", 1, 2, 0.0)), 3)
    assert found.is_srgb
    assert found.notes == ("colour description ignored: a gamma of 0",)
