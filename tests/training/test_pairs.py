"""Pair folders are matched by name, cut as section 4.1.1 says, and read without colour conversion of the target."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.training.pairs import PairedFolder, cut_regions, find_cityscapes, find_pairs, is_cityscapes, read_pair


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
    assert len(find_pairs(tmp_path / "sdr", tmp_path / "hdr")) == 2


def test_a_picture_without_partner_is_named(tmp_path: Path) -> None:
    write_pair(tmp_path / "sdr/a.png", tmp_path / "hdr/a.png")
    write_pair(tmp_path / "sdr/lonely.png", tmp_path / "elsewhere/lonely.png")
    with pytest.raises(InputError, match=r"without a partner.*lonely\.png"):
        find_pairs(tmp_path / "sdr", tmp_path / "hdr")


@pytest.mark.parametrize("missing", ["sdr", "hdr"])
def test_a_missing_or_empty_folder_is_named(tmp_path: Path, missing: str) -> None:
    write_pair(tmp_path / "sdr/a.png", tmp_path / "hdr/a.png")
    folders = {"sdr": tmp_path / "sdr", "hdr": tmp_path / "hdr"}
    folders[missing] = tmp_path / "nothing"
    with pytest.raises(InputError, match="nothing is no folder"):
        find_pairs(folders["sdr"], folders["hdr"])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        find_pairs(folders["sdr"], folders["hdr"])


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
    (pair,) = find_pairs(tmp_path / "sdr", tmp_path / "hdr")
    assert read_pair(pair)[1][0, 0].tolist() == [40_000, 0, 0]


def test_an_epoch_shows_every_region_once_in_an_order_of_its_own(cityscapes: Path) -> None:
    data = PairedFolder(find_cityscapes(cityscapes), patch=32, seed=3, length=24)
    first, second = ([data.region_at(i) for i in range(start, start + 12)] for start in (0, 12))
    assert set(first) == set(second) == set(data.regions)
    assert first != second
    assert first == [data.region_at(i) for i in range(12)]  # going back gives the same order again


def test_wrong_depths_and_sizes_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "sdr/a.png", tmp_path / "hdr/a.png")
    (pair,) = find_pairs(tmp_path / "sdr", tmp_path / "hdr")
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
