"""Embedded ICC profiles become sRGB."""

import io
import struct
import zlib

import numpy as np
import pytest
from picture_files import (
    PRIMARIES,
    SRGB_PARAMETRIC,
    chunk,
    description_tag,
    gamma_curve,
    gray_profile,
    icc_profile,
    matrix_profile,
    noise,
    parametric_curve,
    pillow_bytes,
    png_bytes,
    rgb_to_xyz,
    sampled_curve,
    smooth_rgb,
    tifffile_bytes,
)
from PIL import Image, ImageCms

from dcdr_deploy.imaging import linear_to_srgb, srgb_to_linear

ADOBE_GAMMA = 563 / 256  # the specification's 2.19921875


def by_formula(samples, primaries, decode):
    """The conversion by definition, without any profile: decode, primaries -> XYZ (D65) -> sRGB, clip, encode."""
    top = np.iinfo(samples.dtype).max
    matrix = np.linalg.solve(rgb_to_xyz(PRIMARIES["srgb"]), rgb_to_xyz(PRIMARIES[primaries]))
    linear = np.clip(decode(samples / top) @ matrix.T, 0, 1)
    return linear_to_srgb(linear) * top


SPACES = [
    ("display-p3", parametric_curve(*SRGB_PARAMETRIC), srgb_to_linear),
    ("display-p3", sampled_curve(srgb_to_linear, 4096), srgb_to_linear),
    ("adobe-rgb", gamma_curve(ADOBE_GAMMA), lambda x: x**ADOBE_GAMMA),
    ("adobe-rgb", parametric_curve(0, 1.8), lambda x: x**1.8),
    ("srgb", parametric_curve(1, 2.0, 0.8, 0.2), lambda x: (0.8 * x + 0.2) ** 2),
    ("srgb", parametric_curve(2, 2.0, 0.8, 0.1, 0.15), lambda x: (0.8 * x + 0.1) ** 2 + 0.15),
    (
        "srgb",
        parametric_curve(4, 2.0, 0.9, 0.0, 0.5, 0.5, 0.1, 0.0),
        lambda x: np.where(x >= 0.5, (0.9 * x) ** 2 + 0.1, x / 2),
    ),
]


@pytest.mark.parametrize(("primaries", "curve", "decode"), SPACES)
def test_matrix_profiles_of_8_bit_pictures_follow_the_formula(read, primaries, curve, decode):
    frame = read(pillow_bytes(smooth_rgb(), "PNG", icc_profile=matrix_profile(primaries, curve)))
    expected = by_formula(smooth_rgb(), primaries, decode)
    assert np.abs(frame.pixels - expected).max() <= 1.5
    assert frame.metadata["icc"] == "converted from test profile"


@pytest.mark.parametrize(("primaries", "curve", "decode"), SPACES[:3])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_matrix_profiles_of_16_bit_pictures_keep_the_depth(read, kind, primaries, curve, decode):
    samples, profile = smooth_rgb(np.uint16), matrix_profile(primaries, curve)
    if kind == "PNG":
        data = png_bytes(samples, 2, chunk(b"iCCP", b"name\0\0" + zlib.compress(profile)))
    else:
        data = tifffile_bytes(samples, photometric="rgb", iccprofile=profile)
    pixels = read(data).pixels
    assert pixels.dtype == np.uint16
    # s15Fixed16 colorants are rounded to 1/65536, which near black means tens of codes: compare in linear light.
    expected = srgb_to_linear(by_formula(samples, primaries, decode) / 65535)
    assert np.abs(srgb_to_linear(pixels / 65535) - expected).max() < 3e-4


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
def test_profiles_are_found_in_every_format(read, kind):
    flat = np.full((48, 64, 3), (200, 60, 60), np.uint8)
    profile = matrix_profile("display-p3", parametric_curve(*SRGB_PARAMETRIC))
    frame = read(pillow_bytes(flat, kind, icc_profile=profile, quality=95))
    assert np.abs(frame.pixels[20, 30] - by_formula(flat[:1, :1], "display-p3", srgb_to_linear)[0, 0]).max() <= 4
    assert frame.pixels[20, 30, 0] > 205  # P3 red is more saturated than sRGB's


