"""What a folder run does when something goes wrong on the way, and what it keeps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gain_net import METADATA
from run_results import converted, files_below

from dcdr_deploy.engines.base import Engine, EngineInfo
from dcdr_deploy.errors import EngineError, EngineOutOfMemory, NonFiniteError, OutputError
from dcdr_deploy.run.events import FileBegun
from dcdr_deploy.run.folder import convert_folder
from dcdr_deploy.run.ledger import FAILURES_IN_A_ROW
from dcdr_deploy.run.manifest import MANIFEST_NAME
from dcdr_deploy.run.runner import TILES, Runner
from dcdr_deploy.system.progress import Event, silent


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


def unhurried(event: Event) -> None:
    """Give the files before time to be finished while one is worked on."""
    if event.stage == TILES:
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


@pytest.mark.parametrize("slow", [silent, unhurried], ids=["between-files", "within-a-file"])
def test_a_full_disk_stops_the_run_after_some_files(tmp_path, bright, monkeypatch, slow):
    def full(self, job, late):
        raise OutputError(f"{job.output}: cannot be written: No space left on device")

    monkeypatch.setattr("dcdr_deploy.run.folder._FolderRun._encode", full)
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
    monkeypatch.setattr("dcdr_deploy.run.stages.BEHIND", 1)  # one after the other, so that "in a row" is certain
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
    def impatient(event):
        if isinstance(event, FileBegun) and event.source.name == "frame10.jpg":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_folder(photos, tmp_path / "hdr", runner, listener=impatient)
    assert files_below(tmp_path / "hdr") == {"Frame1.exr", "frame2.exr"}
    assert converted(convert_folder(photos, tmp_path / "hdr", runner)) == {"frame10.jpg"}
