"""Which files belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.evaluation.pairing import find_pairs


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> None:
        for name in names:
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


def test_pairs_are_made_by_relative_path_without_the_suffix(tree):
    tree("p/b.exr", "p/sub/a.EXR", "p/sub/deep/c.hdr", "g/b.png", "g/sub/a.tif", "g/sub/deep/c.exr")
    pairs = find_pairs("p", "g")
    assert [(p.name, p.prediction.name, p.truth.name, p.ldr) for p in pairs] == [
        ("b", "b.exr", "b.png", None),
        ("sub/a", "a.EXR", "a.tif", None),
        ("sub/deep/c", "c.hdr", "c.exr", None),
    ]


def test_sdr_pictures_are_paired_too_and_there_may_be_more_of_them(tree):
    tree("p/a.exr", "g/a.exr", "l/a.jpg", "l/b.jpg")
    (pair,) = find_pairs("p", "g", "l")
    assert pair.ldr == Path("l/a.jpg")


def test_previews_hidden_files_and_other_files_do_not_count(tree):
    tree("p/a.exr", "p/a.preview.png", "p/.a.exr", "p/manifest.jsonl", "p/.cache/x.exr", "g/a.exr")
    assert [pair.name for pair in find_pairs("p", "g")] == ["a"]


def test_two_files_are_a_pair_whatever_their_names(tree):
    tree("x.exr", "y.png", "z.jpg")
    (pair,) = find_pairs("x.exr", "y.png", "z.jpg")
    assert (pair.name, pair.ldr) == ("y", Path("z.jpg"))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["p/a.exr", "g/a.exr", "g/b.exr"], r"g/b\.exr: has no prediction, which would be p/b\.\*"),
        (["p/a.exr", "p/b.exr", "p/c.exr", "g/a.exr"], r"p/b\.exr: has no ground truth.*; so have 1 others"),
        (["p/a.exr", "g/a.exr", "g/a.png"], r"g/a\.png: a\.exr has the same name"),
        (["p/a.exr", "g/readme.txt"], r"g: holds no pictures"),
        (["p/a.exr"], r"g: no such file or folder"),
        (["p/a.exr", "g"], r"g: p and this must both be files or both be folders"),
    ],
)
def test_what_cannot_be_paired_is_named(tree, files, said):
    tree(*files)
    with pytest.raises(InputError, match=said):
        find_pairs("p", "g")


def test_a_missing_sdr_picture_is_named(tree):
    tree("p/a.exr", "g/a.exr", "l/b.png")
    with pytest.raises(InputError, match=r"g/a\.exr: has no SDR picture"):
        find_pairs("p", "g", "l")


def test_files_and_folders_do_not_mix_with_the_sdr_pictures(tree):
    tree("p/a.exr", "g/a.exr", "l/a.png")
    with pytest.raises(InputError, match=r"l/a\.png: is a file"):
        find_pairs("p", "g", "l/a.png")
    with pytest.raises(InputError, match="l: is a folder"):
        find_pairs("p/a.exr", "g/a.exr", "l")


def test_names_too_long_for_the_system_are_told_not_raised(tree):
    tree("p/a.exr")
    with pytest.raises(InputError, match="no such file"):
        find_pairs("p", "x" * 5000)
