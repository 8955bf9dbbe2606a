"""What belongs to which split is a list; nothing held back is ever trained on, and places and series stay together."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.scenes.splits import PANORAMA_SUFFIXES, SplitEntry, files_of, name_of, pixel_digest, read_split

ROOT = Path(__file__).parents[2]
LISTS = [ROOT / "data" / "splits" / f"{name}.tsv" for name in ("photographs", "panoramas")]
HDRI = ROOT / "data" / "hdri"


def stored(path: Path) -> np.ndarray:
    """RGB of an EXR file as it is stored, float32: nothing is converted for a digest."""
    with OpenEXR.File(str(path)) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    whole = next((channels[name] for name in ("RGB", "RGBA") if name in channels), None)
    planes = np.stack([channels[name] for name in "RGB"], -1) if whole is None else whole[..., :3]
    return np.ascontiguousarray(planes, np.float32)


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_a_place_or_series_belongs_to_one_split(path: Path) -> None:
    splits = defaultdict(set)
    for entry in read_split(path).values():
        splits[entry.place].add(entry.split)
    assert {place: found for place, found in splits.items() if len(found) > 1} == {}
    assert set.union(*splits.values()) == {"train", "validation", "test"}


def test_the_repositorys_panoramas_are_those_of_the_list_and_none_of_them_is_for_the_test() -> None:
    entries = read_split(LISTS[1])
    found = sorted(HDRI.rglob("*.exr"))
    assert len(found) == 22
    for path in found:
        entry = entries[name_of(path)]
        assert pixel_digest(stored(path)) == entry.sha256, path
        assert entry.split == path.relative_to(HDRI).parts[0] != "test"


def test_only_files_of_the_split_are_found_and_unlisted_ones_belong_where_they_lie(tmp_path: Path) -> None:
    names = ("a/one", "a/two", "b/three", "b/mine", "c/validation/own/four")
    for name in names:
        path = tmp_path / f"{name}.exr"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    entries = {
        "a/one": SplitEntry("a/one", "train", "here", ""),
        "a/two": SplitEntry("a/two", "test", "there", ""),
        "b/three": SplitEntry("b/three", "train", "here", "", better_copy="a/one"),
    }

    def found(split: str, *folders: str) -> list[str]:
        return [name_of(path) for path in files_of([tmp_path / f for f in folders], PANORAMA_SUFFIXES, entries, split)]

    assert found("train", "a", "b") == ["a/one", "b/mine"]
    assert found("train", "b") == ["b/mine", "b/three"], "without the better copy the other one counts"
    assert found("test", "a", "b") == ["a/two"]
    assert found("validation", "c") == ["own/four"], "folders called by a split hold it"
    assert found("validation", "a", "b") == []
    with pytest.raises(InputError, match="no such folder"):
        found("train", "d")


def test_what_systems_put_beside_pictures_is_in_no_split(tmp_path: Path) -> None:
    for name in ("a/one.exr", "a/._one.exr", "a/.dcdr-0123abcd-1-ff.tmp.exr", ".trash/two.exr", "a/folder.exr/x.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert files_of([tmp_path], PANORAMA_SUFFIXES, {}, "train") == [tmp_path / "a" / "one.exr"]


def test_a_file_that_is_no_list_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text("name\tcolour\na\tb\n")
    with pytest.raises(InputError, match="no list of a split"):
        read_split(tmp_path / "list.tsv")
    (tmp_path / "list.tsv").write_text("name\tsplit\tplace\tsha256\na/b\ttrial\ta\t0\n")
    with pytest.raises(InputError, match="trial"):
        read_split(tmp_path / "list.tsv")
    (tmp_path / "list.tsv").write_text("name\tsplit\tplace\tsha256\n" + 200_000 * "a")
    with pytest.raises(InputError, match="no list of a split"):
        read_split(tmp_path / "list.tsv")
