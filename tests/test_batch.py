"""Folder runs: which files, which names, what is skipped, what is kept when something goes wrong."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gain_net import METADATA

from dcdr_deploy.batch import FAILURES_IN_A_ROW, FolderReport, convert_folder
from dcdr_deploy.engines.base import Engine, EngineInfo
from dcdr_deploy.engines.registry import load_engine
from dcdr_deploy.errors import EngineError, EngineOutOfMemory, InputError, NonFiniteError, OutputError
from dcdr_deploy.events import Listener
from dcdr_deploy.folders import name_outputs, plan_folder
from dcdr_deploy.imaging.write import WriteOptions
from dcdr_deploy.manifest import MANIFEST_NAME
from dcdr_deploy.outputs import ConvertOptions
from dcdr_deploy.runner import Runner

EXR = ConvertOptions()


@pytest.fixture(scope="module")
def runner(tiny_model: Path) -> Iterator[Runner]:
    with load_engine(tiny_model, "onnxruntime") as engine:
        yield Runner(engine)


@pytest.fixture
def photos(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    for name in ("frame2.png", "frame10.jpg", "Frame1.bmp"):
        make_picture(tmp_path / "photos" / name, size=(8, 8))
    return tmp_path / "photos"


def files_below(folder: Path) -> set[str]:
    """All files but the manifest."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST_NAME
    }


def converted(report: FolderReport) -> set[str]:
    return {file.source.name for file in report.files}


# Which files, and their names


def test_every_picture_is_converted_in_natural_order(tmp_path, photos, runner):
    begun: list[str] = []

    class Order(Listener):
        def file_begun(self, source):
            begun.append(source.name)

    report = convert_folder(photos, tmp_path / "hdr", runner, listener=Order())
    assert begun == ["Frame1.bmp", "frame2.png", "frame10.jpg"]
    assert files_below(tmp_path / "hdr") == {"Frame1.exr", "frame2.exr", "frame10.exr"}
    assert (report.unchanged, report.failures, report.failures_file) == ((), (), None)


def test_hidden_files_other_files_and_previews_are_left_out(tmp_path, photos, runner, make_picture):
    for name in (".hidden.png", "old.preview.png", ".cache/a.png"):
        make_picture(photos / name)
    (photos / "notes.txt").write_text("x")
    os.mkfifo(photos / "pipe.png")
    plan = plan_folder(photos, tmp_path / "hdr", EXR, recursive=True)
    assert [job.name for job in plan.jobs] == ["Frame1.exr", "frame2.exr", "frame10.exr"]
    assert plan.notes == (f"{photos}: 1 files named *.preview.png left out: previews of an earlier run",)


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
    notes: list[str] = []

    class Notes(Listener):
        def note(self, sentence):
            notes.append(sentence)

    report = convert_folder(photos, tmp_path / "hdr", runner, listener=Notes())
    medians = {file.output.name: file.statistics["median"] for file in report.files}
    assert medians["frame2.jpg.exr"] == pytest.approx(1.6, rel=1e-2)
    assert medians["frame2.png.exr"] == pytest.approx(0.8, rel=1e-2)
    assert len(notes) == 1
    assert "2 pictures share a name" in notes[0]


# What cannot work


def test_a_folder_without_pictures_is_an_error(tmp_path, runner):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: holds no pictures \(\.bmp, "):
        convert_folder(tmp_path / "empty", tmp_path / "hdr", runner)
    assert not (tmp_path / "hdr").exists()


def test_pictures_further_down_are_hinted_at(photos, runner, tmp_path):
    with pytest.raises(InputError, match="--recursive looks into its folders too"):
        convert_folder(photos.parent, tmp_path / "hdr", runner)


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        ("gone", "hdr", "gone: no such folder"),
        ("photos/frame2.png", "hdr", "is no folder"),
        ("photos", "photos/frame2.png", "is a file, but"),
        ("photos", "out.exr", "is the name of a file, but"),
    ],
)
def test_folders_that_are_none_are_errors(tmp_path, photos, runner, source, target, sentence):
    with pytest.raises(InputError, match=sentence):
        convert_folder(tmp_path / source, tmp_path / target, runner)


def test_an_output_folder_that_cannot_be_made_is_an_error_at_once(photos, runner):
    with pytest.raises(OutputError, match="is not a folder"):
        convert_folder(photos, photos / "frame2.png" / "below", runner)


# What is skipped


@pytest.fixture
def finished(tmp_path: Path, photos: Path, runner: Runner) -> Path:
    convert_folder(photos, tmp_path / "hdr", runner)
    return tmp_path / "hdr"


def test_a_second_run_has_nothing_to_do(photos, finished, runner):
    report = convert_folder(photos, finished, runner)
    assert report.files == ()
    assert {path.name for path in report.unchanged} == {"Frame1.exr", "frame2.exr", "frame10.exr"}


