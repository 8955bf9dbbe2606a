"""`dcdr-deploy preview` as a user sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("pictures_to_see")


def test_one_picture_makes_a_sheet_here(dcdr):
    done = dcdr("preview", "hdr/a.exr", "--input", "sdr/a.png")
    assert (done.exit_code, done.stderr) == (0, "")
    with Image.open("a.sheet.png") as sheet:
        assert done.stdout == f"a.sheet.png  {sheet.width}x{sheet.height}  of hdr/a.exr\n"


def test_a_folder_makes_sheets_in_another(dcdr):
    done = dcdr("preview", "hdr", "--input", "sdr", "-o", "sheets", "--cell", "64", "--json")
    assert done.exit_code == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["output"] for report in reports] == ["sheets/a.sheet.png", "sheets/b.sheet.png"]
    assert all(Path(report["output"]).is_file() for report in reports)


@pytest.mark.parametrize("folder", ["new", "new/", "sdr"])
def test_a_name_without_a_suffix_is_a_folder(dcdr, folder):
    assert dcdr("preview", "hdr/a.exr", "-o", folder).exit_code == 0
    assert Path(folder, "a.sheet.png").is_file()


def test_the_sheets_of_a_folder_are_none_of_its_pictures(dcdr):
    for _ in range(2):
        done = dcdr("preview", "hdr", "-o", "hdr", "--cell", "64")
        assert (done.exit_code, len(done.stdout.splitlines())) == (0, 2), done.stderr


def test_a_broken_picture_of_several_is_told_and_the_others_are_made(dcdr):
    Path("hdr/a.exr").write_bytes(Path("hdr/a.exr").read_bytes()[:200])
    done = dcdr("preview", "hdr", "-o", "sheets", "--cell", "64")
    assert done.exit_code == 3
    assert done.stderr.startswith("failed: hdr/a.exr: ")
    assert [path.name for path in Path("sheets").iterdir()] == ["b.sheet.png"]


@pytest.mark.parametrize("name", ["a.sheet.png", "sheet.jpg"])
def test_a_sheet_replaces_earlier_ones_and_no_picture_of_somebody_else(dcdr, name):
    for _ in range(2):
        assert dcdr("preview", "hdr/a.exr", "-o", name, "--cell", "64").exit_code == 0
    Image.new("RGB", (8, 8)).save(name)
    before = Path(name).read_bytes()
    for more in (("-o", name), ("hdr/b.exr", "-o", ".")) if name == "a.sheet.png" else (("-o", name),):
        done = dcdr("preview", "hdr/a.exr", *more, "--cell", "64")
        sentence = f"error: {name}: is a picture that dcdr-deploy has not written; choose another name, or delete it\n"
        assert (done.exit_code, done.stdout, done.stderr) == (2, "", sentence)
    assert Path(name).read_bytes() == before
    assert not Path("b.sheet.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nix.exr",), "nix.exr: no such file"),
        (("sdr/a.png",), "has 8 bits a sample, which is SDR"),
        (("hdr",), "--output must name a folder"),
        (("hdr/a.exr", "hdr/b.exr", "-o", "a.png"), "--output must name a folder"),
        (("hdr/a.exr", "-o", "a.gif"), "a.gif: a sheet is written as .png"),
        (("hdr/a.exr", "--reference-white", "0"), "--reference-white = 0"),
        (("hdr/a.exr", "--cell", "9"), "--cell = 9"),
        (("hdr/a.exr", "--full-scale", "-2"), "--full-scale = -2"),
        (("hdr/a.exr", "-o", "hdr/a.exr/x.png"), "cannot be written"),
        ((), "HDR"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(dcdr, arguments, message):
    done = dcdr("preview", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]
    assert not list(Path().glob("*.png"))
