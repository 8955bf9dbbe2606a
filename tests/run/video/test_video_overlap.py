"""Beside a GPU what needs no order is done of several frames at a time, and the file is the same."""

from __future__ import annotations

import threading

import pytest
from on_gpu import Meeting, bright_engine_on_gpu

from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.video import steady, whole
from dcdr_deploy.run.video.convert import convert_video
from dcdr_deploy.run.video.encoding import SegmentSink
from dcdr_deploy.run.video.frames import Selection
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.target import EncodeOptions
from dcdr_deploy.system import hardware

FRAMES = 9
LOSSLESS = VideoSettings(video=VideoOptions(EncodeOptions("ffv1"), segment_frames=4))


@pytest.fixture
def clip(make_clip):
    return make_clip(frames=FRAMES, still=frozenset({3, 4}))


def test_frames_are_made_ready_and_light_put_on_several_at_a_time_and_all_bytes_stay(tmp_path, clip, monkeypatch):
    with bright_engine_on_gpu() as engine:
        monkeypatch.setattr(hardware, "cpu_threads", lambda: 1)
        convert_video(clip, tmp_path / "one.mkv", Runner(engine), LOSSLESS)
        monkeypatch.setattr(hardware, "cpu_threads", lambda: 3)
        prepared, put_on = Meeting(whole.prepare, 3), Meeting(SegmentSink.make, 3)
        monkeypatch.setattr(whole, "prepare", prepared)
        monkeypatch.setattr(SegmentSink, "make", lambda *arguments: put_on(*arguments))
        report = convert_video(clip, tmp_path / "three.mkv", Runner(engine), LOSSLESS)
    assert report.frames == FRAMES
    assert threading.current_thread() not in prepared.threads | put_on.threads
    assert (tmp_path / "three.mkv").read_bytes() == (tmp_path / "one.mkv").read_bytes()


def test_a_source_is_looked_through_by_one_thread_at_a_time(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(hardware, "cpu_threads", lambda: 4)
    free, look = threading.Lock(), Selection.look

    def alone(selection):
        assert free.acquire(blocking=False), "two at a time"
        try:
            return look(selection)
        finally:
            free.release()

    monkeypatch.setattr(Selection, "look", alone)
    with bright_engine_on_gpu() as engine:
        assert convert_video(clip, tmp_path / "out.mkv", Runner(engine), LOSSLESS).frames == FRAMES


def test_what_goes_wrong_in_a_frame_ends_the_run_however_many_threads_wait(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(hardware, "cpu_threads", lambda: 4)
    calls = []

    def breaks(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise ZeroDivisionError("of the third frame")
        return prepare(*arguments)

    prepare = whole.prepare
    monkeypatch.setattr(whole, "prepare", breaks)
    with bright_engine_on_gpu() as engine, pytest.raises(ZeroDivisionError, match="of the third frame"):
        convert_video(clip, tmp_path / "out.mkv", Runner(engine), LOSSLESS)


def test_frames_are_steadied_while_those_before_wait_for_their_mean(tmp_path, make_clip, monkeypatch):
    """Motion is looked for in three frames at a time; means are taken in order, and all bytes stay."""
    clip, order = make_clip(frames=FRAMES), []
    mean = steady.Steadying.mean
    monkeypatch.setattr(steady.Steadying, "mean", lambda self, step: order.append(step.motion) or mean(self, step))
    with bright_engine_on_gpu() as engine:
        monkeypatch.setattr(hardware, "cpu_threads", lambda: 1)
        convert_video(clip, tmp_path / "one.mkv", Runner(engine), LOSSLESS)
        one, order = order, []
        monkeypatch.setattr(hardware, "cpu_threads", lambda: 3)
        moving = Meeting(steady.block_motion, 3)
        monkeypatch.setattr(steady, "block_motion", moving)
        convert_video(clip, tmp_path / "three.mkv", Runner(engine), LOSSLESS)
    assert [motion is None for motion in one] == [number % 4 == 0 for number in range(FRAMES)]
    assert threading.current_thread() not in moving.threads
    assert (tmp_path / "three.mkv").read_bytes() == (tmp_path / "one.mkv").read_bytes()