def test_our_matrix_conversion_agrees_with_littlecms(read):
    samples = noise(3, np.uint8)
    profile = matrix_profile("adobe-rgb", gamma_curve(ADOBE_GAMMA))
    expected = ImageCms.profileToProfile(
        Image.fromarray(samples),
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    difference = np.abs(read(pillow_bytes(samples, "PNG", icc_profile=profile)).pixels - np.asarray(expected, int))
    assert difference.max() <= 2
    assert difference.mean() < 0.1


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        matrix_profile("srgb", parametric_curve(*SRGB_PARAMETRIC)),
        matrix_profile("srgb", sampled_curve(srgb_to_linear, 1024)),
    ],
)
def test_srgb_profiles_are_recognised_and_change_nothing(read, profile):
    frame = read(pillow_bytes(smooth_rgb(), "PNG", icc_profile=profile))
    np.testing.assert_array_equal(frame.pixels, smooth_rgb())
    assert frame.metadata["icc"] == "sRGB"


def test_neutrals_stay_neutral_and_white_stays_white_in_16_bits(read):
    gray = np.linspace(0, 65535, 64).round().astype(np.uint16)
    samples = np.broadcast_to(gray[None, :, None], (4, 64, 3))
    profile = matrix_profile("display-p3", gamma_curve(1.8))
    pixels = read(png_bytes(samples, 2, chunk(b"iCCP", b"n\0\0" + zlib.compress(profile)))).pixels.astype(int)
    assert np.ptp(pixels, axis=-1).max() <= 1
    assert pixels[0, -1].min() >= 65534


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_profile_uses_its_own_curve(read, dtype):
    gray, top = smooth_rgb(dtype)[..., 2], np.iinfo(dtype).max
    packed = chunk(b"iCCP", b"n\0\0" + zlib.compress(gray_profile(gamma_curve(1.0))))
    frame = read(png_bytes(gray, 0, packed, depth=8 * np.dtype(dtype).itemsize))
    expected = np.rint(linear_to_srgb(gray / top) * top)
    np.testing.assert_array_equal(frame.pixels, np.repeat(expected[..., None], 3, axis=2))


def test_profile_applies_to_palette_pictures_and_leaves_alpha_alone(read):
    profile = matrix_profile("display-p3", gamma_curve(1.0))
    image = Image.fromarray(smooth_rgb()).quantize(8)
    frame = read(pillow_bytes(image, "PNG", icc_profile=profile, transparency=2))
    expected = by_formula(np.asarray(image.convert("RGB")), "display-p3", lambda x: x)
    assert np.abs(frame.pixels - expected).max() <= 1.5
    np.testing.assert_array_equal(frame.alpha == 0, np.asarray(image) == 2)


# A look-up table profile for inks: an "mft1" with 2 grid points an ink, PCS Lab, in which only black ink counts.


def cmyk_profile():
    """Lightness 100 without black ink, 0 with it, never a hue: C, M and Y have no effect."""
    grid = [(0 if k else 255, 128, 128) for _c in (0, 1) for _m in (0, 1) for _y in (0, 1) for k in (0, 1)]
    ramp = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity
    table += ramp * 4 + b"".join(bytes(point) for point in grid) + ramp * 3
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"desc": description_tag("black ink only"), b"wtpt": white, b"A2B0": table, b"A2B1": table}
    profile = bytearray(icc_profile("CMYK", tags))
    profile[8:12] = b"\x02\x40\0\0"
    profile[12:16], profile[20:24] = b"prtr", b"Lab "
    return bytes(profile)


def test_cmyk_goes_through_its_profile(read):
    ink = np.zeros((48, 64, 4), np.uint8)
    ink[:, :16] = (255, 0, 0, 0)
    ink[:, 16:32] = (0, 255, 255, 255)
    image = Image.frombytes("CMYK", (64, 48), ink.tobytes())
    frame = read(pillow_bytes(image, "TIFF", icc_profile=cmyk_profile()))
    assert frame.metadata["icc"] == "converted from black ink only"
    assert frame.pixels[5, 5].min() >= 253  # cyan: white in this profile, (0, 255, 255) without it
    assert frame.pixels[5, 20].max() <= 2


