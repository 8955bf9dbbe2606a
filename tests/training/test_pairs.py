"""Pair folders are matched by name, cut as section 4.1.1 says, and read without colour conversion of the target."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
import tifffile
import torch
from PIL import Image

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import linear_to_srgb, write_image
from dcdr_deploy.imaging.formats import FORMATS, SUFFIXES
from dcdr_deploy.imaging.read_hdr import read_hdr
from dcdr_deploy.training.pair_files import find_cityscapes, find_training_files, is_cityscapes
from dcdr_deploy.training.pairs import PairedFolder, cut_regions, read_pair


def write_pair(ldr: Path, hdr: Path, size: tuple[int, int] = (70, 100), seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for path, kind in ((ldr, np.uint8), (hdr, np.uint16)):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, np.iinfo(kind).max, (*size, 3)).astype(kind))


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    for number, city in enumerate(("aachen", "bochum")):
        name = f"{city}_000000_00001{number}"
        write_pair(
            tmp_path / f"leftImg8bit/train/{city}/{name}_leftImg8bit.png",
            tmp_path / f"leftImg16bit/train/{city}/{name}_leftImg16bit.png",
            seed=number,
        )
    return tmp_path


def test_the_cityscapes_layout_is_found(cityscapes: Path) -> None:
    assert is_cityscapes(cityscapes)
    pairs = find_cityscapes(cityscapes)
    assert [pair.ldr.parent.name for pair in pairs] == ["aachen", "bochum"]
    assert all(pair.ldr.stem.split("_left")[0] == pair.hdr.stem.split("_left")[0] for pair in pairs)


def test_plain_folders_match_by_name_without_suffix(tmp_path: Path) -> None:
    write_pair(tmp_path / "sdr/a.png", tmp_path / "hdr/a.tif")
    write_pair(tmp_path / "sdr/sub/b_sdr.png", tmp_path / "hdr/sub/b_hdr.png")
    assert len(find_training_files(tmp_path / "sdr", tmp_path / "hdr")) == 2


def test_a_picture_without_partner_is_named(tmp_path: Path) -> None:
    write_pair(tmp_path / "sdr/a.png", tmp_path / "hdr/a.png")
    write_pair(tmp_path / "sdr/lonely.png", tmp_path / "elsewhere/lonely.png")
    with pytest.raises(InputError, match=r"without a partner.*lonely\.png"):
        find_training_files(tmp_path / "sdr", tmp_path / "hdr")


@pytest.mark.parametrize("missing", ["sdr", "hdr"])
def test_a_missing_or_empty_folder_is_named(tmp_path: Path, missing: str) -> None:
    write_pair(tmp_path / "sdr/a.png", tmp_path / "hdr/a.png")
    folders = {"sdr": tmp_path / "sdr", "hdr": tmp_path / "hdr"}
    folders[missing] = tmp_path / "nothing"
    with pytest.raises(InputError, match="nothing: no such folder"):
        find_training_files(folders["sdr"], folders["hdr"])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        find_training_files(folders["sdr"], folders["hdr"])


def test_regions_do_not_overlap_and_fill_the_picture_up_to_a_patch() -> None:
    # Cityscapes: 2048 x 1024 gives eight regions of 512 x 512.
    regions = cut_regions(1024, 2048, 512)
    assert len(regions) == len(set(regions)) == 8
    assert cut_regions(511, 2048, 512) == []
    assert cut_regions(70, 100, 32) == [(t, x) for t in (0, 32) for x in (0, 32, 64)]


def test_samples_show_the_pixels_of_their_region(cityscapes: Path) -> None:
    data = PairedFolder(find_cityscapes(cityscapes), patch=32, seed=0, length=24)
    for index in (0, 7, 23):
        region = data.region_at(index)
        ldr, hdr = read_pair(data.pairs[region.pair])
        x, y = data[index]
        box = np.s_[region.top : region.top + 32, region.left : region.left + 32]
        assert np.array_equal(np.rint(x.numpy() * 255).transpose(1, 2, 0), ldr[box])
        assert np.array_equal(np.rint(y.numpy() * 65535).transpose(1, 2, 0), hdr[box])


def test_targets_are_rgb_as_stored(tmp_path: Path) -> None:
    write_pair(tmp_path / "sdr/a.png", tmp_path / "hdr/a.png")
    stored = np.zeros((40, 40, 3), np.uint16)
    stored[..., 2] = 40_000  # OpenCV writes BGR: this is red
    cv2.imwrite(str(tmp_path / "hdr/a.png"), stored)
    cv2.imwrite(str(tmp_path / "sdr/a.png"), np.zeros((40, 40, 3), np.uint8))
    (pair,) = find_training_files(tmp_path / "sdr", tmp_path / "hdr")
    assert read_pair(pair)[1][0, 0].tolist() == [40_000, 0, 0]


def test_an_epoch_shows_every_region_once_in_an_order_of_its_own(cityscapes: Path) -> None:
    data = PairedFolder(find_cityscapes(cityscapes), patch=32, seed=3, length=24)
    first, second = ([data.region_at(i) for i in range(start, start + 12)] for start in (0, 12))
    assert set(first) == set(second) == set(data.regions)
    assert first != second
    assert first == [data.region_at(i) for i in range(12)]  # going back gives the same order again


def test_wrong_depths_and_sizes_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "sdr/a.png", tmp_path / "hdr/a.png")
    (pair,) = find_training_files(tmp_path / "sdr", tmp_path / "hdr")
    swapped = type(pair)(pair.hdr, pair.ldr)
    with pytest.raises(InputError, match="needs 8"):
        read_pair(swapped)
    cv2.imwrite(str(pair.hdr), np.zeros((9, 9, 3), np.uint16))
    read_pair.cache_clear()
    with pytest.raises(InputError, match="differ in size"):
        read_pair(pair)


def test_pictures_smaller_than_a_patch_are_an_error(cityscapes: Path) -> None:
    with pytest.raises(InputError, match="smaller `patch`"):
        PairedFolder(find_cityscapes(cityscapes), patch=512, seed=0, length=1)


# Targets of every kind that `evaluate` reads


def write_target(folder: Path, name: str, light: np.ndarray) -> None:
    write_image(folder / "hdr" / name, light / np.float32(8), peak=8)
    shown = np.rint(255 * np.clip(linear_to_srgb(light), 0, 1)).astype(np.uint8)
    (folder / "sdr").mkdir(exist_ok=True)
    Image.fromarray(shown).save(folder / "sdr" / f"{Path(name).stem}.png")


@pytest.mark.parametrize("suffix", [".exr", ".hdr"])
@pytest.mark.parametrize("peak", [8.0, 16.0])
def test_targets_of_light_are_divided_by_the_peak(tmp_path: Path, suffix: str, peak: float) -> None:
    light = np.random.default_rng(0).uniform(0.1, 7.9, (40, 50, 3)).astype(np.float32)
    write_target(tmp_path, f"a{suffix}", light)
    pairs = find_training_files(tmp_path / "sdr", tmp_path / "hdr")
    data = PairedFolder(pairs, patch=32, seed=0, length=1, peak=peak)
    (region,) = data.regions
    _, y = data[0]
    box = np.s_[region.top : region.top + 32, region.left : region.left + 32]
    assert y.numpy().transpose(1, 2, 0) == pytest.approx(light[box] / peak, abs=8 / 128 / peak)


def test_targets_above_the_peak_are_clipped_and_broken_pixels_are_unknown(tmp_path: Path) -> None:
    light = np.full((40, 40, 3), 100, np.float32)
    write_target(tmp_path, "a.exr", light)
    light[3, 4] = np.nan
    OpenEXR.File({}, {"RGB": light}).write(str(tmp_path / "hdr/a.exr"))
    (pair,) = find_training_files(tmp_path / "sdr", tmp_path / "hdr")
    _, target = read_pair(pair, 8.0)
    assert target[0, 0].tolist() == [65535] * 3
    assert np.isnan(target[3, 4]).all()
    assert np.isnan(target).sum() == 3
    _, y = PairedFolder([pair], patch=40, seed=0, length=1)[0]
    assert torch.equal(y.isnan(), torch.from_numpy(np.isnan(target)).permute(2, 0, 1))


def test_planar_and_contiguous_targets_are_the_same(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 65536, (40, 50, 3)).astype(np.uint16)
    for kind, stored in (("contig", codes), ("separate", np.ascontiguousarray(codes.transpose(2, 0, 1)))):
        folder = tmp_path / kind
        (folder / "hdr").mkdir(parents=True)
        (folder / "sdr").mkdir()
        tifffile.imwrite(folder / "hdr/a.tif", stored, photometric="rgb", planarconfig=kind)
        Image.new("RGB", (50, 40)).save(folder / "sdr/a.png")
        (pair,) = find_training_files(folder / "sdr", folder / "hdr")
        target = read_pair(pair)[1]
        assert target.dtype == np.uint16
        assert np.array_equal(target, codes)


def test_primaries_of_targets_are_converted_as_evaluate_converts_them(tmp_path: Path) -> None:
    light = np.random.default_rng(0).uniform(0.1, 1, (40, 50, 3)).astype(np.float32)
    write_target(tmp_path, "a.exr", light)
    rec2020 = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290)
    OpenEXR.File({"chromaticities": rec2020}, {"RGB": light}).write(str(tmp_path / "hdr/a.exr"))
    (pair,) = find_training_files(tmp_path / "sdr", tmp_path / "hdr")
    expected = np.clip(read_hdr(pair.hdr).pixels / 8, 0, 1) * 65535
    assert read_pair(pair)[1] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sources_are_turned_upright_before_regions_are_cut(tmp_path: Path, orientation: int, suffix: str) -> None:
    write_target(tmp_path, "a.exr", np.full((40, 70, 3), 0.5, np.float32))
    exif = Image.Exif()
    exif[274] = orientation
    stored = (70, 40) if orientation < 5 else (40, 70)
    (tmp_path / "sdr/a.png").unlink()
    Image.new("RGB", stored).save(tmp_path / f"sdr/a{suffix}", exif=exif)
    data = PairedFolder(find_training_files(tmp_path / "sdr", tmp_path / "hdr"), patch=32, seed=0, length=2)
    assert sorted((region.top, region.left) for region in data.regions) == [(0, 0), (0, 32)]
    assert data[0][0].shape == data[1][1].shape == (3, 32, 32)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_pictures_of_every_format_that_run_reads_are_sources(tmp_path: Path, suffix: str) -> None:
    write_target(tmp_path, "a.exr", np.full((40, 70, 3), 0.5, np.float32))
    (tmp_path / "sdr/a.png").unlink()
    stored = tmp_path / f"sdr/a{suffix}"
    kind = next(each.name for each in FORMATS if suffix in each.suffixes)
    pixels = np.full((40, 70, 3), 100, np.uint8)
    if kind == "JPEG XL":
        stored.write_bytes(pytest.importorskip("imagecodecs").jpegxl_encode(pixels, lossless=True))
    elif kind == "HEIC":
        pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(pixels)).save(stored, format="HEIF")
    else:
        Image.fromarray(pixels).save(stored, kind)
    data = PairedFolder(find_training_files(tmp_path / "sdr", tmp_path / "hdr"), patch=32, seed=0, length=2)
    assert [data[index][0].shape for index in range(2)] == [(3, 32, 32)] * 2


def test_the_names_of_ntire_2021_pair(tmp_path: Path) -> None:
    codes = np.full((40, 40, 3), 10_000, np.uint16)
    for folder in ("sdr", "hdr"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "sdr/0001_medium.png")
    cv2.imwrite(str(tmp_path / "hdr/0001_gt.png"), codes)
    np.save(tmp_path / "hdr/0001_alignratio.npy", 5000.0)
    np.save(tmp_path / "hdr/0001_exposures.npy", np.ones(3))
    (pair,) = find_training_files(tmp_path / "sdr", tmp_path / "hdr")
    assert np.unique(read_pair(pair, 8.0)[1]) == pytest.approx([65535 * 2 / 8])
