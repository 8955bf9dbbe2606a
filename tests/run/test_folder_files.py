"""Folder runs: which files are taken, how outputs are named, which folders cannot work."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from ear import Ear
from on_gpu import Meeting, bright_engine_on_gpu
from run_results import files_below

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.run import preprocessing
from dcdr_deploy.run.events import FileBegun
from dcdr_deploy.run.folder import convert_folder
from dcdr_deploy.run.jobs import name_outputs, plan_folder
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.system import hardware

EXR = ConvertOptions()


# Which files, and their names


def test_every_picture_is_converted_in_natural_order(tmp_path, photos, runner):
    ear = Ear()
    report = convert_folder(photos, tmp_path / "hdr", runner, listener=ear)
    assert [event.source.name for event in ear.of(FileBegun)] == ["Frame1.bmp", "frame2.png", "frame10.jpg"]
    assert files_below(tmp_path / "hdr") == {"Frame1.exr", "frame2.exr", "frame10.exr"}
    assert (report.unchanged, report.failures, report.failures_file) == ((), (), None)


def test_beside_a_gpu_pictures_are_made_ready_for_the_network_several_at_a_time(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(hardware, "cpu_threads", lambda: 3)
    with bright_engine_on_gpu() as engine:
        convert_folder(photos, tmp_path / "one", Runner(engine), EXR)
        meeting = Meeting(preprocessing.average_down, 3)
        monkeypatch.setattr(preprocessing, "average_down", meeting)
        convert_folder(photos, tmp_path / "three", Runner(engine), EXR)
    assert threading.current_thread() not in meeting.threads
    for name in ("Frame1.exr", "frame2.exr", "frame10.exr"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "three" / name).read_bytes()


def test_hidden_files_other_files_and_previews_are_left_out(tmp_path, photos, runner, make_picture):
    for name in (".hidden.png", "old.preview.png", ".cache/a.png"):
        make_picture(photos / name)
    os.mkfifo(photos / "pipe.png")
    plan = plan_folder(photos, tmp_path / "hdr", EXR, recursive=True)
    assert [job.name for job in plan.jobs] == ["Frame1.exr", "frame2.exr", "frame10.exr"]
    (note,) = plan.notes
    assert note.startswith(f"{photos}: 1 file named *.preview.png or *.sheet.png left out: ")


def test_a_picture_that_is_only_called_like_a_preview_is_not_replaced(photos, runner, make_picture):
    theirs = make_picture(photos / "frame2.preview.png")
    before = theirs.read_bytes()
    with pytest.raises(InputError, match=r"frame2\.preview\.png: is a picture that dcdr-deploy has not written"):
        convert_folder(photos, photos, runner, ConvertOptions(preview=True))
    assert theirs.read_bytes() == before


def test_a_render_of_another_program_in_the_place_of_an_output_is_kept(tmp_path, photos, runner):
    theirs = tmp_path / "comp" / "frame2.exr"
    theirs.parent.mkdir()
    theirs.write_bytes(b"\x76\x2f\x31\x01" + bytes(500))
    for options in (EXR, ConvertOptions(preview=True)):
        with pytest.raises(InputError, match=r"frame2\.exr: is a picture that dcdr-deploy has not written"):
            convert_folder(photos, tmp_path / "comp", runner, options)
    assert files_below(tmp_path / "comp") == {"frame2.exr"}
    assert theirs.stat().st_size == 504


def test_what_is_not_taken_is_counted_by_suffix(tmp_path, photos, runner):
    for name in ("x.cr2", "y.CR2", "z.gif", "clip.mp4", "notes.txt", "README", ".hidden.gif"):
        (photos / name).write_bytes(b"x")
    plan = plan_folder(photos, tmp_path / "hdr", EXR, recursive=False)
    (note,) = plan.notes
    assert note.startswith(f"{photos}: 1 without suffix, 2 .cr2, 1 .gif, 1 .mp4, 1 .txt left out; give an 8- or 16-bit")
    assert note.endswith("; `output_format` mkv converts the videos, in a run of their own")
    assert plan.left_out == {"": 1, ".cr2": 2, ".gif": 1, ".mp4": 1, ".txt": 1}
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone/x.cr2").write_bytes(b"x")
    with pytest.raises(InputError, match=r"phone: holds no pictures \(.*\), only 1 \.cr2"):
        convert_folder(tmp_path / "phone", tmp_path / "hdr", runner)


def test_what_an_earlier_run_wrote_into_the_same_folder_is_not_counted(photos, runner):
    convert_folder(photos, photos, runner)
    plan = plan_folder(photos, photos, EXR, recursive=False)
    assert (plan.notes, plan.left_out) == ((), {})


def test_subfolders_are_taken_with_recursive_only_and_mirrored(tmp_path, photos, runner, make_picture):
    make_picture(photos / "day 1" / "morning" / "a.png")
    assert len(convert_folder(photos, tmp_path / "flat", runner).files) == 3
    convert_folder(photos, tmp_path / "tree", runner, ConvertOptions(preview=True), recursive=True)
    assert "day 1/morning/a.exr" in files_below(tmp_path / "tree")
    assert "day 1/morning/a.preview.png" in files_below(tmp_path / "tree")


def test_an_output_folder_inside_the_input_folder_is_no_input(photos, runner):
    target = photos / "hdr"
    options = ConvertOptions(format="tif")
    assert len(convert_folder(photos, target, runner, options, recursive=True).files) == 3
    again = convert_folder(photos, target, runner, options, recursive=True)
    assert (len(again.files), len(again.unchanged)) == (0, 3)


def test_outputs_may_lie_beside_their_inputs_unless_they_would_become_inputs(photos, runner):
    convert_folder(photos, photos, runner)
    assert {"frame2.png", "frame2.exr"} <= files_below(photos)
    with pytest.raises(InputError, match=r"\.png outputs would become inputs of the next run"):
        convert_folder(photos, photos, runner, ConvertOptions(format="png"))


def test_an_output_never_replaces_another_input(tmp_path, photos, runner, make_picture):
    precious = make_picture(photos / "photos" / "frame2.png", level=200)
    before = precious.read_bytes()
    make_picture(photos / "photos" / "photos" / "frame2.png")
    with pytest.raises(InputError, match="is an input and would be overwritten"):
        convert_folder(photos / "photos", photos, runner, ConvertOptions(format="png"), recursive=True)
    assert precious.read_bytes() == before


@pytest.mark.parametrize(
    ("pictures", "outputs"),
    [
        (["a.png", "b.png"], ["a.exr", "b.exr"]),
        (["a.jpg", "a.png", "b.png"], ["a.jpg.exr", "a.png.exr", "b.exr"]),
        (["A.jpg", "a.png"], ["A.jpg.exr", "a.png.exr"]),
        (["A.PNG", "a.png"], ["A.PNG.exr", "a.png.exr"]),
        (["x/a.jpg", "y/a.jpg"], ["x/a.exr", "y/a.exr"]),
        (["a.jpg", "a.png", "a.png.jpg"], ["a.jpg.exr", "a.png.exr", "a.png.jpg.exr"]),
    ],
)
def test_pictures_that_share_a_name_keep_their_suffix(pictures, outputs):
    names = name_outputs([Path(picture) for picture in pictures], ".exr", previews=False)
    assert [name.as_posix() for name in names] == outputs


def test_a_preview_and_an_output_never_share_a_name():
    pictures = [Path("a.jpg"), Path("a.preview.tif")]
    names = name_outputs(pictures, ".png", previews=True)
    assert [name.name for name in names] == ["a.jpg.png", "a.preview.tif.png"]


def test_both_pictures_of_one_name_are_converted_and_told(tmp_path, photos, runner, make_picture):
    make_picture(photos / "frame2.jpg", level=102)
    ear = Ear()
    report = convert_folder(photos, tmp_path / "hdr", runner, ConvertOptions(scale="native"), listener=ear)
    medians = {file.output.name: file.statistics["median"] for file in report.files}
    assert medians["frame2.jpg.exr"] == pytest.approx(1.6, rel=1e-2)
    assert medians["frame2.png.exr"] == pytest.approx(0.8, rel=1e-2)
    assert len(ear.notes) == 1
    assert "2 pictures share a name" in ear.notes[0]


# What cannot work


def test_a_folder_without_pictures_is_an_error(tmp_path, runner):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: holds no pictures \(\.avif, \.bmp, "):
        convert_folder(tmp_path / "empty", tmp_path / "hdr", runner)
    assert not (tmp_path / "hdr").exists()


def test_pictures_further_down_are_hinted_at(photos, runner, tmp_path):
    with pytest.raises(InputError, match="`recursive` looks into its folders too"):
        convert_folder(photos.parent, tmp_path / "hdr", runner)


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        ("gone", "hdr", "gone: no such folder"),
        ("photos/frame2.png", "hdr", "is no folder"),
        ("photos", "photos/frame2.png", "is a file, but"),
        ("photos", "out.exr", "is the name of a file, but"),
        ("photos", "out.mkv", "is the name of a file, but"),
    ],
)
def test_folders_that_are_none_are_errors(tmp_path, photos, runner, source, target, sentence):
    with pytest.raises(InputError, match=sentence):
        convert_folder(tmp_path / source, tmp_path / target, runner)


def test_an_output_folder_that_cannot_be_made_is_an_error_at_once(photos, runner):
    with pytest.raises(OutputError, match="is not a folder"):
        convert_folder(photos, photos / "frame2.png" / "below", runner)
