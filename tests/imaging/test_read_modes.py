"""Every sample layout comes out as sRGB-encoded RGB with the expected numbers."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from picture_files import HEIGHT, WIDTH, chunk, noise, pillow_bytes, png_bytes, smooth_rgb, tifffile_bytes
from PIL import Image

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import probe, read_image

RGB = smooth_rgb()
GRAY = np.ascontiguousarray(RGB[..., 2])
ALPHA = np.ascontiguousarray(RGB[..., 0])


def three(gray):
    return np.repeat(gray[..., None], 3, axis=2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_rgb_of_lossless_formats_is_exact(read, kind):
    frame = read(pillow_bytes(RGB, kind, **({"lossless": True} if kind == "WEBP" else {})))
    np.testing.assert_array_equal(frame.pixels, RGB)
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.flags.c_contiguous
    assert frame.alpha is None
    assert frame.metadata["source_format"].upper() == kind
    assert frame.metadata["bit_depth"] == 8


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_rgb_of_lossy_formats_is_close(read, kind):
    frame = read(pillow_bytes(RGB, kind, quality=95))
    assert np.abs(frame.pixels.astype(int) - RGB).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_gray_becomes_three_equal_channels(read, kind):
    np.testing.assert_array_equal(read(pillow_bytes(GRAY, kind)).pixels, three(GRAY))


def test_gray_jpeg_becomes_three_equal_channels(read):
    pixels = read(pillow_bytes(GRAY, "JPEG", quality=95)).pixels
    assert np.ptp(pixels, axis=-1).max() == 0
    assert np.abs(pixels[..., 0].astype(int) - GRAY).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit_becomes_black_and_white(read, kind):
    bits = GRAY > 127
    np.testing.assert_array_equal(read(pillow_bytes(Image.fromarray(bits), kind)).pixels, three(bits * np.uint8(255)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_palette_is_looked_up(read, kind):
    image = Image.fromarray(RGB).quantize(16)
    np.testing.assert_array_equal(read(pillow_bytes(image, kind)).pixels, np.asarray(image.convert("RGB")))


def test_gray_with_alpha_is_split(read):
    frame = read(pillow_bytes(np.dstack([GRAY, ALPHA]), "PNG"))
    np.testing.assert_array_equal(frame.pixels, three(GRAY))
    np.testing.assert_array_equal(frame.alpha, ALPHA.astype(np.float32) / 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_rgb_with_alpha_is_split(read, kind):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    frame = read(pillow_bytes(np.dstack([RGB, ALPHA]), kind, **options))
    np.testing.assert_array_equal(frame.pixels, RGB)
    np.testing.assert_array_equal(frame.alpha, ALPHA.astype(np.float32) / 255)
    assert frame.alpha.dtype == np.float32


def test_transparent_colour_and_palette_entry_become_alpha(read):
    keyed = RGB.copy()
    keyed[5, 7] = (1, 2, 3)
    frame = read(png_bytes(keyed, 2, chunk(b"tRNS", struct.pack(">3H", 1, 2, 3)), depth=8))
    assert (frame.alpha[5, 7], frame.alpha.sum()) == (0, WIDTH * HEIGHT - 1)
    image = Image.fromarray(RGB).quantize(16)
    frame = read(pillow_bytes(image, "PNG", transparency=3))
    np.testing.assert_array_equal(frame.alpha == 0, np.asarray(image) == 3)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_gray_of_few_bits_becomes_alpha(read, depth):
    top, codes = 2**depth - 1, (np.arange(8) % 2**depth).astype(np.uint8)
    bits = codes[:, None] >> np.arange(depth - 1, -1, -1) & 1
    row = b"\0" + np.packbits(bits).tobytes()
    header = struct.pack(">IIBBBBB", 8, 1, depth, 0, 0, 0, 0)
    key = chunk(b"tRNS", struct.pack(">H", 1))
    pixels = chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    frame = read(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + key + pixels)
    assert frame.pixels[0, :, 1].tolist() == (codes.astype(int) * 255 // top).tolist()
    assert (frame.alpha[0] == 0).tolist() == (codes == 1).tolist()


def test_cmyk_without_profile_is_ink_on_white(read):
    ink = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    ink[:, :16] = (0, 255, 255, 0)
    ink[:, 16:32] = (51, 0, 0, 0)
    ink[:, 32:48] = (0, 0, 0, 128)
    image = Image.frombytes("CMYK", (WIDTH, HEIGHT), ink.tobytes())
    pixels = read(pillow_bytes(image, "TIFF")).pixels
    assert pixels[5, [5, 20, 40, 60]].tolist() == [[255, 0, 0], [204, 255, 255], [127, 127, 127], [255, 255, 255]]


def test_inverted_cmyk_of_adobe_jpeg_is_turned_round(read):
    image = Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0))
    pixels = read(pillow_bytes(image, "JPEG", quality=95)).pixels.astype(int)
    assert np.abs(pixels - (255, 0, 0)).max() <= 3


# 16 bits

DEEP = noise(3)
DEEP_GRAY = noise(1, seed=1)
DEEP_ALPHA = noise(1, seed=2)


@pytest.mark.parametrize(
    ("colour_type", "samples", "pixels", "alpha"),
    [
        (0, DEEP_GRAY, three(DEEP_GRAY), None),
        (2, DEEP, DEEP, None),
        (4, np.dstack([DEEP_GRAY, DEEP_ALPHA]), three(DEEP_GRAY), DEEP_ALPHA),
        (6, np.dstack([DEEP, DEEP_ALPHA]), DEEP, DEEP_ALPHA),
    ],
)
def test_png_of_16_bits_keeps_every_bit(read, colour_type, samples, pixels, alpha):
    frame = read(png_bytes(samples, colour_type))
    assert frame.pixels.dtype == np.uint16
    np.testing.assert_array_equal(frame.pixels, pixels)
    assert (frame.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(frame.alpha, alpha.astype(np.float32) / 65535)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_interlaced_png(read, dtype):
    samples = noise(3, dtype)
    data = png_bytes(samples, 2, depth=8 * np.dtype(dtype).itemsize, interlaced=True)
    np.testing.assert_array_equal(read(data).pixels, samples)


@pytest.mark.parametrize(("colour_type", "samples"), [(0, DEEP_GRAY), (2, DEEP)])
def test_transparent_colour_of_16_bits_becomes_alpha(read, colour_type, samples):
    key = np.atleast_1d(samples[3, 4]).astype(">u2").tobytes()
    frame = read(png_bytes(samples, colour_type, chunk(b"tRNS", key)))
    np.testing.assert_array_equal(frame.pixels[3, 4], np.broadcast_to(samples[3, 4], 3))
    assert frame.alpha[3, 4] == 0
    assert frame.alpha[4, 3] == 1


TIFF_LAYOUTS = {
    "plain": {},
    "deflate": {"compression": "zlib"},
    "deflate, predictor": {"compression": "zlib", "predictor": True, "rowsperstrip": 7},
    "lzw, predictor": {"compression": "lzw", "predictor": True},
    "packbits": {"compression": "packbits"},
    "tiles": {"tile": (16, 32), "compression": "zlib", "predictor": True},
    "big-endian": {"byteorder": ">", "compression": "zlib", "predictor": True},
    "BigTIFF": {"bigtiff": True},
    "BigTIFF, big-endian": {"bigtiff": True, "byteorder": ">", "compression": "zlib", "predictor": True},
    "Zstandard": {"compression": "zstd"},
    "LZMA, tiles": {"compression": "lzma", "tile": (32, 16)},
}


@pytest.mark.parametrize("options", TIFF_LAYOUTS.values(), ids=TIFF_LAYOUTS)
@pytest.mark.parametrize("samples", [DEEP, noise(3, np.uint8)], ids=["16", "8"])
def test_rgb_tiffs_keep_every_bit(read, options, samples):
    frame = read(tifffile_bytes(samples, photometric="rgb", **options))
    assert frame.pixels.dtype == samples.dtype
    np.testing.assert_array_equal(frame.pixels, samples)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}])
def test_separate_planes_of_16_bits_are_put_together(read, options):
    planes = np.ascontiguousarray(DEEP.transpose(2, 0, 1))
    frame = read(tifffile_bytes(planes, photometric="rgb", planarconfig="separate", **options))
    np.testing.assert_array_equal(frame.pixels, DEEP)


def test_gray_tiffs_of_16_bits(read):
    black_is_zero = read(tifffile_bytes(DEEP_GRAY, photometric="minisblack"))
    np.testing.assert_array_equal(black_is_zero.pixels, three(DEEP_GRAY))
    white_is_zero = read(tifffile_bytes(DEEP_GRAY, photometric="miniswhite"))
    np.testing.assert_array_equal(white_is_zero.pixels, three(65535 - DEEP_GRAY))
    pair = np.dstack([DEEP_GRAY, DEEP_ALPHA])
    with_alpha = read(tifffile_bytes(pair, photometric="minisblack", extrasamples=[2], planarconfig="contig"))
    np.testing.assert_array_equal(with_alpha.pixels, three(DEEP_GRAY))
    np.testing.assert_array_equal(with_alpha.alpha, DEEP_ALPHA.astype(np.float32) / 65535)


def test_alpha_of_16_bit_tiff_straight_associated_and_unknown(read):
    alpha = np.maximum(DEEP_ALPHA, 20000)
    alpha[0, 0] = 0
    straight = read(tifffile_bytes(np.dstack([DEEP, alpha]), photometric="rgb", extrasamples=[2]))
    np.testing.assert_array_equal(straight.pixels, DEEP)
    np.testing.assert_array_equal(straight.alpha, alpha.astype(np.float32) / 65535)

    premultiplied = np.rint(DEEP * (alpha[..., None] / 65535)).astype(np.uint16)
    associated = read(tifffile_bytes(np.dstack([premultiplied, alpha]), photometric="rgb", extrasamples=[1]))
    seen = alpha > 0
    assert np.abs(associated.pixels[seen].astype(int) - DEEP[seen]).max() <= 2
    assert np.any("associated" in note for note in associated.metadata["notes"])

    unknown = read(tifffile_bytes(np.dstack([DEEP, alpha]), photometric="rgb", extrasamples=[0]))
    np.testing.assert_array_equal(unknown.pixels, DEEP)
    assert unknown.alpha is None


def test_cmyk_tiff_of_16_bits_is_reduced_to_8_and_says_so(read):
    ink = np.zeros((HEIGHT, WIDTH, 4), np.uint16)
    ink[..., 1:3] = 65535
    frame = read(tifffile_bytes(ink, photometric="separated"))
    assert frame.pixels[0, 0].tolist() == [255, 0, 0]
    assert any("8 bits" in note for note in frame.metadata["notes"])


# content decides


@pytest.mark.parametrize(("kind", "name"), [("PNG", "a.jpg"), ("JPEG", "a.png"), ("TIFF", "a.webp"), ("WEBP", "a.txt")])
def test_wrong_suffix_is_decoded_by_content(tmp_path, kind, name):
    path = tmp_path / name
    path.write_bytes(pillow_bytes(RGB, kind))
    assert probe(path).upper() == kind
    frame = read_image(path)
    assert frame.metadata["source_format"].upper() == kind
    assert np.abs(frame.pixels.astype(int) - RGB).mean() < 4


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG"])
def test_first_page_or_frame_is_taken_and_noted(read, kind):
    second = Image.fromarray(255 - RGB)
    options = {"lossless": True} if kind == "WEBP" else {}
    frame = read(pillow_bytes(RGB, kind, save_all=True, append_images=[second], **options))
    np.testing.assert_array_equal(frame.pixels, RGB)
    assert frame.metadata["notes"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiny_pictures(read, shape, dtype):
    samples = noise(3, dtype)[: shape[0], : shape[1]]
    frame = read(png_bytes(samples, 2, depth=8 * np.dtype(dtype).itemsize))
    np.testing.assert_array_equal(frame.pixels, samples)
    assert frame.size == shape


def bitmap_with_alpha(alpha: int) -> bytes:
    """32 bits with masks for red, green, blue and alpha in a header of version 3 (BITMAPV3INFOHEADER)."""
    pixels = np.dstack([RGB[..., ::-1], np.full((HEIGHT, WIDTH), alpha, np.uint8)])[::-1].tobytes()
    header = struct.pack("<IiiHHIIiiII", 56, WIDTH, HEIGHT, 1, 32, 3, len(pixels), 2835, 2835, 0, 0)
    header += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    return b"BM" + struct.pack("<IHHI", 70 + len(pixels), 0, 0, 70) + header + pixels


def test_an_alpha_of_bitmaps_that_is_0_everywhere_is_none(read):
    blank, half = read(bitmap_with_alpha(0)), read(bitmap_with_alpha(128))
    assert blank.alpha is None
    assert any("alpha ignored" in note for note in blank.metadata["notes"])
    np.testing.assert_allclose(half.alpha, 128 / 255)
    for frame in (blank, half):
        np.testing.assert_array_equal(frame.pixels, RGB)


ALPHA_RAMP = np.tile(np.linspace(60, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("samples", [RGB, RGB[..., :1], np.dstack([255 - RGB, RGB[..., :1] // 4])])
@pytest.mark.parametrize("kinds", [["unassalpha"], ["unspecified"], ["unspecified", "unassalpha"]])
def test_extra_samples_of_8_bits(read, planes, samples, kinds):
    photometric = {1: "minisblack", 3: "rgb", 4: "separated"}[samples.shape[2]]
    extra = [ALPHA_RAMP if kind == "unassalpha" else RGB[..., 2] for kind in kinds]
    stored = np.dstack([samples, *extra])
    stored = stored if planes == "contig" else np.ascontiguousarray(np.moveaxis(stored, -1, 0))
    options = {"photometric": photometric, "planarconfig": planes, "compression": "zlib"}
    frame = read(tifffile_bytes(stored, **options, extrasamples=kinds))
    bare = samples[..., 0] if samples.shape[2] == 1 else samples
    np.testing.assert_array_equal(frame.pixels, read(tifffile_bytes(bare, photometric=photometric)).pixels)
    if "unassalpha" in kinds:
        np.testing.assert_allclose(frame.alpha, ALPHA_RAMP / 255, atol=1e-6)
    else:
        assert frame.alpha is None


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_associated_alpha_of_8_bits_is_divided_out(read, planes):
    for colour in (RGB, RGB[..., :1]):
        stored = np.dstack([np.rint(colour * (ALPHA_RAMP[..., None] / 255)).astype(np.uint8), ALPHA_RAMP])
        stored = stored if planes == "contig" else np.ascontiguousarray(np.moveaxis(stored, -1, 0))
        photometric = "rgb" if colour is RGB else "minisblack"
        options = {"photometric": photometric, "planarconfig": planes}
        frame = read(tifffile_bytes(stored, **options, extrasamples=["assocalpha"]))
        difference = frame.pixels.astype(int) - colour
        assert np.abs(difference).max() <= 3
        assert abs(difference.mean()) < 0.2


def test_a_colour_map_of_8_bits_is_widened(read):
    indices = RGB[..., 0]
    colours = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2]).astype(np.uint16)
    wide = read(tifffile_bytes(indices, photometric="palette", colormap=colours * 257))
    narrow = read(tifffile_bytes(indices, photometric="palette", colormap=colours))
    np.testing.assert_array_equal(wide.pixels, colours[:, indices].transpose(1, 2, 0))
    np.testing.assert_array_equal(narrow.pixels, wide.pixels)


def test_more_samples_than_a_decoder_knows_are_refused_in_one_line(read, capfd):
    stream = tifffile_bytes(RGB[..., 0], photometric="palette", colormap=np.zeros((3, 256), np.uint16))
    entry = struct.pack("<HHI", 277, 3, 1)  # SamplesPerPixel
    at = stream.index(entry) + len(entry)
    with pytest.raises(InputError, match="9 samples a pixel are not supported"):
        read(stream[:at] + b"\x09\0" + stream[at + 2 :])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_reduced_picture_or_a_mask_before_the_picture_is_left_out(read, big, order):
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, bigtiff=big, byteorder=order) as writer:
        writer.write(RGB[::4, ::4], photometric="rgb", subfiletype=1)
        writer.write(RGB[..., 0] > 127, photometric="minisblack", subfiletype=4)
        writer.write(RGB, photometric="rgb")
    frame = read(stream.getvalue())
    np.testing.assert_array_equal(frame.pixels, RGB)
    assert "reduced pictures or masks before the first picture left out" in frame.metadata["notes"]
    only_reduced = tifffile_bytes(RGB, photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read(only_reduced).pixels, RGB)


def ycbcr_tiff(rgb, weights, black_white, subsampling, compression=1):
    """TIFF 6.0, section 21, by its formulas; ``rgb`` (H, W, 3) of 0..255, its size a multiple of the subsampling."""
    red, _, blue = weights
    luma = rgb @ np.asarray(weights)
    chroma = [(rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)]
    across, down = subsampling
    high, wide = rgb.shape[0] // down, rgb.shape[1] // across
    codes = []
    for i, (value, span) in enumerate(zip((luma, *chroma), (255, 127, 127), strict=True)):
        black, white = black_white[2 * i : 2 * i + 2]
        codes.append(np.clip(np.rint(value * (white - black) / span + black), 0, 255))
    cells = codes[0].reshape(high, down, wide, across).swapaxes(1, 2).reshape(high, wide, -1)
    means = [code.reshape(high, down, wide, across).mean(axis=(1, 3))[..., None] for code in codes[1:]]
    body = np.concatenate([cells, *means], axis=-1).astype(np.uint8).tobytes()
    body = zlib.compress(body) if compression == 8 else body
    ratios = [struct.pack("<8I", *[n for w in (*weights, 0) for n in (round(w * 10000), 10000)][:8])[:24]]
    ratios.append(struct.pack("<12I", *[n for number in black_white for n in (number, 1)]))
    start = 8 + len(body) + len(body) % 2
    entries = [
        (256, 4, 1, rgb.shape[1]),
        (257, 4, 1, rgb.shape[0]),
        (258, 3, 3, start + 6 + 12 * 12),
        (259, 3, 1, compression),
        (262, 3, 1, 6),
        (273, 4, 1, 8),
        (277, 3, 1, 3),
        (278, 4, 1, rgb.shape[0]),
        (279, 4, 1, len(body)),
        (529, 5, 3, start + 6 + 12 * 12 + 6),
        (530, 3, 2, across | down << 16),
        (532, 5, 6, start + 6 + 12 * 12 + 6 + 24),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    tail = struct.pack("<3H", 8, 8, 8) + b"".join(ratios)
    return b"II*\0" + struct.pack("<I", start) + body.ljust(start - 8, b"\0") + directory + bytes(4) + tail


FULL, NARROW = (0, 255, 128, 255, 128, 255), (16, 235, 128, 240, 128, 240)


@pytest.mark.parametrize("weights", [(0.299, 0.587, 0.114), (0.2126, 0.7152, 0.0722)])
@pytest.mark.parametrize("black_white", [FULL, NARROW])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), (4, 2)])
@pytest.mark.parametrize("compression", [1, 8])
def test_ycbcr_follows_its_coefficients_range_and_subsampling(read, weights, black_white, subsampling, compression):
    smooth = np.dstack([np.tile(np.linspace(60, 180, WIDTH), (HEIGHT, 1)), np.full((HEIGHT, WIDTH, 2), (90.0, 130.0))])
    frame = read(ycbcr_tiff(smooth, weights, black_white, subsampling, compression))
    assert np.abs(frame.pixels - smooth).max() <= 2.5 * subsampling[0]
    assert np.abs(frame.pixels - smooth).mean() < 2
