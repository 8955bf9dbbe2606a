"""Which files are shown together."""

from pathlib import Path

import numpy as np
import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import write_image
from dcdr_deploy.view.pairs import in_a_row, with_inputs


@pytest.fixture
def here(tmp_path, monkeypatch, make_picture) -> Path:
    """sdr/{a,b}.png, hdr/{a,b,c}.exr with a preview and a sheet beside one, and a 16-bit one."""
    monkeypatch.chdir(tmp_path)
    light = np.full((24, 32, 3), 0.1, np.float32)
    for name in ("a", "b", "c"):
        write_image(f"hdr/{name}.exr", light, peak=8)
    for name in ("sdr/a.png", "sdr/b.png", "hdr/a.preview.png", "hdr/a.sheet.png"):
        make_picture(Path(name))
    write_image("d.png", light, peak=8)
    return tmp_path


pytestmark = pytest.mark.usefixtures("here")


def row(*paths: str) -> list[tuple[str | None, str]]:
    found = in_a_row([Path(path) for path in paths])
    return [(None if each.sdr is None else each.sdr.as_posix(), each.hdr.as_posix()) for each in found]


def test_an_input_stands_before_its_output():
    assert row("sdr/a.png", "hdr/a.exr", "sdr/b.png", "hdr/b.exr") == [
        ("sdr/a.png", "hdr/a.exr"),
        ("sdr/b.png", "hdr/b.exr"),
    ]


def test_an_output_of_16_bits_has_its_place_by_order():
    assert row("sdr/a.png", "d.png") == [("sdr/a.png", "d.png")]


def test_hdr_pictures_may_stand_alone():
    assert row("hdr/a.exr", "sdr/b.png", "hdr/b.exr", "d.png") == [
        (None, "hdr/a.exr"),
        ("sdr/b.png", "hdr/b.exr"),
        (None, "d.png"),
    ]


def test_two_folders_are_paired_by_name_and_looks_passed_over():
    assert row("sdr", "hdr") == [("sdr/a.png", "hdr/a.exr"), ("sdr/b.png", "hdr/b.exr"), (None, "hdr/c.exr")]
    assert row("hdr") == [(None, "hdr/a.exr"), (None, "hdr/b.exr"), (None, "hdr/c.exr")]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("nix.exr",), "no such file"),
        (("sdr/a.png", "nix.exr"), "no such file"),
        (("https://host/a.exr",), "address"),
        (("sdr", "hdr/a.exr"), "folder among files"),
        (("sdr", "hdr", "sdr"), "third folder"),
        (("hdr", "sdr"), "holds no pictures|no picture there has the name"),
    ],
)
def test_what_goes_with_nothing_is_one_line(paths, message):
    with pytest.raises(InputError, match=message) as caught:
        row(*paths)
    assert "\n" not in str(caught.value)


def test_inputs_of_named_files_are_found_by_name():
    found = with_inputs([Path("hdr/a.exr"), Path("hdr/c.exr")], Path("sdr"))
    assert [each.sdr for each in found] == [Path("sdr/a.png"), None]
    assert [each.sdr for each in with_inputs([Path("hdr")], Path("sdr"))] == [
        Path("sdr/a.png"),
        Path("sdr/b.png"),
        None,
    ]
    assert [each.sdr for each in with_inputs([Path("d.png")], Path("sdr/b.png"))] == [Path("sdr/b.png")]


@pytest.mark.parametrize(
    ("hdr", "sdr", "message"),
    [
        (["hdr"], "sdr/a.png", "is a file, but hdr is a folder"),
        (["hdr/a.exr", "hdr/b.exr"], "sdr/a.png", "one input for 2 pictures"),
        (["hdr/a.exr", "hdr"], None, "folder among files"),
        (["hdr"], "nix", "no such file"),
    ],
)
def test_inputs_that_cannot_be_meant_are_one_line(hdr, sdr, message):
    with pytest.raises(InputError, match=message):
        with_inputs([Path(each) for each in hdr], None if sdr is None else Path(sdr))
