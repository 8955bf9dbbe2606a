"""Every output file reads back in another library with the expected numbers."""

import threading

import cv2
import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging import WriteOptions, check_output, read_image, srgb_to_linear, write_image
from dcdr_deploy.imaging.read_hdr import read_hdr

PEAK = 8.0
RNG = np.random.default_rng(5)
LINEAR = RNG.random((48, 64, 3), dtype=np.float32)
ALPHA = RNG.random((48, 64), dtype=np.float32)
LOSSLESS = ["zip", "zips", "piz", "none"]
LINEAR_SUFFIXES = [".exr", ".hdr", ".png", ".tif", ".tiff"]
"""Of formats that hold linear light unless told otherwise."""


def read_exr(path):
    with OpenEXR.File(str(path)) as file:
        name, channel = next(iter(file.channels().items()))
        return name, channel.pixels.copy(), dict(file.header())


def read_back(path):
    """Stored numbers as RGB, by a library other than the writer."""
    if path.suffix == ".exr":
        return read_exr(path)[1]
    if path.suffix in (".tif", ".tiff"):
        return tifffile.imread(path)
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0]]


# OpenEXR


@pytest.mark.parametrize("compression", LOSSLESS)
def test_exr_holds_value_times_peak_in_halves(tmp_path, compression):
    path = tmp_path / "out.exr"
    write_image(path, LINEAR, peak=PEAK, options=WriteOptions(exr_compression=compression))
    name, pixels, header = read_exr(path)
    assert name == "RGB"
    assert pixels.dtype == np.float16
    np.testing.assert_array_equal(pixels, (LINEAR * np.float32(PEAK)).astype(np.float16))
    assert header["compression"] == getattr(OpenEXR, f"{compression.upper().replace('NONE', 'NO')}_COMPRESSION")


def test_exr_floats_are_exact(tmp_path):
    path = tmp_path / "out.exr"
    write_image(path, LINEAR, peak=PEAK, options=WriteOptions(float32=True))
    pixels = read_exr(path)[1]
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, LINEAR * np.float32(PEAK))


def test_exr_dwaa_is_lossy_but_close(tmp_path):
    path = tmp_path / "out.exr"
    smooth = np.broadcast_to(np.linspace(0.05, 1, 64, dtype=np.float32)[None, :, None], (48, 64, 3))
    write_image(path, smooth, peak=PEAK, options=WriteOptions(exr_compression="dwaa"))
    np.testing.assert_allclose(read_exr(path)[1], smooth * PEAK, rtol=0.05)


def test_exr_says_what_its_numbers_mean(tmp_path):
    path = tmp_path / "out.exr"
    write_image(path, LINEAR, peak=PEAK, metadata={"software": "dcdr-deploy test", "whiteLuminance": "overridden?"})
    header = read_exr(path)[2]
    assert header["chromaticities"] == pytest.approx((0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290))
    assert header["whiteLuminance"] == 203
    assert "colorInteropID" not in header  # the list has none for linear display light
    assert header["software"] == "dcdr-deploy test"


def test_exr_colour_is_premultiplied_by_its_alpha(tmp_path):
    path = tmp_path / "out.exr"
    write_image(path, LINEAR, peak=PEAK, alpha=ALPHA, options=WriteOptions(float32=True))
    name, pixels, _ = read_exr(path)
    assert name == "RGBA"
    np.testing.assert_array_equal(pixels[..., 3], ALPHA)
    np.testing.assert_allclose(pixels[..., :3], LINEAR * PEAK * ALPHA[..., None], rtol=1e-6)


def test_exr_keeps_values_above_the_peak_and_clips_at_the_largest_half(tmp_path):
    path = tmp_path / "out.exr"
    bright = np.full((4, 4, 3), 3.0, np.float32)
    bright[0, 0] = (1e6, np.inf, 8188)
    write_image(path, bright, peak=PEAK)
    pixels = read_exr(path)[1]
    assert pixels[1, 1].tolist() == [24, 24, 24]
    assert pixels[0, 0].tolist() == [65504, 65504, 65504]


