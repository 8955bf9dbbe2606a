"""`dcdr-deploy view` as a user sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcdr_deploy.view import page

pytestmark = pytest.mark.usefixtures("pictures_to_see")


def test_a_pair_makes_a_page_called_as_its_output(dcdr):
    done = dcdr("view", "sdr/a.png", "hdr/a.exr")
    size = Path("a.html").stat().st_size
    assert (done.exit_code, done.stdout, done.stderr) == (
        0,
        f"a.html  1 picture  {size / 1000:.0f} kB\n",
        "1/1 a.exr\n",
    )


def test_folders_make_one_page(dcdr):
    done = dcdr("view", "sdr", "hdr", "-o", "out/page.html", "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["bytes"] == Path("out/page.html").stat().st_size
    assert [each["name"] for each in report["pictures"]] == ["a", "b"]
    assert [each["input"] for each in report["pictures"]] == ["sdr/a.png", None]


def test_smaller_pictures_are_told_unless_their_size_was_asked_for(dcdr, monkeypatch):
    monkeypatch.setattr(page, "PIXELS_OF_A_PAGE", 500)
    done = dcdr("view", "sdr/a.png", "hdr/a.exr", "hdr/b.exr")
    assert "2 of 2 pictures averaged down to an edge of at most 18 pixels" in done.stderr
    assert "--max-edge says otherwise" in done.stderr
    assert "averaged" not in dcdr("view", "hdr/b.exr", "--max-edge", "20").stderr


def test_a_broken_picture_of_several_is_told_and_left_out(dcdr):
    Path("hdr/a.exr").write_bytes(Path("hdr/a.exr").read_bytes()[:200])
    done = dcdr("view", "hdr")
    assert done.exit_code == 3
    assert "failed: hdr/a.exr: " in done.stderr
    assert done.stdout.startswith("view.html  1 picture  ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nix.exr",), "nix.exr: no such file"),
        (("sdr/a.png",), "has 8 bits a sample, which is SDR"),
        (("sdr/a.png", "hdr"), "hdr: is a folder among files"),
        (("hdr/a.exr", "-o", "a.pdf"), "a.pdf: a page is written as .html"),
        (("hdr/a.exr", "--reference-white", "0"), "--reference-white = 0"),
        (("hdr/a.exr", "--exposure", "9"), "--exposure = 9"),
        (("hdr/a.exr", "--max-edge", "1"), "--max-edge = 1"),
        (("hdr/a.exr", "--full-scale", "nan"), "--full-scale = nan"),
        (("hdr/a.exr", "-o", "hdr/a.exr/x.html"), "cannot be written"),
        ((), "HDR"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(dcdr, arguments, message):
    done = dcdr("view", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]
    assert not list(Path().rglob("*.html"))
