"""Smaller copies of training data: found in their splits as the originals are, and as far from them as is said."""

from __future__ import annotations

import re
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import shrink_training_data
import smaller_copies
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from smaller_copies import Reduction, averaged_down, copy_panorama, copy_photograph, round_mantissas

from dcdr_deploy.imaging.radiance import decode_rgbe, encode_rgbe
from dcdr_deploy.scenes.panorama import PanoramaSet, read_panorama, ringing_mask
from dcdr_deploy.scenes.photographs import read_photograph
from dcdr_deploy.scenes.splits import PHOTOGRAPH_SUFFIXES, files_of, name_of, read_split

FLOATS = st.floats(0, 2.0**100, width=32)

LIST = """name\tsplit\tplace\tsha256
own/a\ttrain\town/a\t0
own/b.1\tvalidation\town/b\t0
own/c\ttest\town/c\t0
places/hall\ttrain\tplaces/hall\t0
places/park\tvalidation\tplaces/park\t0
"""


def photograph(path: Path, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
    """A soft picture with the noise of a sensor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    soft = cv2.resize(rng.uniform(20, 230, (6, 8, 3)), size[::-1], interpolation=cv2.INTER_CUBIC)
    Image.fromarray(np.uint8(np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255))).save(path)
    return path


def light_of(seed: int = 0, height: int = 32) -> np.ndarray:
    rng = np.random.default_rng(seed)
    light = np.float32(np.exp(rng.normal(0, 0.5, (height, 2 * height, 3))))
    light[3:5, 7:9] = (900, 700, 400)
    return light


def panorama(path: Path, light: np.ndarray) -> Path:
    import OpenEXR

    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"compression": OpenEXR.NO_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGB": OpenEXR.Channel("RGB", light)}) as file:
        file.write(str(path))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Listed files, and some that no list names: in a folder called by a split, and in none."""
    photos, panoramas = tmp_path / "photos", tmp_path / "hdri"
    for number, name in enumerate(("own/a.png", "own/b.1.png", "own/c.png", "more/d.png", "validation/others/e.png")):
        photograph(photos / name, number)
    for number, name in enumerate(("places/hall.exr", "places/park.exr", "validation/f.exr")):
        panorama(panoramas / name, light_of(number))
    (tmp_path / "list.tsv").write_text(LIST)
    return tmp_path


@pytest.fixture
def shrink(data: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """``shrink("--archive")``: the command for those files, into ``small``."""

    def call(*words: str, output: str = "small") -> int:
        folders = ["--photos", str(data / "photos"), "--panoramas", str(data / "hdri")]
        given = [*folders, "--split-list", str(data / "list.tsv"), "-o", str(data / output), *words]
        monkeypatch.setattr(sys, "argv", ["shrink_training_data.py", *given])
        return shrink_training_data.main()

    return call


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# Splits


def test_only_files_of_the_named_splits_are_taken(shrink: Callable[..., int], data: Path):
    assert shrink() == 0
    train = {"photos/train/own/a.jpg", "photos/train/more/d.jpg", "panoramas/train/places/hall.hdr"}
    assert names(data / "small") == train
    assert shrink("--split", "validation", "train", output="both") == 0
    assert names(data / "both") == train | {
        "photos/validation/own/b.1.jpg",
        "photos/validation/others/e.jpg",
        "panoramas/validation/places/park.hdr",
        "panoramas/validation/validation/f.hdr",
    }


def test_the_test_split_is_not_copied(shrink: Callable[..., int], data: Path):
    with pytest.raises(SystemExit):
        shrink("--split", "test")
    assert not (data / "small").exists()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_copies_are_in_the_split_of_their_originals(split: str, shrink: Callable[..., int], data: Path):
    assert shrink("--split", "train", "validation") == 0
    entries = read_split(data / "list.tsv")
    for kind, folder in (("photos", "photos"), ("panoramas", "hdri")):
        suffixes = (*PHOTOGRAPH_SUFFIXES, ".exr", ".hdr")
        there, before = (files_of([data / each], suffixes, entries, split) for each in (f"small/{kind}", folder))
        assert [name_of(path) for path in there] == [name_of(path) for path in before]
        assert there


def test_a_file_keeps_its_name_where_its_own_folder_is_given(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(data / "photos" / "own")
    options = ["--photos", ".", "--split-list", str(data / "list.tsv"), "-o", str(data / "small")]
    monkeypatch.setattr(sys, "argv", ["shrink_training_data.py", *options])
    assert shrink_training_data.main() == 0
    assert names(data / "small") == {"photos/train/own/a.jpg"}


def test_training_finds_the_copies(shrink: Callable[..., int], data: Path):
    pytest.importorskip("torch")
    from dcdr_deploy.training.recipe import RECIPES
    from dcdr_deploy.training.sources import SyntheticSource

    assert shrink("--split", "train", "validation") == 0
    small = data / "small"
    lists = [data / "list.tsv"]
    source = SyntheticSource([small / "panoramas"], [small / "photos"], lists, scenes=1, cache=data / "cache")
    found = source.training_set(RECIPES["demo-gpu"])
    assert found.photographs is not None
    assert found.photographs.names == ["more/d", "own/a"]
    assert found.panoramas.names == ["places/hall"]


# Pixels


def test_photographs_keep_their_size_and_lose_what_is_said(
    shrink: Callable[..., int], data: Path, capsys: pytest.CaptureFixture[str]
):
    assert shrink() == 0
    said = capsys.readouterr().out
    errors = []
    for name in ("own/a", "more/d"):
        before = read_photograph(data / "photos" / f"{name}.png")
        copy = read_photograph(data / "small" / "photos" / "train" / f"{name}.jpg")
        assert copy.shape == before.shape
        errors.append(np.mean((copy.astype(float) - before) ** 2))
        assert errors[-1] > 0
    pooled, worst = (10 * np.log10(255**2 / each) for each in (np.mean(errors), max(errors)))
    assert f"PSNR of the others {pooled:.1f} dB pooled, {worst:.1f} dB the worst" in said
    sizes = [
        sum(path.stat().st_size for path in paths) / 1e6
        for paths in ([data / "photos/own/a.png", data / "photos/more/d.png"], (data / "small/photos").rglob("*.jpg"))
    ]
    assert "photos: 2 files, {:.2f} MB became {:.2f} MB; 0 as they are".format(*sizes) in said


def test_panoramas_are_off_by_half_a_step_at_most(
    shrink: Callable[..., int], data: Path, capsys: pytest.CaptureFixture[str]
):
    assert shrink("--bits", "6") == 0
    before = read_panorama(data / "hdri/places/hall.exr")
    copy = read_panorama(data / "small/panoramas/train/places/hall.hdr")
    error = (np.abs(copy - before).max(-1) / before.max(-1)).max()
    assert 2.0**-8 < error <= 2.0**-6
    assert f"largest relative error of the others {error:.2%}" in capsys.readouterr().out


@given(hnp.arrays(np.float32, (2, 3, 3), elements=FLOATS), st.integers(4, 7))
def test_rounded_light_is_what_a_radiance_file_holds(light: np.ndarray, bits: int):
    rounded = round_mantissas(light, bits)
    largest = rounded.max(-1, keepdims=True)
    seen = np.broadcast_to(largest > 2.0**-100, light.shape)
    assert (np.abs(rounded - light) <= largest * 2.0**-bits)[seen].all()
    assert np.array_equal(round_mantissas(rounded, bits), rounded)
    assert np.array_equal(decode_rgbe(encode_rgbe(rounded))[seen], rounded[seen])


def test_rounding_keeps_the_mean():
    light = np.random.default_rng(0).uniform(0.5, 1, (400, 400, 3)).astype(np.float32)
    assert round_mantissas(light, 5).mean() == pytest.approx(light.mean(), rel=1e-4)


def test_ringing_that_training_repairs_stays_marked(tmp_path: Path):
    light = light_of()
    light[8:12, 20:24] = -2
    source = panorama(tmp_path / "places" / "lamp.exr", light)
    copy = copy_panorama(source, tmp_path / "copy", Reduction())
    assert copy.as_it_is
    assert (tmp_path / "copy.exr").read_bytes() == source.read_bytes()
    smaller = copy_panorama(source, tmp_path / "smaller", Reduction(longest=32))
    assert not smaller.as_it_is
    (repaired,) = PanoramaSet([source])
    expected = cv2.resize(repaired.radiance, (32, 16), interpolation=cv2.INTER_AREA)
    assert np.allclose(
        read_panorama(tmp_path / "smaller.hdr"), expected, atol=2.0**-7 * expected.max(-1, keepdims=True)
    )


def test_lights_that_rounding_would_break_stay_as_they_are(tmp_path: Path):
    light = np.full((32, 64, 3), 0.1, np.float32)
    light[10:20, 10:20] = (100, 50, 0.15)  # above a thousandth of its red, below half a step of it
    source = panorama(tmp_path / "places" / "neon.exr", light)
    assert not ringing_mask(light).any()
    assert copy_panorama(source, tmp_path / "copy", Reduction()).as_it_is


def test_negative_noise_that_is_no_ringing_does_not_matter(tmp_path: Path):
    light = light_of()
    light[0, 0] = -1e-4
    copy = copy_panorama(panorama(tmp_path / "places" / "noise.exr", light), tmp_path / "copy", Reduction())
    assert not copy.as_it_is
    assert (read_panorama(tmp_path / "copy.hdr")[0, 0] == 0).all()


@pytest.mark.parametrize("packed", [False, True])
def test_what_would_not_become_smaller_is_taken_as_it_is(packed: bool, tmp_path: Path):
    flat = tmp_path / "flat.png"
    Image.new("RGB", (64, 48), (9, 9, 9)).save(flat)
    copy = copy_photograph(flat, tmp_path / "one", Reduction(packed=packed))
    assert (copy.before, copy.after, copy.moved, copy.as_it_is) == (*[flat.stat().st_size] * 2, 0.0, True)
    assert (tmp_path / "one.png").read_bytes() == flat.read_bytes()
    copy_panorama(panorama(tmp_path / "a.exr", light_of()), tmp_path / "b", Reduction(bits=6, packed=packed))
    assert copy_panorama(tmp_path / "b.hdr", tmp_path / "c", Reduction(bits=6, packed=packed)).as_it_is


def test_pictures_are_averaged_in_linear_light_and_never_enlarged():
    stripes = np.zeros((8, 16, 3), np.uint8)
    stripes[:, ::2] = 255
    assert (averaged_down(stripes, 8) == 188).all()  # half of the light, not of the code
    assert averaged_down(stripes, 8).shape == (4, 8, 3)
    assert averaged_down(stripes, 16) is stripes
    assert averaged_down(stripes, None) is stripes


# Limits


def test_pictures_shrink_until_they_fit(
    shrink: Callable[..., int], data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(shrink_training_data, "EDGES", (56, 40, 24))
    assert shrink("--longest", "64", output="whole") == 0
    whole = sum(path.stat().st_size for path in (data / "whole").rglob("*.*") if path.is_file())
    capsys.readouterr()
    assert shrink("--most-bytes", str(int(whole * 0.8))) == 0
    (edge,) = re.findall(r"^longer edge at most (\d+) px$", capsys.readouterr().out, re.MULTILINE)
    files = [path for path in (data / "small").rglob("*.*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= whole * 0.8
    assert {max(read_photograph(path).shape) for path in files if path.suffix == ".jpg"} == {int(edge)}
    assert read_panorama(data / "small/panoramas/train/places/hall.hdr").shape == (int(edge) // 2, int(edge), 3)


@pytest.mark.parametrize("words", [["--archive"], [], ["--longest", "64"]])
def test_where_nothing_fits_nothing_is_written(
    words: list[str], shrink: Callable[..., int], data: Path, capsys: pytest.CaptureFixture[str]
):
    before = names(data)
    assert shrink("--most-bytes", "100", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "are more than 100; give a larger --most-bytes" in error
    assert error.count("\n") == 1
    assert names(data) == before


def test_an_archive_holds_the_same_files_and_is_the_same_every_time(
    shrink: Callable[..., int], data: Path, capsys: pytest.CaptureFixture[str]
):
    assert shrink("--archive") == 0
    archive = data / "small.tar.xz"
    said = capsys.readouterr().out
    assert f"small.tar.xz: {archive.stat().st_size / 1e6:.2f} MB" in said
    parts = [float(each) for each in re.findall(r"became ([\d.]+) MB packed", said)]
    assert len(parts) == 2
    assert sum(parts) == pytest.approx(archive.stat().st_size / 1e6, abs=0.01)
    with tarfile.open(archive) as tar:
        packed = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert packed == {f"small/{name}": (data / "small" / name).read_bytes() for name in names(data / "small")}
    first = archive.read_bytes()
    (data / "small").rename(data / "first")
    archive.unlink()
    assert shrink("--archive") == 0
    assert archive.read_bytes() == first


def test_what_is_there_is_not_written_over(shrink: Callable[..., int], data: Path, capsys: pytest.CaptureFixture[str]):
    (data / "small.tar.xz").write_text("mine")
    assert shrink("--archive") == 2
    assert "is there already" in capsys.readouterr().err
    assert (data / "small.tar.xz").read_text() == "mine"
    assert not (data / "small").exists()


def test_a_folder_without_files_of_the_split_is_named(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    options = ["--photos", str(data / "hdri"), "-o", str(data / "small")]
    monkeypatch.setattr(sys, "argv", ["shrink_training_data.py", *options])
    assert shrink_training_data.main() == 2
    assert f"error: {data / 'hdri'}: no photos of the split train" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["--longest", "9"], ["--most-bytes", "0"], ["--most-bytes", "much"], ["--quality", "101"], ["--bits", "9"]],
)
def test_a_bad_value_ends_with_a_line(words: list[str], shrink: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        shrink(*words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err.splitlines()[-1]


def test_kinds_are_what_the_command_takes():
    assert {kind.name for kind in smaller_copies.KINDS} == {"photos", "panoramas"}