@pytest.mark.skipif(not hasattr(OpenEXR, "global_thread_count"), reason="OpenEXR before 3.4")
def test_openexr_compresses_on_more_than_the_calling_thread(tmp_path):
    write_image(tmp_path / "out.exr", LINEAR, peak=PEAK)
    assert OpenEXR.global_thread_count() > 0


# 16-bit integers


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
def test_integer_formats_hold_rounded_network_values(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    values = LINEAR.copy()
    values[0, 0] = (0.5, 1.5, 0.2 / 65535)
    values[0, 1] = (0.6 / 65535, 1 - 0.4 / 65535, 0)
    write_image(path, values, peak=PEAK)
    stored = read_back(path)
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, np.rint(np.clip(values, 0, 1) * np.float32(65535)))
    assert stored[0, 0].tolist() == [32768, 65535, 0]
    assert stored[0, 1].tolist() == [1, 65535, 0]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_integer_formats_hold_straight_alpha_as_fourth_sample(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    write_image(path, LINEAR, peak=PEAK, alpha=ALPHA)
    frame = read_image(path)
    np.testing.assert_array_equal(np.rint(read_hdr(path).pixels * 65535), np.rint(LINEAR * 65535))
    assert np.abs(frame.alpha - ALPHA).max() <= 0.51 / 65535


def test_tiff_is_tagged_completely_and_readable_by_opencv_too(tmp_path):
    path = tmp_path / "out.tif"
    tall = np.tile(LINEAR, (3, 1, 1))  # more than two strips
    write_image(path, tall, peak=PEAK, alpha=np.tile(ALPHA, (3, 1)), metadata={"software": "x 1", "model": "demo"})
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert page.extrasamples == (2,)
        assert page.photometric.name == "RGB"
        assert (page.software, page.description) == ("x 1", "model=demo")
        assert len(page.dataoffsets) == 3
    np.testing.assert_array_equal(cv2.imread(str(path), -1)[..., [2, 1, 0]], np.rint(tall * 65535))


def test_png_is_marked_as_linear_rec709_and_carries_metadata(tmp_path):
    path = tmp_path / "out.png"
    write_image(path, LINEAR, peak=PEAK, metadata={"software": "dcdr-deploy ü"})
    with Image.open(path) as image:
        image.load()
        assert image.info["gamma"] == 1.0
        assert image.info["chromaticity"] == pytest.approx((0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06))
        assert image.text["Software"] == "dcdr-deploy ü"


# all formats


@pytest.mark.parametrize(("suffix", "tolerance"), [(".exr", 2**-11), (".hdr", 2**-8), (".png", 1e-4), (".tif", 1e-4)])
def test_an_18_percent_gray_stays_18_percent(tmp_path, suffix, tolerance):
    path = tmp_path / f"gray{suffix}"
    write_image(path, np.full((48, 64, 3), 0.18 / PEAK, np.float32), peak=PEAK)
    stored = read_back(path).astype(np.float64)
    scene = stored / 65535 * PEAK if suffix in (".png", ".tif") else stored
    np.testing.assert_allclose(scene, 0.18, rtol=tolerance * (8 if suffix in (".png", ".tif") else 1))


@pytest.mark.parametrize("suffix", LINEAR_SUFFIXES)
@pytest.mark.parametrize(
    "view",
    [lambda a: a[..., ::-1], lambda a: a[:20, 5:30], lambda a: a[::-1], lambda a: a.transpose(1, 0, 2)],
    ids=["reversed channels", "crop", "upside down", "transposed"],
)
def test_views_are_written_like_their_copies(tmp_path, suffix, view):
    as_view, as_copy = tmp_path / f"view{suffix}", tmp_path / f"copy{suffix}"
    write_image(as_view, view(LINEAR), peak=PEAK, alpha=view(LINEAR)[..., 0])
    write_image(as_copy, view(LINEAR).copy(), peak=PEAK, alpha=view(LINEAR)[..., 0].copy())
    np.testing.assert_array_equal(read_back(as_view), read_back(as_copy))
    scale = PEAK * view(LINEAR)[0, 1, 0] if suffix == ".exr" else PEAK if suffix == ".hdr" else 65535
    np.testing.assert_allclose(read_back(as_view)[0, 1, :3], view(LINEAR)[0, 1] * scale, rtol=0.01, atol=0.03)


@pytest.mark.parametrize("suffix", LINEAR_SUFFIXES)
def test_nan_and_negative_values_become_zero(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    values = np.full((48, 64, 3), 0.5, np.float32)
    values[1, 2] = (np.nan, -0.1, -np.inf)
    before = values.copy()
    write_image(path, values, peak=PEAK)
    stored = read_back(path)
    assert stored[1, 2].tolist() == [0, 0, 0]
    assert stored[2, 1].min() > 0
    np.testing.assert_array_equal(values, before)  # the caller's array is not touched


@pytest.mark.parametrize("suffix", LINEAR_SUFFIXES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 300)])
def test_odd_sizes(tmp_path, suffix, shape):
    path = tmp_path / f"out{suffix}"
    write_image(path, np.full((*shape, 3), 0.25, np.float32), peak=4)
    assert read_back(path).shape == (*shape, 3)


