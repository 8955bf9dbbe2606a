"""Which files belong together."""

from __future__ import annotations

from pathlib import Path

import pytest
from ear import Ear

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
        (["p/a.exr", "g/a.exr", "g/b.exr", "g/c.exr"], r"g/b\.exr: has no prediction.*; so has 1 other; `partial`"),
        (["p/x_ldr.exr", "p/x_sdr.exr", "g/x_hdr.exr"], r"g/x_hdr\.exr: could go with x_ldr and x_sdr"),
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


def test_predictions_may_be_more_than_truths_and_truths_more_than_predictions_if_asked(tree):
    tree("p/a.exr", "p/b.exr", "p/c.exr", "g/a.exr", "g/z.exr")
    ear = Ear()
    (pair,) = find_pairs("p", "g", partial=True, listener=ear)
    assert pair.name == "a"
    assert ear.notes == [
        "g: 1 truth (z) without a prediction left out",
        "p: 2 predictions (b, c) without a ground truth left out",
    ]
    Path("g/z.exr").unlink()
    assert len(find_pairs("p", "g")) == 1
    Path("p/a.exr").unlink()
    with pytest.raises(InputError, match=r"g/a\.exr: has no prediction"):
        find_pairs("p", "g", partial=True)


def test_the_names_of_ntire_2021_and_of_cityscapes_go_together(tree):
    tree("p/0001_medium.exr", "p/0002.exr", "g/0001_gt.npy", "g/0001_alignratio.npy", "g/0001_exposures.npy")
    tree("g/0002_gt.png", "g/0002_alignratio.npy", "l/0001_medium.png", "l/0002_medium.png")
    pairs = find_pairs("p", "g", "l")
    assert [(pair.prediction.name, pair.truth.name, pair.ldr.name) for pair in pairs] == [
        ("0001_medium.exr", "0001_gt.npy", "0001_medium.png"),
        ("0002.exr", "0002_gt.png", "0002_medium.png"),
    ]


def test_equal_names_come_before_endings(tree):
    tree("p/a.exr", "p/a_hdr.exr", "g/a.exr", "g/a_hdr.exr")
    assert [(pair.prediction.name, pair.truth.name) for pair in find_pairs("p", "g")] == [
        ("a.exr", "a.exr"),
        ("a_hdr.exr", "a_hdr.exr"),
    ]


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