def test_overwrite_converts_all_again(photos, finished, runner):
    report = convert_folder(photos, finished, runner, overwrite=True)
    assert len(report.files) == 3
    assert report.unchanged == ()


def test_a_changed_input_is_converted_again(photos, finished, runner, make_picture):
    make_picture(photos / "frame2.png", level=200, size=(8, 8))
    assert converted(convert_folder(photos, finished, runner)) == {"frame2.png"}


def test_an_input_of_the_same_size_but_another_time_is_converted_again(photos, finished, runner):
    os.utime(photos / "frame2.png", ns=(1, 1))
    assert converted(convert_folder(photos, finished, runner)) == {"frame2.png"}


def test_a_new_input_is_converted(photos, finished, runner, make_picture):
    make_picture(photos / "new.png")
    assert converted(convert_folder(photos, finished, runner)) == {"new.png"}


def test_an_output_that_is_gone_is_made_again(photos, finished, runner):
    (finished / "frame2.exr").unlink()
    assert converted(convert_folder(photos, finished, runner)) == {"frame2.png"}


@pytest.mark.parametrize(
    "options",
    [ConvertOptions(WriteOptions(float32=True)), ConvertOptions(WriteOptions("piz")), ConvertOptions(format="hdr")],
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
    monkeypatch.setattr("dcdr_deploy.manifest.__version__", "99")
    assert len(convert_folder(photos, finished, runner).files) == 3


def test_a_preview_asked_for_later_is_made_and_one_more_than_asked_for_does_no_harm(photos, finished, runner):
    with_previews = ConvertOptions(preview=True)
    assert len(convert_folder(photos, finished, runner, with_previews).files) == 3
    assert convert_folder(photos, finished, runner, EXR).files == ()
    (finished / "frame2.preview.png").unlink()
    assert converted(convert_folder(photos, finished, runner, with_previews)) == {"frame2.png"}


def test_two_input_folders_can_share_an_output_folder(tmp_path, photos, finished, runner, make_picture):
    make_picture(tmp_path / "more" / "other.png")
    convert_folder(tmp_path / "more", finished, runner)
    assert convert_folder(photos, finished, runner).files == ()
    assert convert_folder(tmp_path / "more", finished, runner).files == ()


def test_a_damaged_manifest_costs_only_the_lines_that_are_damaged(photos, finished, runner):
    manifest = finished / MANIFEST_NAME
    lines = manifest.read_text().splitlines()
    lost = json.loads(lines[-1])["input"]
    manifest.write_text("\n".join(["no json", '{"output": "x"}', *lines[:-1], lines[-1][:20]]))
    assert converted(convert_folder(photos, finished, runner)) == {lost}
    assert [json.loads(line)["output"] for line in manifest.read_text().splitlines()]
    assert convert_folder(photos, finished, runner).files == ()


def test_a_manifest_without_its_last_line_break_is_mended(photos, finished, runner, make_picture):
    manifest = finished / MANIFEST_NAME
    manifest.write_text(manifest.read_text().rstrip("\n"))
    make_picture(photos / "new.png")
    assert "new.png" in converted(convert_folder(photos, finished, runner))
    assert convert_folder(photos, finished, runner).files == ()


# What goes wrong on the way


@pytest.fixture
def one_bad(photos: Path) -> Path:
    (photos / "frame2.png").write_bytes((photos / "frame2.png").read_bytes()[:60])
    return photos / "frame2.png"


def test_a_bad_file_is_listed_and_the_others_are_done(tmp_path, photos, one_bad, runner):
    report = convert_folder(photos, tmp_path / "hdr", runner)
    assert converted(report) == {"Frame1.bmp", "frame10.jpg"}
    assert files_below(tmp_path / "hdr") == {"Frame1.exr", "frame10.exr", "failures.jsonl"}
    assert report.failures_file == tmp_path / "hdr" / "failures.jsonl"
    (line,) = report.failures_file.read_text().splitlines()
    listed = json.loads(line)
    assert (listed["input"], listed["kind"]) == (str(one_bad), "InputError")
    assert listed["error"] == report.failures[0].error
    assert listed["error"].startswith(f"{one_bad}: is damaged")


def test_the_next_run_tries_the_bad_file_again_and_clears_the_list(tmp_path, photos, one_bad, runner, make_picture):
    convert_folder(photos, tmp_path / "hdr", runner)
    make_picture(one_bad)
    report = convert_folder(photos, tmp_path / "hdr", runner)
    assert converted(report) == {"frame2.png"}
    assert not (tmp_path / "hdr" / "failures.jsonl").exists()


def test_a_broken_link_is_a_failure(tmp_path, photos, runner):
    (photos / "link.png").symlink_to("gone.png")
    (failure,) = convert_folder(photos, tmp_path / "hdr", runner).failures
    assert "no such file" in failure.error


class Failing(Engine):
    """Raises for pictures whose first sample is not black; else the identity."""

    def __init__(self, error: Exception) -> None:
        self.info = EngineInfo("failing", "CPU", "fp32", None, METADATA)
        self.error = error

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        if batch[0, 0, 0, 0] > 0:
            raise self.error
        return batch


class Identity(Failing):
    def __init__(self) -> None:
        super().__init__(AssertionError("never raised"))

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        return batch


class Unhurried(Listener):
    """Gives the files before time to be finished while one is worked on."""

    def tiles_done(self, done: int, total: int) -> None:
        time.sleep(0.05)


@pytest.fixture
def bright(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    """Four pictures for which the engine fails, between two that it takes."""
    from PIL import Image

    make_picture(tmp_path / "bright" / "a.png", size=(8, 8))
    for name in "bcde":
        Image.new("RGB", (8, 8), "white").save(tmp_path / "bright" / f"{name}.png")
    make_picture(tmp_path / "bright" / "f.png", size=(8, 8))
    return tmp_path / "bright"


@pytest.mark.parametrize("error", [NonFiniteError("not a number"), EngineOutOfMemory("too large")])
def test_a_failure_that_depends_on_the_picture_never_stops_a_run(tmp_path, bright, error):
    report = convert_folder(bright, tmp_path / "hdr", Runner(Failing(error)))
    assert converted(report) == {"a.png", "f.png"}
    assert len(report.failures) == 4
    assert str(bright / "b.png") in report.failures[0].error


def test_a_broken_engine_stops_the_run_after_some_files(tmp_path, bright):
    with pytest.raises(EngineError, match=r"stopped after 3 failures in a row: .*d\.png: the device is lost"):
        convert_folder(bright, tmp_path / "hdr", Runner(Failing(EngineError("the device is lost"))))
    listed = (tmp_path / "hdr" / "failures.jsonl").read_text().splitlines()
    assert len(listed) == FAILURES_IN_A_ROW
    assert files_below(tmp_path / "hdr") == {"a.exr", "failures.jsonl"}


def test_failures_of_the_engine_between_successes_do_not_stop_a_run(tmp_path, bright, make_picture):
    for name in ("b2.png", "d2.png"):
        make_picture(bright / name, size=(8, 8))
    report = convert_folder(bright, tmp_path / "hdr", Runner(Failing(EngineError("a hiccup"))))
    assert len(report.failures) == 4
    assert converted(report) == {"a.png", "b2.png", "d2.png", "f.png"}


@pytest.mark.parametrize("slow", [Listener(), Unhurried()], ids=["between-files", "within-a-file"])
def test_a_full_disk_stops_the_run_after_some_files(tmp_path, bright, monkeypatch, slow):
    def full(self, job, late):
        raise OutputError(f"{job.output}: cannot be written: No space left on device")

    monkeypatch.setattr("dcdr_deploy.batch._FolderRun._encode", full)
    with pytest.raises(OutputError) as raised:
        convert_folder(bright, tmp_path / "hdr", Runner(Identity()), listener=slow)
    prefix = f"stopped after 3 failures in a row: {tmp_path / 'hdr'}"
    assert str(raised.value).startswith(prefix)
    assert str(raised.value).count("stopped") == 1
    assert len((tmp_path / "hdr" / "failures.jsonl").read_text().splitlines()) < 6


def test_an_output_that_cannot_be_written_is_a_failure_of_its_file(tmp_path, photos, runner):
    (tmp_path / "hdr" / "frame2.exr").mkdir(parents=True)
    report = convert_folder(photos, tmp_path / "hdr", runner)
    assert [failure.kind for failure in report.failures] == ["OutputError"]
    assert converted(report) == {"Frame1.bmp", "frame10.jpg"}


def test_failures_to_write_between_successes_do_not_stop_a_run(tmp_path, bright, monkeypatch):
    monkeypatch.setattr("dcdr_deploy.pipeline.BEHIND", 1)  # one after the other, so that "in a row" is certain
    for name in "ace":
        (tmp_path / "hdr" / f"{name}.exr").mkdir(parents=True)
    report = convert_folder(bright, tmp_path / "hdr", Runner(Identity()))
    assert converted(report) == {"b.png", "d.png", "f.png"}
    assert len(report.failures) == 3


def test_a_manifest_that_cannot_be_read_is_an_error(photos, finished, runner):
    (finished / MANIFEST_NAME).unlink()
    (finished / MANIFEST_NAME).mkdir()
    with pytest.raises(OutputError, match=r"manifest\.jsonl: cannot be read"):
        convert_folder(photos, finished, runner)


def test_an_interrupt_keeps_what_is_finished(tmp_path, photos, runner):
    class Impatient(Listener):
        def file_begun(self, source):
            if source.name == "frame10.jpg":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_folder(photos, tmp_path / "hdr", runner, listener=Impatient())
    assert files_below(tmp_path / "hdr") == {"Frame1.exr", "frame2.exr"}
    assert converted(convert_folder(photos, tmp_path / "hdr", runner)) == {"frame10.jpg"}
