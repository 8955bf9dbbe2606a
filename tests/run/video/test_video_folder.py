"""Several videos at once: books as for pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from ear import Ear
from videos import Clip, read_clip, write_clip

from dcdr_deploy.errors import InputError, MissingDependency, OutputError
from dcdr_deploy.run.events import FileConverted, FileFailed, FilesFound
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.sequence import parse
from dcdr_deploy.run.several import Inputs
from dcdr_deploy.run.video import package
from dcdr_deploy.run.video.choice import prepare
from dcdr_deploy.run.video.convert import PreparedVideo
from dcdr_deploy.run.video.folder import convert_videos, means_videos, plan_videos
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.stills import PreparedStills
from dcdr_deploy.run.video.target import EncodeOptions

FAST = VideoOptions(EncodeOptions("ffv1"))


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    (folder / "more").mkdir(parents=True)
    for name in ("a10.mp4", "a2.mp4", "more/b.mkv"):
        write_clip(folder / name, Clip(frames=2))
    (folder / "notes.txt").write_text("none")
    return folder


def planned(films, target, form=None, recursive=True, options=ConvertOptions(), **more):  # noqa: B008
    return plan_videos(Inputs(folders=[films], **more), target, FAST, options, form, recursive=recursive)


def test_a_tree_is_mirrored_in_natural_order(films, tmp_path):
    plan = planned(films, tmp_path / "hdr", "mp4")
    assert [job.name for job in plan.jobs] == ["a2.mp4", "a10.mp4", "more/b.mp4"]
    assert plan.notes == ("1 .txt in the folders left out: no videos",)
    assert [job.name for job in planned(films, tmp_path / "hdr", recursive=False).jobs] == ["a2.mkv", "a10.mkv"]


def test_without_pyav_no_video_is_begun(films, tmp_path, monkeypatch):
    package.load.cache_clear()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependency, match="videos need PyAV"):
        planned(films, tmp_path / "hdr")
    package.load.cache_clear()


def test_videos_that_share_a_name_keep_their_whole_one(films, tmp_path):
    write_clip(films / "a2.mov", Clip(frames=1))
    names = [job.name for job in planned(films, tmp_path / "hdr", recursive=False).jobs]
    assert names == ["a2.mov.mkv", "a2.mp4.mkv", "a10.mkv"]


def test_a_video_that_is_named_beside_its_folder_is_taken_once(films, tmp_path):
    plan = planned(films, tmp_path / "hdr", files=[films / "a2.mp4"], recursive=False)
    assert [job.name for job in plan.jobs] == ["a2.mkv", "a10.mkv"]
    assert "1 file is named more than once; each is taken once" in plan.notes


def test_what_is_done_stays_and_what_fails_is_listed(films, tmp_path, runner):
    (films / "broken.mp4").write_bytes(b"no video at all")
    target, ear = tmp_path / "hdr", Ear()
    jobs = planned(films, target).jobs
    report = convert_videos(jobs, target, runner, FAST, ConvertOptions(), listener=ear)
    assert (report.converted, len(report.failures)) == (3, 1)
    assert [event.report.output.name for event in ear.of(FileConverted)] == ["a2.mkv", "a10.mkv", "b.mkv"]
    assert len(read_clip(target / "more" / "b.mkv").stamps) == 2
    (failure,) = map(json.loads, (target / "failures.jsonl").read_text().splitlines())
    assert Path(failure["input"]).name == "broken.mp4"
    assert len(ear.of(FileFailed)) == 1
    again = Ear()
    report = convert_videos(jobs, target, runner, FAST, ConvertOptions(), listener=again)
    assert (report.converted, len(report.unchanged)) == (0, 3)
    assert again.of(FilesFound)[0].total == 1
    other = VideoOptions(EncodeOptions("hevc", preset="ultrafast"))
    assert convert_videos(jobs, target, runner, other, ConvertOptions()).converted == 3


def test_only_videos_or_a_format_of_theirs_make_it_a_matter_of_videos(films, tmp_path, make_picture):
    def means(form=None, **named):
        return means_videos(Inputs(**named), form, recursive=True, target=tmp_path / "hdr")

    assert means(folders=[films])
    assert means(files=[films / "a2.mp4", films / "a10.mp4"])
    assert not means("exr", folders=[films])
    assert not means(files=[films / "a2.mp4", tmp_path / "a.png"])
    make_picture(films / "still.png")
    assert not means(folders=[films])
    assert means("mp4", folders=[films])


def test_what_cannot_be_is_refused(films, tmp_path, make_picture):
    empty = tmp_path / "empty"
    make_picture(empty / "a.png")
    with pytest.raises(InputError, match="holds no videos"):
        planned(empty, tmp_path / "hdr")
    with pytest.raises(InputError, match=r"films: \.mp4 outputs would become inputs of the next run"):
        planned(films, films, "mp4")
    with pytest.raises(InputError, match="is an input and would be overwritten"):
        plan_videos(Inputs([films / "a2.mp4"]), films, FAST, ConvertOptions(), "mp4", recursive=False)
    for target in (films / "notes.txt", tmp_path / "new.mkv", tmp_path / "new.exr"):
        with pytest.raises(InputError, match="is a file, or the name of one; name a folder"):
            planned(films, target)
    twin = write_clip(tmp_path / "a2.mp4", Clip(frames=1))
    with pytest.raises(InputError, match="would be written twice"):
        planned(films, tmp_path / "hdr", files=[twin], recursive=False)
    shots = [parse(str(tmp_path / "shot.%04d.png"))]
    for inputs in (Inputs(sequences=shots), Inputs([films / "a2.mp4"], sequences=shots)):
        with pytest.raises(InputError, match=r"shot\.%04d\.png: numbered pictures are not made a video"):
            plan_videos(inputs, tmp_path / "hdr", FAST, ConvertOptions(), "mkv", recursive=False)
    with pytest.raises(InputError, match="`preview` is for pictures"):
        planned(films, tmp_path / "hdr", options=ConvertOptions(preview=True))


@pytest.mark.parametrize(
    ("target", "form", "kind", "name"),
    [
        ("out.mp4", None, PreparedVideo, None),
        ("out/", None, PreparedVideo, "a2.mkv"),
        ("out/", "mov", PreparedVideo, "a2.mov"),
        ("out/", "exr", PreparedStills, "a2.%06d.exr"),
        ("out/f.%03d.png", None, PreparedStills, "f.%03d.png"),
    ],
)
def test_the_name_of_the_output_decides(films, tmp_path, target, form, kind, name):
    options = VideoOptions() if form == "mov" else FAST if target == "out/" and form is None else VideoOptions()
    prepared = prepare(films / "a2.mp4", str(tmp_path) + "/" + target, options, ConvertOptions(), form)
    assert isinstance(prepared, kind)
    assert name is None or prepared.output.name == name


@pytest.mark.parametrize(
    ("target", "form", "words"),
    [
        ("out.exr", None, r"has many pictures; number them: out\.%06d\.exr"),
        ("out.mp4", "mkv", "contradicts the format mkv"),
    ],
)
def test_names_that_cannot_be_are_refused(films, tmp_path, target, form, words):
    with pytest.raises(OutputError, match=words):
        prepare(films / "a2.mp4", str(tmp_path / target), VideoOptions(), ConvertOptions(), form)
