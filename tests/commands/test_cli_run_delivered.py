"""Files for viewing on the command line: written, told of, resumed, and refused in one line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcdr_deploy.imaging.ultrahdr import segments

pytest.importorskip("imagecodecs")

NATIVE = ("--scale", "native", "--backend", "onnxruntime")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    y, x = np.mgrid[0:32, 0:48]
    path = tmp_path / "in.jpg"
    Image.fromarray(np.stack([5 * x, 7 * y, 2 * (x + y)], axis=-1).astype(np.uint8)).save(path, quality=95)
    return path


@pytest.mark.parametrize("name", ["out.jpg", "out.jpeg", "out.avif", "out.jxl", "out.heic"])
def test_each_suffix_gives_its_file(dcdr, photo, tiny_model, name):
    if name.endswith("heic"):
        pytest.importorskip("pillow_heif")
    done = dcdr("run", photo.name, name, "-m", tiny_model, *NATIVE)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{name}  48x32")
    head = Path(name).read_bytes()[:12]
    assert head[:2] == b"\xff\xd8" or head[4:8] in (b"ftyp", b"JXL ")


def test_a_folder_of_photographs_becomes_ultra_hdr_files_of_the_same_names_and_is_resumed(dcdr, photo, tiny_model):
    (photo.parent / "photos").mkdir()
    photo.rename(photo.parent / "photos" / "a.jpg")
    arguments = ("run", "photos", "share", "--format", "jpg", "-m", tiny_model, *NATIVE)
    assert dcdr(*arguments).exit_code == 0
    before, after = (segments.split(Path(folder, "a.jpg").read_bytes()) for folder in ("photos", "share"))
    assert after.scans == before.scans
    again = dcdr(*arguments)
    assert (again.exit_code, again.stdout) == (0, "")
    assert "1 unchanged" in again.stderr
    assert "1 converted" in dcdr(*arguments, "--quality", 80).stderr


def test_options_reach_the_encoder(dcdr, photo, tiny_model):
    av = pytest.importorskip("av")
    done = dcdr(
        "run", photo.name, "out.avif", "-m", tiny_model, *NATIVE, "--bits", 12, "--quality", 100, "--transfer", "hlg",
        "--primaries", "p3", "--speed", "slow",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    with av.open("out.avif") as file:
        frame = next(file.decode(video=0))
    assert (frame.format.name, frame.color_primaries, frame.color_trc) == ("gbrp12le", 12, 18)


@pytest.mark.parametrize(("arguments", "said"), [
    (["out.heic", "--bits", "12"], "error: out.heic: .heic has no --bits; leave it out, or write another format"),
    (["out.exr", "--quality", "90"], "error: out.exr: .exr has no --quality; leave it out, or write another format"),
    (["out.avif", "--quality", "0"], "error: quality must be 1 to 100, not 0"),
    (["out.avif", "--transfer", "linear"], "error: out.avif: .avif cannot hold --transfer linear; it has pq, hlg"),
    (["in.jpg"], "error: in.jpg: would be overwritten by its own output; choose another name or folder"),
])  # fmt: skip
def test_what_cannot_be_is_one_line_and_exit_2(dcdr, photo, tiny_model, arguments, said):
    before = photo.read_bytes()
    done = dcdr("run", photo.name, *arguments, "-m", tiny_model)
    assert (done.exit_code, done.stderr.strip()) == (2, said)
    assert photo.read_bytes() == before


def test_a_missing_package_is_told_before_a_model_is_loaded(dcdr, photo, monkeypatch):
    monkeypatch.setattr("dcdr_deploy.imaging.writers.base.installed", lambda name: False)
    done = dcdr("run", photo.name, "out.avif", "-m", "not-there.onnx")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: out.avif: .avif needs the package imagecodecs; pip install ")


def test_exif_stays_in_the_base_and_turns_both_pictures(dcdr, photo, tiny_model):
    exif = Image.Exif()
    exif[271], exif[274] = "Camera", 6
    with Image.open(photo) as image:
        image.save("turned.jpg", exif=exif, quality=95)
    assert dcdr("run", "turned.jpg", "out.jpg", "-m", tiny_model, *NATIVE).exit_code == 0
    data = Path("out.jpg").read_bytes()
    with Image.open(io.BytesIO(data)) as base, Image.open(io.BytesIO(segments.split(data).beyond)) as gain:
        assert (base.getexif()[271], base.getexif()[274]) == ("Camera", 6)
        assert base.size == gain.size == (48, 32)
        assert 274 not in gain.getexif()


@pytest.mark.parametrize("name", ["out.jpg", "out.avif"])
def test_inspect_says_what_made_the_file(dcdr, photo, tiny_model, name):
    assert dcdr("run", photo.name, name, "-m", tiny_model, *NATIVE).exit_code == 0
    said = json.loads(dcdr("inspect", name, "--json").stdout)
    assert (said["width"], said["height"]) == (48, 32)
    assert (said["metadata"]["model"], said["metadata"]["source"]) == ("gain net", "in.jpg")
    assert dcdr("inspect", photo.name).stderr.startswith(
        "error: in.jpg: is SDR and has no gain map; give the HDR picture"
    )
