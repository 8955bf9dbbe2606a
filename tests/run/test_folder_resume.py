"""A folder run that is started again does what is missing, and no more."""

from __future__ import annotations

import json
import os

import pytest
from run_results import converted

from dcdr_deploy.engines.registry import load_engine
from dcdr_deploy.imaging.write import WriteOptions
from dcdr_deploy.run.folder import convert_folder
from dcdr_deploy.run.manifest import MANIFEST_NAME
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.runner import Runner

EXR = ConvertOptions()


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
    monkeypatch.setattr("dcdr_deploy.run.manifest.__version__", "99")
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
