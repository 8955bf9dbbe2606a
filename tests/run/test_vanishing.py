"""Folders that are deleted, moved or unmounted while a run is at them: nothing counts as done that is not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from run_results import converted

from dcdr_deploy.errors import OutputError
from dcdr_deploy.run.events import FileBegun, FileConverted
from dcdr_deploy.run.file import convert_file
from dcdr_deploy.run.folder import convert_folder
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.system.files import missing
from dcdr_deploy.system.progress import Event

GONE = "was deleted, moved or unmounted during the run"


@pytest.fixture
def many(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    """More pictures than are under way at a time."""
    for number in range(12):
        make_picture(tmp_path / "photos" / f"{number}.png", size=(8, 8))
    return tmp_path / "photos"


def deleted(folder: Path) -> None:
    """Delete a folder at one go: files may be on their way into it."""
    folder.rename(folder.with_name("trash"))
    shutil.rmtree(folder.with_name("trash"))


def once_converted(number: int, what: Callable[[], object]) -> Callable[[Event], None]:
    """A listener that does something when so many files are converted."""
    count = 0

    def listen(event: Event) -> None:
        nonlocal count
        if isinstance(event, FileConverted):
            count += 1
            if count == number:
                what()

    return listen


@pytest.mark.parametrize("number", [1, 5, 12])
def test_a_run_whose_output_folder_is_deleted_ends_with_an_error(tmp_path, many, runner, number):
    delete = once_converted(number, lambda: deleted(tmp_path / "hdr"))
    with pytest.raises(OutputError, match=f"hdr: {GONE}"):
        convert_folder(many, tmp_path / "hdr", runner, listener=delete)


def test_an_output_folder_that_is_moved_away_is_not_made_anew(tmp_path, many, runner):
    move = once_converted(2, lambda: (tmp_path / "hdr").rename(tmp_path / "moved"))
    with pytest.raises(OutputError, match=GONE):
        convert_folder(many, tmp_path / "hdr", runner, listener=move)
    assert (tmp_path / "moved" / "0.exr").is_file()
    # Files under way at that moment may have been written; none was begun after it.
    assert len(list((tmp_path / "hdr").glob("*.exr"))) < 8


def test_another_folder_in_its_place_is_not_taken_for_it(tmp_path, many, runner):
    def replace() -> None:
        deleted(tmp_path / "hdr")
        (tmp_path / "hdr").mkdir()  # as the place where a disk was mounted

    with pytest.raises(OutputError, match=GONE):
        convert_folder(many, tmp_path / "hdr", runner, listener=once_converted(3, replace))


def test_single_outputs_that_are_gone_at_the_end_have_failed(tmp_path, many, runner):
    delete = once_converted(12, (tmp_path / "hdr" / "4.exr").unlink)
    report = convert_folder(many, tmp_path / "hdr", runner, listener=delete)
    (failure,) = report.failures
    assert failure.error == f"{tmp_path / 'hdr' / '4.exr'}: is gone since it was written; run the same command again"
    assert report.converted == len(converted(report)) == 11
    (line,) = (tmp_path / "hdr" / "failures.jsonl").read_text().splitlines()
    assert json.loads(line)["input"] == str(many / "4.png")
    assert converted(convert_folder(many, tmp_path / "hdr", runner)) == {"4.png"}


def test_a_sub_folder_that_is_deleted_takes_its_outputs_with_it(tmp_path, many, runner, make_picture):
    make_picture(many / "0" / "first.png", size=(8, 8))
    delete = once_converted(13, lambda: deleted(tmp_path / "hdr" / "0"))
    report = convert_folder(many, tmp_path / "hdr", runner, recursive=True, listener=delete)
    assert [failure.source for failure in report.failures] == [many / "0" / "first.png"]


def test_outputs_that_were_up_to_date_and_are_gone_have_failed(tmp_path, photos, finished, runner):
    def delete(event: Event) -> None:
        if isinstance(event, FileBegun):
            (finished / "Frame1.exr").unlink()

    (finished / "frame2.exr").unlink()
    report = convert_folder(photos, finished, runner, listener=delete)
    assert [failure.source for failure in report.failures] == [photos / "Frame1.bmp"]
    assert report.unchanged == (finished / "frame10.exr",)
    assert report.converted == 1


def test_gain_maps_and_previews_that_are_gone_have_failed(tmp_path, photos, runner):
    def delete() -> None:
        deleted(tmp_path / "maps")
        (tmp_path / "hdr" / "frame2.preview.png").unlink()

    options = ConvertOptions(gain_map=tmp_path / "maps", preview=True)
    report = convert_folder(photos, tmp_path / "hdr", runner, options, listener=once_converted(3, delete))
    assert len(report.failures) == 3
    assert (report.converted, report.files) == (0, ())


def test_an_input_folder_that_is_deleted_makes_failures_of_the_rest(tmp_path, many, runner):
    report = convert_folder(many, tmp_path / "hdr", runner, listener=once_converted(1, lambda: deleted(many)))
    assert report.converted + len(report.failures) == 12
    assert len(report.failures) >= 6
    assert all((tmp_path / "hdr" / f"{Path(name).stem}.exr").is_file() for name in converted(report))


def test_a_single_output_that_is_deleted_before_its_preview_is_not_reported(tmp_path, photos, runner, monkeypatch):
    def preview(path: Path, *_: object) -> None:
        (tmp_path / "hdr" / "a.exr").unlink()
        path.write_bytes(b"a preview")

    monkeypatch.setattr("dcdr_deploy.run.picture.write_preview", preview)
    with pytest.raises(OutputError, match=f"hdr: {GONE}"):
        convert_file(photos / "frame2.png", tmp_path / "hdr" / "a.exr", runner, ConvertOptions(preview=True))


def test_missing_files_are_told_whether_their_folder_is_there_or_not(tmp_path):
    (tmp_path / "here").touch()
    paths = [tmp_path / "here", tmp_path / "gone", tmp_path / "no folder" / "a", tmp_path / "here" / "below a file"]
    assert missing(paths) == paths[1:]
