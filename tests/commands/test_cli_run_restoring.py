"""`dcdr-deploy run`: working scale, dials, gain map, and what each file's line and metadata say of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from PIL import Image

ORT = ("--backend", "onnxruntime")


@pytest.fixture
def blown(tmp_path) -> Path:
    """A picture of mid-gray with a blown quarter, 80 x 60; the tiny model finds it four times as bright as white."""
    codes = np.full((60, 80, 3), 120, np.uint8)
    codes[:30, :40] = 255
    Image.fromarray(codes).save(tmp_path / "blown.png")
    return tmp_path / "blown.png"


@pytest.fixture
def convert(dcdr, tiny_model, blown):
    """``convert(*options)``: the light (H, W, 3) and the JSON that it gives."""

    def call(*options: object) -> tuple[np.ndarray, dict]:
        done = dcdr("run", blown, "out.exr", "--json", "--float", "-m", tiny_model, *ORT, *options)
        assert done.exit_code == 0, done.stderr
        with OpenEXR.File("out.exr") as file:
            return np.array(file.channels()["RGB"].pixels), json.loads(done.stdout)

    return call


def test_the_line_says_what_was_recovered(dcdr, tiny_model, blown):
    line = dcdr("run", blown, "out.exr", "-m", tiny_model, *ORT).stdout
    assert line.endswith("25.0% clipped, 2.0 stops recovered, mostly guessed\n")


def test_the_line_says_where_nothing_was_recovered(dcdr, tiny_model, blown):
    line = dcdr("run", blown, "out.exr", "--strength", "0", "-m", tiny_model, *ORT).stdout
    assert line.endswith("25.0% clipped, nothing recovered\n")


def test_json_says_it_in_fields(convert):
    _, data = convert("--scale", "64", "--max-boost", "1.5")
    assert (data["clipped_share"], data["recovery"]) == (0.25, "mostly guessed")
    assert data["stops_recovered"] == pytest.approx(1.36, abs=0.02)  # 2 stops through the shoulder
    assert (data["scale"], data["working_sizes"], data["dials"]) == ("64", [[48, 64]], {"max_boost": 1.5})


def test_verbose_says_at_which_size_the_network_worked(dcdr, tiny_model, blown, make_picture):
    assert (
        "scale 64, network at 64x48, strength 0.5"
        in dcdr("run", blown, "out.exr", "-v", "--scale", "64", "--strength", "0.5", "-m", tiny_model, *ORT).stderr
    )
    sound = make_picture(Path("sound.png"))
    assert "network not needed" in dcdr("run", sound, "out.exr", "-v", "-m", tiny_model, *ORT).stderr


def test_the_dials_reach_the_picture(convert):
    plain, _ = convert()
    assert plain[10, 10] == pytest.approx([4, 4, 4], rel=1e-3)
    sdr, _ = convert("--strength", "0")
    assert sdr[10, 10].tolist() == [1, 1, 1]
    assert convert("--exposure", "-1")[0][50, 70] == pytest.approx(plain[50, 70] / 2, rel=1e-5)
    assert 2 < convert("--max-boost", "1.5")[0][10, 10, 0] < 2**1.5


def test_native_writes_the_networks_own_numbers(convert):
    light, data = convert("--scale", "native")
    assert light[50, 70] == pytest.approx(np.full(3, 120 / 255 * 4), rel=1e-3)  # half the code, times the peak
    assert data["scale"] == "native"


def test_scale_and_dials_are_in_the_files_header_and_inspect_shows_them(dcdr, tiny_model, blown):
    dials = ("--saturation", "0.5", "--protect-below", "200", "--exposure", "-1.5", "--max-boost", "2")
    for name in ("out.exr", "out.hdr", "out.png", "out.tif"):
        done = dcdr("run", blown, name, "--scale", "64", *dials, "-m", tiny_model)
        assert done.exit_code == 0, done.stderr
        shown = dcdr("inspect", name).stdout.lower()
        assert "kind: picture" in shown
        for fact in ("scale: 64", "workingsize: 64x48", "model: gain net"):
            assert fact in shown
        for fact in ("saturation: 0.5", "protectbelow: 200", "exposure: -1.5", "maxboost: 2"):
            assert fact in shown


def test_the_gain_can_be_kept_beside_the_picture(dcdr, tiny_model, blown):
    done = dcdr("run", blown, "out.exr", "--gain-map", "maps/gain.exr", "-m", tiny_model, *ORT)
    assert "gain map maps" in done.stdout
    with OpenEXR.File("maps/gain.exr") as file:
        stops, header = np.array(file.channels()["RGB"].pixels), dict(file.header())
    assert stops.dtype == np.float16
    assert stops[10, 10].astype(float) == pytest.approx([2, 2, 2], abs=0.01)
    assert not stops[50, 70].any()
    assert header["colorInteropID"] == "data"


def test_a_folder_run_keeps_gains_in_a_folder_and_makes_those_that_lack(dcdr, tiny_model, blown, tmp_path):
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    blown.rename(tmp_path / "photos" / "sub" / "a.png")
    arguments = ("run", "photos", "hdr", "-r", "--format", "tif", "--gain-map", "gains", "-m", tiny_model, *ORT)
    assert dcdr(*arguments).exit_code == 0
    (tmp_path / "gains" / "sub" / "a.exr").unlink()
    assert "1 converted" in dcdr(*arguments).stderr
    assert (tmp_path / "gains" / "sub" / "a.exr").is_file()
    assert "1 unchanged" in dcdr(*arguments).stderr


@pytest.mark.parametrize("turned", [("--strength", "0.5"), ("--scale", "64")])
def test_another_scale_or_dial_converts_a_folder_again(dcdr, tiny_model, blown, tmp_path, turned):
    (tmp_path / "photos").mkdir()
    blown.rename(tmp_path / "photos" / "a.png")
    arguments = ("run", "photos", "hdr", "-m", tiny_model, *ORT)
    assert "1 converted" in dcdr(*arguments).stderr
    assert "1 unchanged" in dcdr(*arguments).stderr
    assert "1 converted" in dcdr(*arguments, *turned).stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--scale", "half"), "scale 'half' is not known; use auto, native, a fraction such as 1/2"),
        (("--scale", "8"), "too small; use at least 64"),
        (("--scale", "3/2"), "at most 1"),
        (("--strength", "3"), "strength must be 0 to 2, not 3"),
        (("--exposure", "nan"), "exposure must be -16 to 16"),
        (("--max-boost", "0"), "max boost must be 0.01 to 100, not 0"),
        (("--saturation", "-1"), "saturation must be 0 to 2"),
        (("--protect-below", "255"), "protect below must be 0 to 253"),
        (("--gain-map", "gain.png"), "gain.png: a gain map is written as .exr"),
        (("--gain-map", "out.exr"), "out.exr: input and outputs cannot be the gain map too"),
    ],
)
def test_a_bad_value_is_one_line_and_nothing_is_written(dcdr, tiny_model, blown, options, words):
    done = dcdr("run", blown, "out.exr", "-m", tiny_model, *ORT, *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not Path("out.exr").exists()
    assert not Path("gain.png").exists()


def test_gain_maps_of_a_folder_need_a_folder_of_their_own(dcdr, tiny_model, blown, tmp_path):
    (tmp_path / "photos").mkdir()
    blown.rename(tmp_path / "photos" / "a.png")
    done = dcdr("run", "photos", "hdr", "--gain-map", "hdr", "-m", tiny_model, *ORT)
    assert (done.exit_code, "need a folder of their own" in done.stderr) == (2, True)