def test_upper_case_suffix_and_new_folders(tmp_path):
    path = tmp_path / "new" / "folders" / "OUT.EXR"
    write_image(path, LINEAR, peak=PEAK)
    assert read_exr(path)[1].shape == LINEAR.shape


def test_an_sdr_picture_through_inverse_srgb_keeps_its_mid_gray(tmp_path):
    picture = tmp_path / "gray.png"
    Image.fromarray(np.full((8, 8, 3), 118, np.uint8)).save(picture)
    linear = srgb_to_linear(read_image(picture).normalised()) / PEAK
    write_image(tmp_path / "gray.exr", linear, peak=PEAK)
    np.testing.assert_allclose(read_exr(tmp_path / "gray.exr")[1], 0.18116, rtol=1e-3)


# refusals


@pytest.mark.parametrize(("name", "part"), [("out.gif", "'.gif'"), ("out", "no suffix"), ("out.exr.bak", "'.bak'")])
def test_unknown_suffixes_are_refused_with_the_known_ones(tmp_path, name, part):
    for refuse in (check_output, lambda p: write_image(p, LINEAR, peak=PEAK)):
        with pytest.raises(OutputError, match=r"use one of \.exr, \.hdr, \.png, \.tif, \.tiff") as caught:
            refuse(tmp_path / name)
        assert part in str(caught.value)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_check_output_refuses_folders_and_files_as_folders(tmp_path):
    (tmp_path / "folder.exr").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "folder.exr", tmp_path / "file" / "out.exr"):
        with pytest.raises(OutputError):
            check_output(path)
        with pytest.raises(OutputError):
            write_image(path, LINEAR, peak=PEAK)
    check_output(tmp_path / "not yet" / "there" / "out.exr")
    assert not (tmp_path / "not yet").exists()


@pytest.mark.parametrize("suffix", LINEAR_SUFFIXES)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, suffix):
    resource = pytest.importorskip("resource")
    import signal

    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"older file")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OutputError) as caught:
            write_image(path, LINEAR, peak=PEAK, options=WriteOptions("none" if suffix == ".exr" else "zip"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert str(caught.value).startswith(f"{path}: cannot be written")
    assert "\n" not in str(caught.value)
    assert ".tmp" not in str(caught.value)
    assert path.read_bytes() == b"older file"
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_compression_is_refused():
    with pytest.raises(InputError, match="zip, zips, piz, dwaa, none"):
        WriteOptions(exr_compression="rar")


@pytest.mark.parametrize(
    "arguments",
    [
        {"linear": LINEAR[..., 0]},
        {"linear": LINEAR[:0]},
        {"alpha": ALPHA[1:]},
        {"peak": 0.0},
        {"peak": float("nan")},
    ],
)
def test_wrong_arguments_are_bugs_not_user_errors(tmp_path, arguments):
    with pytest.raises(ValueError, match=r"shape|peak"):
        write_image(tmp_path / "out.exr", **{"linear": LINEAR, "peak": PEAK, **arguments})


def test_threads_may_write_the_same_target(tmp_path):
    path = tmp_path / "out.png"
    threads = [threading.Thread(target=write_image, args=(path, LINEAR), kwargs={"peak": PEAK}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(tmp_path.iterdir()) == [path]
    assert read_image(path).size == (48, 64)
