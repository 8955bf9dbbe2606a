"""Folders and files that are deleted, moved or unmounted while a video is at them."""

from __future__ import annotations

import shutil

import pytest

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging.writers.base import WriteOptions
from dcdr_deploy.run import sequence
from dcdr_deploy.run.events import FramesDone
from dcdr_deploy.run.jobs import Job
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.video.convert import convert_video
from dcdr_deploy.run.video.folder import convert_videos
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.stills import PreparedStills
from dcdr_deploy.run.video.target import EncodeOptions

GONE = "was deleted, moved or unmounted during the run"
FRAMES, SEGMENT = 12, 2
FAST = VideoOptions(EncodeOptions("hevc", preset="superfast"), segment_frames=SEGMENT)


@pytest.fixture
def source(make_clip):
    return make_clip(frames=FRAMES, sounds=1)


def at_frame(frame, what):
    """A listener that does something once, when so many frames are done."""
    waiting = [what]

    def listen(event):
        if isinstance(event, FramesDone) and event.done >= frame and waiting:
            waiting.pop()()

    return listen


def deleted(folder):
    folder.rename(folder.with_name("trash"))
    shutil.rmtree(folder.with_name("trash"))


def stills(source, runner, listener):
    pattern = sequence.parse(str(source.with_name("frames") / "f.%04d.exr"))
    return PreparedStills(source, pattern, VideoSettings(video=VideoOptions()), WriteOptions()).convert(
        runner, listener
    )


@pytest.mark.parametrize("frame", [1, 6, FRAMES])
def test_numbered_pictures_whose_folder_is_deleted_are_an_error(source, runner, frame):
    folder = source.with_name("frames")
    with pytest.raises(OutputError, match=f"frames: {GONE}"):
        stills(source, runner, at_frame(frame, lambda: deleted(folder)))


def test_a_numbered_picture_that_is_deleted_is_an_error_and_the_next_run_makes_it_again(source, runner):
    third = source.with_name("frames") / "f.0003.exr"
    with pytest.raises(OutputError, match=r"f\.0003\.exr: is gone since it was written"):
        stills(source, runner, at_frame(FRAMES, third.unlink))
    assert stills(source, runner, lambda event: None).frames == FRAMES
    assert third.is_file()


@pytest.mark.parametrize("frame", [1, 6, FRAMES])
def test_segments_whose_folder_is_deleted_are_an_error(source, runner, tmp_path, frame):
    delete = at_frame(frame, lambda: deleted(tmp_path / "o.mkv.parts"))
    with pytest.raises(OutputError, match=rf"o\.mkv\.parts: {GONE}"):
        convert_video(source, tmp_path / "o.mkv", runner, VideoSettings(video=FAST), listener=delete)
    assert not (tmp_path / "o.mkv").exists()


def test_a_source_that_is_deleted_before_its_sound_is_copied_is_named(source, runner, tmp_path):
    with pytest.raises(InputError, match=rf"in\.mp4: {GONE}"):
        convert_video(
            source,
            tmp_path / "o.mkv",
            runner,
            VideoSettings(video=FAST),
            listener=at_frame(FRAMES, source.unlink),
        )


def test_videos_whose_output_folder_is_deleted_are_an_error(source, runner, tmp_path):
    again = source.with_name("again.mp4")
    shutil.copyfile(source, again)
    folder = tmp_path / "hdr"
    jobs = [Job(path, folder / f"{path.stem}.mkv", f"{path.stem}.mkv") for path in (source, again)]
    delete = at_frame(FRAMES, lambda: deleted(folder))
    with pytest.raises(OutputError, match=f"hdr(/in.mkv.parts)?: {GONE}"):
        convert_videos(jobs, folder, runner, FAST, ConvertOptions(), listener=delete)
    assert not (folder / "again.mkv").exists()
