"""A folder run that is started again does what is missing, and no more."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from ear import Ear
from run_results import converted

from dcdr_deploy.engines.choice import load_engine
from dcdr_deploy.errors import OutputError
from dcdr_deploy.imaging.light import Light
from dcdr_deploy.imaging.write import WriteOptions
from dcdr_deploy.run.dials import Dials
from dcdr_deploy.run.events import FilesFound
from dcdr_deploy.run.folder import convert_folder
from dcdr_deploy.run.manifest import MANIFEST_NAME
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.runner import Runner

EXR = ConvertOptions()


def test_a_second_run_has_nothing_to_do(photos, finished, runner):
    report = convert_folder(photos, finished, runner)
    assert report.files == ()
    assert {path.name for path in report.unchanged} == {"Frame1.exr", "frame2.exr", "frame10.exr"}


def test_a_first_run_does_not_read_all_inputs_before_it_begins(tmp_path, photos, runner, monkeypatch):
    read, read_at_the_start = [], []
    monkeypatch.setattr("dcdr_deploy.run.manifest.file_sha256", lambda path: read.append(path.name) or "0" * 64)

    def listener(event):
        if isinstance(event, FilesFound):
            read_at_the_start.extend(name for name in read if name.startswith(("frame", "Frame")))

    convert_folder(photos, tmp_path / "hdr", runner, listener=listener)
    assert read_at_the_start == []
    assert {"Frame1.bmp", "frame2.png", "frame10.jpg"} <= set(read)


def test_overwrite_converts_all_again(photos, finished, runner):
    report = convert_folder(photos, finished, runner, overwrite=True)
    assert len(report.files) == 3
    assert report.unchanged == ()


def test_a_changed_input_is_converted_again(photos, finished, runner, make_picture):
    make_picture(photos / "frame2.png", level=200, size=(8, 8))
    assert converted(convert_folder(photos, finished, runner)) == {"frame2.png"}


def test_another_picture_of_the_same_size_and_time_is_converted_again(photos, finished, runner):
    path = photos / "Frame1.bmp"
    times, content = path.stat(), bytearray(path.read_bytes())
    content[-4] ^= 0x40
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert converted(convert_folder(photos, finished, runner)) == {"Frame1.bmp"}


def test_a_picture_that_was_only_touched_is_not(photos, finished, runner):
    os.utime(photos / "frame2.png", ns=(1, 1))
    assert convert_folder(photos, finished, runner).files == ()


def test_a_picture_of_the_same_name_from_another_folder_replaces_the_first_and_says_so(
    tmp_path, photos, finished, runner, make_picture
):
    ear = Ear()
    make_picture(tmp_path / "more" / "frame2.png", level=200, size=(8, 8))
    report = convert_folder(tmp_path / "more", finished, runner, listener=ear)
    assert converted(report) == {"frame2.png"}
    before, now = photos / "frame2.png", tmp_path / "more" / "frame2.png"
    assert ear.notes == [f"{finished / 'frame2.exr'}: was made of {before}; {now} replaces it"]


def test_a_copy_of_the_folder_has_nothing_to_do_and_replaces_nothing(tmp_path, photos, finished, runner):
    ear = Ear()
    report = convert_folder(shutil.copytree(photos, tmp_path / "copy"), finished, runner, listener=ear)
    assert report.files == ()
    assert ear.notes == []


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b""), lambda path: os.truncate(path, 100)])
def test_an_output_of_another_size_than_was_written_is_made_again(photos, finished, runner, spoil):
    spoil(finished / "frame2.exr")
    assert converted(convert_folder(photos, finished, runner)) == {"frame2.png"}
    assert convert_folder(photos, finished, runner).files == ()


def test_lines_are_not_appended_through_a_link(tmp_path, photos, runner):
    (tmp_path / "hdr").mkdir()
    (tmp_path / "hdr" / MANIFEST_NAME).symlink_to(tmp_path / "victim")
    with pytest.raises(OutputError, match="cannot be written"):
        convert_folder(photos, tmp_path / "hdr", runner)
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("name", [b"\xff", "画像" * 20], ids=["no UTF-8", "long"])
def test_any_legal_name_is_converted(tmp_path, runner, make_picture, name):
    folder = tmp_path / "odd"
    made = make_picture(folder / "a.png", size=(8, 8))
    for number in range(4):
        made.with_name(f"{os.fsdecode(name)}{number}.png").write_bytes(made.read_bytes())
    report = convert_folder(folder, tmp_path / "out", runner)
    assert (len(report.files), report.failures) == (5, ())
    assert convert_folder(folder, tmp_path / "out", runner).files == ()


def test_a_new_input_is_converted(photos, finished, runner, make_picture):
    make_picture(photos / "new.png")
    assert converted(convert_folder(photos, finished, runner)) == {"new.png"}


def test_an_output_that_is_gone_is_made_again(photos, finished, runner):
    (finished / "frame2.exr").unlink()
    assert converted(convert_folder(photos, finished, runner)) == {"frame2.png"}


@pytest.mark.parametrize(
    "options",
    [
        ConvertOptions(WriteOptions(float32=True)),
        ConvertOptions(WriteOptions("piz")),
        ConvertOptions(format="hdr"),
        ConvertOptions(WriteOptions(light=Light(primaries="acescg"))),
        ConvertOptions(WriteOptions(light=Light(tag="scene"))),
        ConvertOptions(WriteOptions(light=Light(reference_white=100))),
    ],
)
def test_other_write_options_convert_all_again(photos, finished, runner, options):
    assert len(convert_folder(photos, finished, runner, options).files) == 3


@pytest.mark.parametrize("tiles", [{"tile": 64}, {"overlap": 2}])
def test_other_tiles_convert_all_again(photos, finished, runner, tiles):
    assert len(convert_folder(photos, finished, Runner(runner.engine, **tiles)).files) == 3


def test_a_batch_of_tiles_makes_no_difference(photos, finished, runner):
    assert convert_folder(photos, finished, Runner(runner.engine, batch=4)).files == ()


def test_other_weights_convert_all_again(tmp_path, photos, finished, write_tiny_model):
    other = write_tiny_model(tmp_path / "other" / "gain.onnx", gain=0.25)
    with load_engine(other, "onnxruntime") as engine:
        assert len(convert_folder(photos, finished, Runner(engine)).files) == 3


def test_another_version_converts_all_again(photos, finished, runner, monkeypatch):
    monkeypatch.setattr("dcdr_deploy.run.manifest.__version__", "99")
    assert len(convert_folder(photos, finished, runner).files) == 3


def test_a_preview_asked_for_later_is_made_and_one_more_than_asked_for_does_no_harm(photos, finished, runner):
    with_previews = ConvertOptions(preview=True)
    assert len(convert_folder(photos, finished, runner, with_previews).files) == 3
    assert convert_folder(photos, finished, runner, EXR).files == ()
    (finished / "frame2.preview.png").unlink()
    assert converted(convert_folder(photos, finished, runner, with_previews)) == {"frame2.png"}


def test_a_gain_map_of_an_earlier_run_with_other_settings_is_made_again(tmp_path, photos, runner):
    """Dial, gain maps; another dial, none; the second dial, gain maps: those of the first lie there."""

    def convert(strength, maps):
        options = ConvertOptions(dials=Dials(strength=strength), gain_map=tmp_path / "maps" if maps else None)
        return converted(convert_folder(photos, tmp_path / "hdr", runner, options))

    everything = {"Frame1.bmp", "frame2.png", "frame10.jpg"}
    assert convert(1.0, maps=True) == everything
    assert convert(1.0, maps=False) == convert(1.0, maps=True) == set()
    assert convert(0.5, maps=False) == convert(0.5, maps=True) == everything
    (tmp_path / "maps" / "frame2.exr").unlink()
    assert convert(0.5, maps=True) == {"frame2.png"}
    assert convert(0.5, maps=True) == set()


def test_two_input_folders_can_share_an_output_folder(tmp_path, photos, finished, runner, make_picture):
    make_picture(tmp_path / "more" / "other.png")
    convert_folder(tmp_path / "more", finished, runner)
    assert convert_folder(photos, finished, runner).files == ()
    assert convert_folder(tmp_path / "more", finished, runner).files == ()


def test_a_damaged_manifest_costs_only_the_lines_that_are_damaged(photos, finished, runner):
    manifest = finished / MANIFEST_NAME
    lines = manifest.read_text().splitlines()
    lost = Path(json.loads(lines[-1])["input"]).name
    odd = json.dumps({**json.loads(lines[0]), "output": []})
    manifest.write_text("\n".join(["no json", '{"output": "x"}', "[" * 5000, odd, *lines[:-1], lines[-1][:20]]))
    assert converted(convert_folder(photos, finished, runner)) == {lost}
    assert [json.loads(line)["output"] for line in manifest.read_text().splitlines()]
    assert convert_folder(photos, finished, runner).files == ()


def test_a_manifest_without_its_last_line_break_is_mended(photos, finished, runner, make_picture):
    manifest = finished / MANIFEST_NAME
    manifest.write_text(manifest.read_text().rstrip("\n"))
    make_picture(photos / "new.png")
    assert "new.png" in converted(convert_folder(photos, finished, runner))
    assert convert_folder(photos, finished, runner).files == ()