def swapping_table() -> bytes:
    """lut16 (ICC.1, 10.10) from linear device RGB to XYZ with R, G, B taken for G, B, R, of sRGB's primaries."""
    columns = rgb_to_xyz(PRIMARIES["srgb"], adapted=True)
    corners = np.stack(np.meshgrid(*[np.arange(2.0)] * 3, indexing="ij"), axis=-1)[..., [1, 2, 0]] @ columns.T
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    ramps = struct.pack(">6H", *[0, 65535] * 3)
    nodes = np.rint(corners * 32768).astype(">u2").tobytes()
    return b"mft2\0\0\0\0" + bytes((3, 3, 2, 0)) + identity + struct.pack(">2H", 2, 2) + ramps + nodes + ramps


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tables_hold_where_the_matrix_beside_them_says_something_else(read, dtype):
    plain = matrix_profile("srgb", gamma_curve(1.0))
    count = int.from_bytes(plain[128:132], "big")
    tags = {}
    for at in range(132, 132 + 12 * count, 12):
        name, offset, size = struct.unpack_from(">4sII", plain, at)
        tags[name] = plain[offset : offset + size]
    profile = bytearray(icc_profile("RGB", {**tags, b"A2B0": swapping_table()}))
    profile[8:12] = b"\x02\x40\0\0"
    samples = smooth_rgb(dtype)
    packed = chunk(b"iCCP", b"n\0\0" + zlib.compress(bytes(profile)))
    frame = read(png_bytes(samples, 2, packed, depth=8 * np.dtype(dtype).itemsize))
    expected = linear_to_srgb(samples[..., [1, 2, 0]] / np.iinfo(dtype).max) * 255
    difference = np.abs(frame.pixels / (np.iinfo(frame.pixels.dtype).max / 255) - expected)
    assert difference.mean() < 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_profiles_of_a_lab_space_have_the_curve_of_lightness(read, dtype):
    profile = gray_profile(gamma_curve(1.0))
    profile = profile[:20] + b"Lab " + profile[24:]
    top = np.iinfo(dtype).max
    ramp = np.linspace(0, top, 256).astype(dtype)[None].repeat(4, axis=0)
    packed = chunk(b"iCCP", b"n\0\0" + zlib.compress(profile))
    frame = read(png_bytes(ramp, 0, packed, depth=8 * np.dtype(dtype).itemsize))
    lightness = 100.0 * ramp[0] / top
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness * 27 / 24389)  # CIE 15
    assert np.abs(frame.pixels[0, :, 0] / top - linear_to_srgb(luminance)).max() < 0.6 / 255


def test_colorants_that_add_up_to_the_white_of_a_display_are_adapted(read):
    unadapted = rgb_to_xyz(PRIMARIES["display-p3"]).T
    tags = {
        name: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in column))
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), unadapted, strict=True)
    }
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma_curve(2.2))
    frame = read(pillow_bytes(smooth_rgb(), "PNG", icc_profile=icc_profile("RGB", tags)))
    expected = by_formula(smooth_rgb(), "display-p3", lambda x: x**2.2)
    assert np.abs(frame.pixels - expected).max() <= 1.5


def table_profile(space, to_lab, grid):
    """A profile of tables alone: an "mft2" of identity curves and ``grid`` nodes a channel, to Lab (version 2).

    Returns:
        The profile and its nodes, (grid, ..., 3) in Lab.
    """
    channels = {"RGB": 3, "CMYK": 4}[space]
    device = np.stack(np.meshgrid(*[np.linspace(0, 1, grid)] * channels, indexing="ij"), axis=-1)
    scale, shift = np.array([652.8, 256, 256]), np.array([0, 128, 128])
    nodes = np.clip(np.rint((to_lab(device) + shift) * scale), 0, 65535)
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft2\0\0\0\0" + bytes((channels, 3, grid, 0)) + identity + struct.pack(">2H", 2, 2)
    table += (
        struct.pack(">2H", 0, 65535) * channels + nodes.astype(">u2").tobytes() + struct.pack(">6H", *[0, 65535] * 3)
    )
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    profile = bytearray(icc_profile(space, {b"desc": description_tag("tables"), b"wtpt": white, b"A2B0": table}))
    profile[8:12], profile[20:24] = b"\x02\x40\0\0", b"Lab "
    return bytes(profile), nodes / scale - shift


D50 = np.array([0.9642, 1.0, 0.8249])


def lab_of(xyz):
    """CIE 15, with the white D50 of the connection space."""
    ratio = xyz / D50
    root = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.stack(
        [116 * root[..., 1] - 16, 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])], axis=-1
    )


def xyz_of(lab):
    middle = (lab[..., 0] + 16) / 116
    root = np.stack([middle + lab[..., 1] / 500, middle, middle - lab[..., 2] / 200], axis=-1)
    return D50 * np.where(root > 6 / 29, root**3, (116 * root - 16) * 27 / 24389)


