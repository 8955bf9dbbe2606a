"""The page as a file: whole, self-contained, safe whatever its pictures are called."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from ear import Ear
from PIL import Image

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging import write_image
from dcdr_deploy.view import page
from dcdr_deploy.view.page import PIXELS_OF_A_PAGE, SCRIPTS, PageSettings, place_of_page, write_page
from dcdr_deploy.view.pairs import Files

ASSETS = Path(page.__file__).parent / "assets"


@pytest.fixture
def pair(tmp_path) -> Files:
    """A picture of 24 x 32 pixels and its input."""
    write_image(tmp_path / "a.exr", np.full((24, 32, 3), 0.25, np.float32), peak=8, metadata={"model": "<i>M</i>"})
    Image.new("RGB", (32, 24), (200, 100, 50)).save(tmp_path / "a.png")
    return Files("a", tmp_path / "a.exr", tmp_path / "a.png")


def written(pictures: list[Files], output: Path, **settings) -> str:
    write_page(pictures, output, PageSettings(**settings))
    return output.read_text(encoding="utf-8")


def settings_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="settings">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_holds_its_pictures_and_what_they_are(pair, tmp_path):
    text = written([pair], tmp_path / "page.html", reference_white=100, exposure=-1.5)
    told = settings_of(text)
    (picture,) = told["pictures"]
    assert (told["referenceWhite"], told["exposure"]) == (100, -1.5)
    assert (picture["width"], picture["height"], picture["aboveWhite"]) == (32, 24, 1)
    assert "up to 200 cd/m²" in picture["line"]
    assert 'id="picture-0-light"' in text
    assert 'id="picture-0-input"' in text


def test_only_the_pages_own_script_and_style_may_run(pair, tmp_path):
    text = written([pair], tmp_path / "page.html")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; ")
    for element in ("script", "style"):
        body = re.search(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy


def test_names_are_text_and_never_markup(pair, tmp_path):
    nasty = "</script><script>alert('1')</script>"
    other = Files("a\udcff", pair.hdr, pair.sdr)
    text = written([Files(nasty, pair.hdr, pair.sdr), other, other], tmp_path / "page.html")
    names = [each["name"] for each in settings_of(text)["pictures"]]
    assert names == [nasty, "a\ufffd", "a\ufffd (2)"]
    assert "<script>alert" not in text
    alone = written([Files(nasty, pair.hdr)], tmp_path / "page.html")
    assert f"<title>{html.escape(nasty)}</title>" in alone


def test_every_asset_is_on_the_page_and_no_placeholder_is_left(pair, tmp_path):
    assert {path.name for path in ASSETS.iterdir()} == {*SCRIPTS, "page.html", "page.css"}
    text = written([pair], tmp_path / "page.html")
    for name in (*SCRIPTS, "page.css"):
        assert (ASSETS / name).read_text(encoding="utf-8") in text
    for placeholder in re.findall(r"\{\w+\}", (ASSETS / "page.html").read_text(encoding="utf-8")):
        assert placeholder not in text.replace((ASSETS / "page.css").read_text(encoding="utf-8"), "")


def test_pictures_of_a_page_share_its_pixels():
    settings = PageSettings()
    assert settings.size_on_page((2160, 3840), 1) == (2160, 3840)
    assert settings.size_on_page((4320, 7680), 1) == settings.size_on_page((4320, 7680), 2) == (2160, 3840)
    height, width = settings.size_on_page((4000, 6000), 4)
    assert height * width <= PIXELS_OF_A_PAGE / 4
    assert height / width == pytest.approx(2 / 3, rel=2e-3)
    assert settings.size_on_page((427, 640), 12) == (427, 640)
    assert max(settings.size_on_page((100, 20000), 1)) == 4096
    assert PageSettings(max_edge=500).size_on_page((4000, 6000), 1) == (333, 500)
    assert PageSettings(max_edge=9000).size_on_page((4000, 6000), 1) == (4000, 6000)


def test_a_smaller_picture_says_what_it_was(pair, tmp_path):
    report = write_page([pair], tmp_path / "page.html", PageSettings(max_edge=16))
    (picture,) = report.pictures
    assert (picture.size, picture.shown) == ((24, 32), (12, 16))
    told = settings_of((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "32 × 24, shown at 16 × 12" in told["pictures"][0]["line"]
    assert report.size == (tmp_path / "page.html").stat().st_size


def test_a_picture_that_cannot_be_read_is_left_out_and_told(pair, tmp_path):
    (tmp_path / "b.exr").write_bytes(pair.hdr.read_bytes()[:300])
    broken, ear = Files("b", tmp_path / "b.exr"), Ear()
    report = write_page([broken, pair], tmp_path / "page.html", listener=ear)
    assert [each.name for each in report.pictures] == ["a"]
    assert len(report.failures) == 1
    assert "b.exr" in report.failures[0]
    assert ear.steps[-1] == (2, 2)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'id="picture-0-light"' in text
    assert 'id="picture-1-light"' not in text
    with pytest.raises(InputError, match=r"b\.exr"):
        write_page([broken], tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"reference_white": 0},
        {"reference_white": float("nan")},
        {"exposure": 9},
        {"exposure": float("nan")},
        {"max_edge": 3},
    ],
)
def test_a_value_out_of_range_is_refused(wrong):
    with pytest.raises(InputError, match=f"`{next(iter(wrong))}`"):
        PageSettings(**wrong)


def test_an_older_page_survives_and_inputs_are_not_written_over(pair, tmp_path):
    (tmp_path / "page.html").write_text("older")
    (tmp_path / "bad.exr").write_bytes(b"\x76\x2f\x31\x01")
    with pytest.raises(InputError):
        write_page([Files("bad", tmp_path / "bad.exr")], tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "older"
    with pytest.raises(OutputError, match=r"\.html"):
        write_page([pair], pair.hdr)
    (tmp_path / "in.html").write_bytes(pair.sdr.read_bytes())
    with pytest.raises(InputError, match="overwritten"):
        write_page([Files("a", pair.hdr, tmp_path / "in.html")], tmp_path / "in.html")


def test_a_page_is_called_as_its_picture(pair, tmp_path):
    assert place_of_page([pair], None) == Path("a.html")
    assert place_of_page([pair, pair], None) == Path("view.html")
    assert place_of_page([pair], tmp_path) == tmp_path / "a.html"
    assert place_of_page([pair], tmp_path / "new.html") == tmp_path / "new.html"


def luminance(colour: str) -> float:
    code = int(colour[1:3], 16) / 255
    return code / 12.92 if code <= 0.04045 else ((code + 0.055) / 1.055) ** 2.4


def test_the_pages_own_colours_are_neutral_and_its_text_is_legible():
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    colours = re.findall(r"#([0-9a-f]{6})\b", style)
    assert len(colours) > 10
    assert all(each[:2] == each[2:4] == each[4:] for each in colours)
    names = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", style))
    for ink in ("ink", "faint", "strong"):  # WCAG 2.2, 1.4.3
        for ground in ("panel", "raised", "stage"):
            assert (luminance(names[ink]) + 0.05) / (luminance(names[ground]) + 0.05) >= 4.5
