"""``run --ray``: a cluster of its own, started and stopped; and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_a_cluster_of_its_own_comes_and_goes(tmp_path, make_picture, tiny_model):
    pytest.importorskip("ray")
    for number in range(3):
        make_picture(tmp_path / "photos" / f"{number}.png", level=255)
    (tmp_path / "photos" / "bad.png").write_bytes(b"no picture")
    temporary = tmp_path / "t"
    temporary.mkdir()
    command = [sys.executable, "-m", "dcdr_deploy", "run", "photos", "hdr", "--ray", "local", "-m", str(tiny_model)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    environment = {name: value for name, value in environment.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [*command, "--backend", "onnxruntime", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]  # nothing of Ray's among the results
    assert sorted(line["status"] for line in told) == ["converted"] * 3 + ["failed"]
    assert "3 converted into hdr; 1 failed, listed in hdr/failures.jsonl" in done.stderr
    assert sorted(path.name for path in (tmp_path / "hdr").glob("*.exr")) == ["0.exr", "1.exr", "2.exr"]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--actors", "2"), "--actors is for runs over a cluster; name one with --ray"),
        (("--ray", "local", "--actors", "0"), "--actors must be 1 to 10000, not 0"),
        (("--ray", "local", "--gpus-per-actor", "1.5"), "--gpus-per-actor must be 0 to 1"),
        (("--ray", "local", "--actors", "many"), "'many' is not a valid integer"),
    ],
)
def test_wrong_values_are_one_line_and_exit_2(dcdr, make_picture, options, said):
    make_picture(Path("photos", "a.png"))
    result = dcdr("run", "photos", "hdr", *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not Path("hdr").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [(("--crf", "20"), "--crf is for videos; leave it out"), (("--format", "mkv"), "--format mkv is for videos")],
)
def test_what_is_for_videos_is_refused_for_pictures_at_addresses(dcdr, make_picture, tmp_path, option, said):
    make_picture(Path("photos", "a.png"))
    result = dcdr("run", (tmp_path / "photos").as_uri(), "hdr", "--ray", "local", *option)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not Path("hdr").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 ("),
        ("10.0.0.1", "--ray '10.0.0.1': give local, auto, or HOST:PORT"),
        ("ray://10.0.0.1:10001", "--ray 'ray://10.0.0.1:10001': give local, auto, or HOST:PORT"),
    ],
)
def test_an_address_at_which_no_cluster_is_costs_no_time(dcdr, make_picture, address, said):
    pytest.importorskip("ray")
    make_picture(Path("photos", "a.png"))
    result = dcdr("run", "photos", "hdr", "--ray", address)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert not Path("hdr").exists()


def test_one_picture_is_refused(dcdr, make_picture):
    make_picture(Path("a.png"))
    result = dcdr("run", "a.png", "a.exr", "--ray", "local")
    assert (result.exit_code, result.stderr) == (2, "error: a.png: is one picture; --ray is for folders and videos\n")


def test_frames_as_pictures_are_refused(dcdr):
    pytest.importorskip("av")
    from videos import Clip, write_clip

    write_clip(Path("film.mp4"), Clip(frames=2))
    result = dcdr("run", "film.mp4", "shot.%06d.exr", "--ray", "local")
    said = "error: film.mp4: --ray makes one video of a video, no pictures; name an .mkv, .mp4 or .mov\n"
    assert (result.exit_code, result.stderr) == (2, said)


def test_a_missing_package_is_told_with_its_install_line(dcdr, make_picture, monkeypatch):
    make_picture(Path("photos", "a.png"))
    monkeypatch.setitem(sys.modules, "ray", None)
    result = dcdr("run", "photos", "hdr", "--ray", "auto")
    assert result.exit_code == 2
    assert "--ray needs the package ray: pip install" in result.stderr