def tetrahedral(nodes, place):
    """Interpolation between the four nodes of the tetrahedron around each place, (n, 3) in [0, 1]."""
    scaled = place * (len(nodes) - 1)
    corner = np.minimum(scaled.astype(int), len(nodes) - 2)
    part = scaled - corner
    order = np.argsort(-part, axis=-1)
    sorted_part = np.take_along_axis(part, order, axis=-1)
    weights = -np.diff(np.concatenate([np.ones((len(part), 1)), sorted_part, np.zeros((len(part), 1))], axis=1), axis=1)
    found = weights[:, :1] * nodes[tuple(corner.T)]
    for step in range(3):
        corner[np.arange(len(corner)), order[:, step]] += 1
        found = found + weights[:, step + 1 : step + 2] * nodes[tuple(corner.T)]
    return found


@pytest.mark.parametrize(("primaries", "grid"), [("display-p3", 33), ("adobe-rgb", 17)])
def test_tables_are_applied_exactly_where_colours_leave_srgb_too(read, primaries, grid):
    """LittleCMS by itself is up to 20 codes off there: it joins the tables with sRGB's clipping to one coarse table."""
    to_xyz = rgb_to_xyz(PRIMARIES[primaries], adapted=True).T
    profile, nodes = table_profile("RGB", lambda device: lab_of(device**2.2 @ to_xyz), grid)
    samples = noise(3, np.uint8)
    samples[::2, :, 0], samples[1::2, :, 1] = 0, 255
    frame = read(pillow_bytes(samples, "PNG", icc_profile=profile))
    light = xyz_of(tetrahedral(nodes, samples.reshape(-1, 3) / 255))
    linear = np.linalg.solve(rgb_to_xyz(PRIMARIES["srgb"], adapted=True), light.T).T
    expected = 255 * linear_to_srgb(np.clip(linear, 0, 1)).reshape(samples.shape)
    assert np.abs(frame.pixels - expected).max() < 1.2


def test_every_ink_of_a_large_picture_is_where_it_was(read):
    """Colours are converted once each, and put back to their places."""
    black = np.arange(1100, dtype=np.uint8)[:, None] * np.ones((1, 3), np.uint8)
    ink = np.stack([black * 7, black * 3, black * 5, black], axis=-1)  # only black ink counts in this profile
    frame = read(pillow_bytes(Image.frombytes("CMYK", (3, 1100), ink.tobytes()), "TIFF", icc_profile=cmyk_profile()))
    light = xyz_of(np.stack([100 * (1 - black / 255), 0 * black, 0 * black], axis=-1))
    expected = 255 * linear_to_srgb(np.clip(light[..., 1:2], 0, 1))
    assert np.abs(frame.pixels - expected).max() < 1.5


GOOD = matrix_profile("display-p3", gamma_curve(2.2))
BROKEN = {
    "garbage": b"not a profile at all" * 20,
    "short": GOOD[:100],
    "cut": GOOD[:-40],
    "tag table beyond the end": GOOD[:128] + b"\xff\xff\xff\xff" + GOOD[132:],
    "unknown curve": GOOD.replace(b"curv", b"xxxx"),
    "colour space of another kind": cmyk_profile(),
    "device link": GOOD[:12] + b"link" + GOOD[16:],
    "black colorants": matrix_profile("srgb", gamma_curve(2.2)).replace(b"XYZ \0\0\0\0", b"XYZ \0\0\0\0" + bytes(12)),
}


@pytest.mark.parametrize("profile", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_broken_profiles_are_ignored_and_reported(read, profile, dtype):
    samples = smooth_rgb(dtype)
    packed = chunk(b"iCCP", b"n\0\0" + zlib.compress(profile))
    frame = read(png_bytes(samples, 2, packed, depth=8 * np.dtype(dtype).itemsize))
    np.testing.assert_array_equal(frame.pixels, samples)
    assert frame.metadata["icc"].startswith("ignored: ")
    assert "\n" not in frame.metadata["icc"]


def test_damaged_iccp_chunk_is_ignored_and_reported(read):
    frame = read(png_bytes(smooth_rgb(), 2, chunk(b"iCCP", b"n\0\0 no deflate stream"), depth=8))
    np.testing.assert_array_equal(frame.pixels, smooth_rgb())
    assert frame.metadata["icc"].startswith("ignored: ")
