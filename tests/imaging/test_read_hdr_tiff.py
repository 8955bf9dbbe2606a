"""Linear light in TIFF, PNG and NumPy files: every layout as tifffile reads it, and declarations followed."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import tifffile
from picture_files import (
    SRGB_PARAMETRIC,
    chunk,
    gamma_curve,
    matrix_profile,
    parametric_curve,
    png_bytes,
)

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging import tiff_file as t
from dcdr_deploy.imaging.hdr_transfer import pq_decode
from dcdr_deploy.imaging.read_hdr import read_hdr

HEIGHT, WIDTH = 37, 53


def light(dtype: type) -> np.ndarray:
    rng = np.random.default_rng(0)
    if dtype == np.uint16:
        return rng.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
    return (rng.uniform(0.01, 20, (HEIGHT, WIDTH, 3))).astype(dtype)


def expected(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.float32) / np.float32(65535 if samples.dtype == np.uint16 else 1)


LAYOUTS = {
    "plain": {},
    "deflate, predictor": {"compression": "zlib", "predictor": True, "rowsperstrip": 7},
    "LZW": {"compression": "lzw"},
    "PackBits": {"compression": "packbits"},
    "Zstandard, predictor": {"compression": "zstd", "predictor": True},
    "LZMA": {"compression": "lzma"},
    "tiles, predictor": {"tile": (16, 32), "compression": "zlib", "predictor": True},
    "tiles": {"tile": (16, 16)},
    "BigTIFF": {"bigtiff": True, "compression": "zlib"},
}


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_is_read_as_it_was_stored(tmp_path, options, dtype, byteorder, planar):
    samples = light(dtype)
    path = tmp_path / "a.tif"
    stored = np.ascontiguousarray(samples.transpose(2, 0, 1)) if planar else samples
    tifffile.imwrite(
        path,
        stored.astype(stored.dtype.newbyteorder(byteorder)),
        byteorder=byteorder,
        photometric="rgb",
        planarconfig="separate" if planar else "contig",
        **options,
    )
    picture = read_hdr(path)
    assert np.array_equal(picture.pixels, expected(samples))
    assert picture.integer == (dtype == np.uint16)
    assert picture.notes == ()


def assembled(data: bytes, width: int, height: int, bits: int, byteorder: str = "<", predictor: int = 1) -> bytes:
    """A TIFF of floats in one strip without compression."""
    tags = {t.WIDTH: width, t.HEIGHT: height, t.BITS: [bits] * 3, t.PHOTOMETRIC: 2, t.SAMPLES_PER_PIXEL: 3}
    tags |= {t.SAMPLE_FORMAT: [3] * 3, t.ROWS_PER_STRIP: height, t.COMPRESSION: 1, t.PREDICTOR: predictor}
    return t.assemble(tags, [data], byteorder)


def test_horizontal_differences_of_floats_are_those_of_their_bits(tmp_path):
    samples = light(np.float32)
    bits = samples.view(np.uint32)
    differences = bits.copy()
    differences[:, 1:] -= bits[:, :-1]
    (tmp_path / "a.tif").write_bytes(assembled(differences.tobytes(), WIDTH, HEIGHT, 32, predictor=2))
    assert np.array_equal(read_hdr(tmp_path / "a.tif").pixels, samples)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_floats_of_24_bits_are_read(tmp_path, byteorder):
    values = np.array([0, 1, 0.5, 2.25, 1 + 2**-16, 300, 2.0**-62, -3, 65504], np.float32)
    bits = values.view(np.uint32)
    sign, exponent, mantissa = bits >> 31, (bits >> 23 & 255).astype(int) - 127 + 63, bits >> 7 & 0xFFFF
    packed = np.where(values == 0, 0, sign << 23 | exponent.astype(np.uint32) << 16 | mantissa).astype("<u4")
    raw = packed.view(np.uint8).reshape(-1, 1, 4)[..., :3]
    raw = raw if byteorder == "<" else raw[..., ::-1]
    (tmp_path / "a.tif").write_bytes(assembled(np.repeat(raw, 3, axis=1).tobytes(), 9, 1, 24, byteorder))
    assert read_hdr(tmp_path / "a.tif").pixels[0, :, 0].tolist() == values.tolist()


def test_gray_alpha_and_orientation(tmp_path):
    samples = light(np.float32)
    tifffile.imwrite(tmp_path / "gray.tif", samples[..., 0], photometric="minisblack")
    assert np.array_equal(read_hdr(tmp_path / "gray.tif").pixels, np.repeat(samples[..., :1], 3, axis=2))
    with_alpha = np.dstack([samples, np.ones((HEIGHT, WIDTH), np.float32)])
    tifffile.imwrite(tmp_path / "alpha.tif", with_alpha, photometric="rgb", extrasamples=[2])
    assert np.array_equal(read_hdr(tmp_path / "alpha.tif").pixels, samples)
    tifffile.imwrite(tmp_path / "turned.tif", samples, photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    assert np.array_equal(read_hdr(tmp_path / "turned.tif").pixels, np.rot90(samples, -1))


@pytest.mark.parametrize("compression", ["lerc", "jpegxl", "jpeg2000"])
def test_what_no_decoder_here_knows_is_named_and_not_called_damaged(tmp_path, compression):
    tifffile.imwrite(tmp_path / "a.tif", light(np.uint16), photometric="rgb", compression=compression)
    with pytest.raises(
        InputError, match=r"a\.tif: cannot be decoded here \(TIFF compression .* is not supported\)"
    ) as told:
        read_hdr(tmp_path / "a.tif")
    assert "damaged" not in str(told.value)


# Declarations


def test_primaries_of_float_tiffs_are_converted_by_their_profile(tmp_path):
    samples = light(np.float32)
    profile = matrix_profile("display-p3", gamma_curve(1.0), "linear P3")
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", iccprofile=profile)
    picture = read_hdr(tmp_path / "a.tif")
    assert picture.pixels == pytest.approx(samples @ p.to_rec709(p.DISPLAY_P3).T, rel=2e-3, abs=8e-3)
    assert picture.notes == ("converted to linear Rec. 709 from linear P3 by its ICC profile",)
    coded = matrix_profile("srgb", gamma_curve(1.8), "gamma 1.8")
    tifffile.imwrite(tmp_path / "b.tif", samples, photometric="rgb", iccprofile=coded)
    with pytest.raises(InputError, match=r"encoded as gamma 1\.8 by its ICC profile"):
        read_hdr(tmp_path / "b.tif")


def test_codes_that_say_that_they_are_encoded_are_decoded(tmp_path):
    codes = light(np.uint16)
    profile = matrix_profile("srgb", parametric_curve(*SRGB_PARAMETRIC), "sRGB")
    encoded = chunk(b"iCCP", b"n\0\0" + zlib.compress(profile)), chunk(b"sRGB", b"\0")
    for number, extra in enumerate(encoded):
        path = tmp_path / f"{number}.png"
        path.write_bytes(png_bytes(codes, 2, extra))
        x = codes / 65535
        linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
        picture = read_hdr(path)
        assert picture.pixels == pytest.approx(linear, abs=1e-6)
        assert picture.integer
        assert len(picture.notes) == 1


def test_pq_codes_are_absolute_light_and_hlg_is_refused(tmp_path):
    codes = light(np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(codes, 2, chunk(b"cICP", bytes((1, 16, 0, 1)))))
    picture = read_hdr(path)
    assert picture.pixels == pytest.approx(pq_decode(codes / 65535) / 203, rel=1e-5)
    assert not picture.integer
    path.write_bytes(png_bytes(codes, 2, chunk(b"cICP", bytes((9, 18, 0, 1)))))
    with pytest.raises(InputError, match="encoded as HLG by its cICP"):
        read_hdr(path)


# NumPy files of NTIRE 2021


def test_a_truth_is_divided_by_the_alignment_ratio_beside_it(tmp_path):
    codes = light(np.uint16)
    (tmp_path / "0001_gt.png").write_bytes(png_bytes(codes, 2))
    np.save(tmp_path / "0001_gt.npy", codes)
    np.save(tmp_path / "0001_alignratio.npy", np.float32(5000))
    for name in ("0001_gt.png", "0001_gt.npy"):
        picture = read_hdr(tmp_path / name)
        assert picture.pixels == pytest.approx(codes / 5000, rel=1e-5)
        assert not picture.integer
        assert picture.notes == ("divided by the alignment ratio 5000 beside it",)
    np.save(tmp_path / "0001_alignratio.npy", np.float32(0))
    with pytest.raises(InputError, match=r"0001_alignratio\.npy: holds no positive number"):
        read_hdr(tmp_path / "0001_gt.png")


def test_an_archive_of_arrays_is_no_alignment_ratio(tmp_path):
    (tmp_path / "0001_gt.png").write_bytes(png_bytes(light(np.uint16), 2))
    with (tmp_path / "0001_alignratio.npy").open("wb") as file:
        np.savez(file, ratio=np.float32(5000))
    with pytest.raises(InputError, match=r"0001_alignratio\.npy: is damaged"):
        read_hdr(tmp_path / "0001_gt.png")


@pytest.mark.parametrize("signs", [2, 5000], ids=["no constant", "too deep, before Python 3.13"])
def test_an_array_whose_header_cannot_be_evaluated_is_damaged(tmp_path, signs):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': (2, {'-' * signs}1)}}".encode()
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(InputError, match=r"a\.npy: is damaged"):
        read_hdr(tmp_path / "a.npy")


def test_arrays_are_read_without_running_code(tmp_path):
    samples = light(np.float32)
    np.save(tmp_path / "a.npy", samples)
    assert np.array_equal(read_hdr(tmp_path / "a.npy").pixels, samples)
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="could run code"):
        read_hdr(tmp_path / "objects.npy")
    np.save(tmp_path / "flat.npy", samples.ravel())
    with pytest.raises(InputError, match="no picture"):
        read_hdr(tmp_path / "flat.npy")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-9])
    with pytest.raises(InputError, match="is damaged"):
        read_hdr(tmp_path / "cut.npy")
