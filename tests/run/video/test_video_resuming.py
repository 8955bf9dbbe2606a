"""A run that ends early, however it ends: nothing is torn, and the next one gives the same bytes."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ear import Ear
from videos import Clip, read_clip, write_clip

import dcdr_deploy
from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.run.events import FileConverted, FramesDone
from dcdr_deploy.run.video.codecs import CODECS
from dcdr_deploy.run.video.convert import convert_video
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.segments import opened
from dcdr_deploy.run.video.target import EncodeOptions
from dcdr_deploy.run.video.yuv import Layout

FRAMES, SEGMENT = 14, 4

ROOT = Path(dcdr_deploy.__file__).parent.parent


class CrashError(BaseException):
    """Ends a run on the spot, as a kill does, but in this process."""


def settings(codec="hevc", crf=None, **wishes) -> VideoSettings:
    preset = {"hevc": "superfast", "av1": "12"}.get(codec)
    return VideoSettings(video=VideoOptions(EncodeOptions(codec, crf, preset), segment_frames=SEGMENT, **wishes))


def ending_at(frame: int, error: type[BaseException]):
    """A listener that ends the run once so many frames are done."""

    def listen(event):
        if isinstance(event, FramesDone) and event.done >= frame:
            raise error

    return listen


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    clip = Clip(frames=FRAMES, still=frozenset({4, 9}), sounds=1, chapters=True)
    return write_clip(tmp_path_factory.mktemp("source") / "in.mp4", clip)


@pytest.fixture(scope="module")
def whole(source, runner):
    """Bytes of the file that a run makes which nothing interrupts, by name and codec."""
    made = {}
    for name, codec in (("o.mp4", "hevc"), ("o.mkv", "hevc"), ("o.mp4", "av1"), ("o.mov", "prores"), ("o.mkv", "ffv1")):
        report = convert_video(source, source.with_name(f"{codec}-{name}"), runner, settings(codec))
        made[name, codec] = report.output.read_bytes()
    return made


@pytest.mark.parametrize("frame", range(1, FRAMES + 1))
def test_wherever_a_run_crashes_the_next_one_gives_the_same_bytes(source, runner, whole, tmp_path, frame):
    target = tmp_path / "o.mp4"
    with pytest.raises(CrashError):
        convert_video(source, target, runner, settings(), listener=ending_at(frame, CrashError))
    kept = ["o.mp4.parts"] if frame >= SEGMENT else []
    assert [
        path.name for path in tmp_path.iterdir()
    ] == kept or frame == SEGMENT - 1  # the next frame may be in already
    report = convert_video(source, target, runner, settings())
    assert target.read_bytes() == whole["o.mp4", "hevc"]
    assert report.frames == FRAMES
    assert report.fresh <= FRAMES - max(frame // SEGMENT - 1, 0) * SEGMENT
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]


@pytest.mark.parametrize(
    ("name", "codec"), [("o.mkv", "hevc"), ("o.mp4", "av1"), ("o.mov", "prores"), ("o.mkv", "ffv1")]
)
def test_that_holds_for_every_codec(source, runner, whole, tmp_path, name, codec):
    for frame in (3, 9):  # twice interrupted
        with pytest.raises(CrashError):
            convert_video(source, tmp_path / name, runner, settings(codec), listener=ending_at(frame, CrashError))
    convert_video(source, tmp_path / name, runner, settings(codec))
    assert (tmp_path / name).read_bytes() == whole[name, codec]


def test_a_part_goes_on_where_it_was(source, runner, tmp_path):
    wishes = settings(start=1 / 24 * 3, frames=9)
    expected = convert_video(source, tmp_path / "whole.mp4", runner, wishes).output.read_bytes()
    with pytest.raises(CrashError):
        convert_video(source, tmp_path / "o.mp4", runner, wishes, listener=ending_at(6, CrashError))
    assert convert_video(source, tmp_path / "o.mp4", runner, wishes).fresh == 5
    assert (tmp_path / "o.mp4").read_bytes() == expected


def test_stop_leaves_a_file_that_plays_and_the_next_run_goes_on(source, runner, whole, tmp_path):
    notes = []

    def listen(event):
        notes.append(event.note)
        ending_at(6, KeyboardInterrupt)(event)

    with pytest.raises(KeyboardInterrupt):
        convert_video(source, tmp_path / "o.mp4", runner, settings(), listener=listen)
    assert notes[-1].endswith("o.partial.mp4 plays up to where it was stopped; the same command goes on")
    found = read_clip(tmp_path / "o.partial.mp4")
    assert 6 <= len(found.stamps) < FRAMES
    assert found.code_points == (9, 16, 9, 1)
    assert not (tmp_path / "o.mp4").exists()
    report = convert_video(source, tmp_path / "o.mp4", runner, settings())
    assert report.fresh == FRAMES - SEGMENT
    assert (tmp_path / "o.mp4").read_bytes() == whole["o.mp4", "hevc"]
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]


def test_a_stop_within_the_first_segment_says_that_nothing_is_kept(source, runner, tmp_path):
    notes = []

    def listen(event):
        notes.append(event.note)
        ending_at(2, KeyboardInterrupt)(event)

    with pytest.raises(KeyboardInterrupt):
        convert_video(source, tmp_path / "o.mp4", runner, settings(), listener=listen)
    assert notes[-1].endswith("o.partial.mp4 plays up to where it was stopped; the same command begins anew")
    assert convert_video(source, tmp_path / "o.mp4", runner, settings()).fresh == FRAMES


@pytest.mark.parametrize("change", ["crf", "source", "damage"])
def test_segments_of_other_settings_another_source_or_cut_short_are_not_taken(source, runner, whole, tmp_path, change):
    before, after = settings(), settings()
    film = tmp_path / "film.mp4"
    film.write_bytes(source.read_bytes())
    if change == "crf":
        before = settings(crf=40)
    if change == "source":
        write_clip(film, Clip(frames=FRAMES, sounds=1))
    with pytest.raises(CrashError):
        convert_video(film, tmp_path / "o.mp4", runner, before, listener=ending_at(9, CrashError))
    film.write_bytes(source.read_bytes())
    if change == "damage":
        (second,) = (tmp_path / "o.mp4.parts").glob("000001-*.packets")
        second.write_bytes(second.read_bytes()[:-1])
    report = convert_video(film, tmp_path / "o.mp4", runner, after)
    assert report.fresh == FRAMES - (SEGMENT if change == "damage" else 0)
    assert (tmp_path / "o.mp4").read_bytes() == whole["o.mp4", "hevc"]


@pytest.mark.parametrize("frame", [None, 2, SEGMENT + 2], ids=["whole", "first segment", "second segment"])
def test_what_else_lies_in_a_folder_of_that_name_stays(source, runner, whole, tmp_path, frame):
    parts = tmp_path / "o.mp4.parts"
    (parts / "more").mkdir(parents=True)
    own = [parts / "notes.txt", parts / "000001.jpg", parts / "1.packets", parts / "more" / "000000.json"]
    for path in own:
        path.write_text("a person's")
    temporary = parts / ".dcdr-0123abcd-7-0123456789ab.tmp.json"  # of a process that was killed, on another machine
    temporary.touch()
    if frame is not None:
        with pytest.raises(CrashError):
            convert_video(source, tmp_path / "o.mp4", runner, settings(), listener=ending_at(frame, CrashError))
    convert_video(source, tmp_path / "o.mp4", runner, settings())
    assert (tmp_path / "o.mp4").read_bytes() == whole["o.mp4", "hevc"]
    assert sorted(path for path in parts.rglob("*") if path.is_file()) == sorted(own)


def test_segments_whose_chroma_lies_elsewhere_are_not_taken(source, runner, whole, tmp_path, monkeypatch):
    """As where a version made them that placed it beside the left sample, in the middle of two rows."""
    with monkeypatch.context() as patched:
        patched.setitem(CODECS, "hevc", replace(CODECS["hevc"], layout=Layout(10, 2, 2)))
        with pytest.raises(CrashError):
            convert_video(source, tmp_path / "o.mp4", runner, settings(), listener=ending_at(9, CrashError))
    assert convert_video(source, tmp_path / "o.mp4", runner, settings()).fresh == FRAMES
    assert (tmp_path / "o.mp4").read_bytes() == whole["o.mp4", "hevc"]


def test_a_run_that_only_had_to_join_does_not_encode_again(source, runner, whole, tmp_path, monkeypatch):
    from dcdr_deploy.run.video import convert

    def refuse(*_):
        raise CrashError

    with monkeypatch.context() as patched:
        patched.setattr(convert, "join", refuse)
        with pytest.raises(CrashError):
            convert_video(source, tmp_path / "o.mp4", runner, settings())
    report = convert_video(source, tmp_path / "o.mp4", runner, settings())
    assert (report.frames, report.fresh) == (FRAMES, 0)
    assert (tmp_path / "o.mp4").read_bytes() == whole["o.mp4", "hevc"]


def test_two_runs_at_one_target_do_not_mix(source, runner, whole, tmp_path):
    refused = []

    def listen(event):
        if isinstance(event, FramesDone) and not refused:
            with pytest.raises(OutputError, match=r"o\.mp4: another run is at it"):
                convert_video(source, tmp_path / "o.mp4", runner, settings())
            refused.append(event)

    convert_video(source, tmp_path / "o.mp4", runner, settings(), listener=listen)
    assert refused
    assert (tmp_path / "o.mp4").read_bytes() == whole["o.mp4", "hevc"]


@pytest.mark.parametrize("moment", ["encoding", "joining", "the end"])
def test_a_full_disk_is_told_in_a_line_and_the_next_run_goes_on(source, runner, whole, tmp_path, moment):
    """Full while a segment is written, while the file is joined, and with its last byte; what was there stays."""
    target = tmp_path / "o.mp4"
    target.write_bytes(b"an older file")
    size = len(whole["o.mp4", "hevc"])
    room = {"encoding": 500, "joining": size // 2, "the end": size - 1}[moment]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"o\.mp4: cannot be written: .*") as raised:
            convert_video(source, target, runner, settings())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    kept = f": it goes on from {tmp_path / 'o.mp4.parts'}"
    assert str(raised.value).endswith("run the same command again" + (kept if moment != "encoding" else ""))
    assert target.read_bytes() == b"an older file"
    closed = len(list((tmp_path / "o.mp4.parts").glob("*.packets")))
    assert closed == (0 if moment == "encoding" else -(-FRAMES // SEGMENT))
    convert_video(source, target, runner, settings())
    assert target.read_bytes() == whole["o.mp4", "hevc"]


@pytest.mark.parametrize("error", [TimeoutError("no answer of the encoder"), OutputError("o.mp4: hevc_nvenc failed")])
def test_what_is_no_fault_of_the_disk_is_not_told_as_one(tmp_path, error):
    """Errors of encoders and of waiting may be OSErrors, or be caused by one."""
    error.__cause__ = TimeoutError("of a codec") if isinstance(error, OutputError) else None
    with pytest.raises(type(error)) as raised, opened(tmp_path / "o.mp4", "key"):
        raise error
    assert raised.value is error


def test_a_run_that_is_refused_leaves_nothing(tmp_path, runner):
    source = write_clip(tmp_path / "in.mp4", Clip(frames=2))
    with pytest.raises(InputError, match="no frame came out"):
        convert_video(source, tmp_path / "o.mp4", runner, settings(start=100))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_failing_network_ends_the_run_with_its_own_words(source, runner, whole, tmp_path, monkeypatch):
    from dcdr_deploy.errors import EngineError

    calls = []

    def run(*arguments, own=runner.run, **more):
        calls.append(1)
        if len(calls) == 7:
            raise EngineError("the device is gone")
        return own(*arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(runner, "run", run)
        with pytest.raises(EngineError, match="the device is gone"):
            convert_video(source, tmp_path / "o.mp4", runner, settings())
    assert convert_video(source, tmp_path / "o.mp4", runner, settings()).fresh == FRAMES - SEGMENT
    assert (tmp_path / "o.mp4").read_bytes() == whole["o.mp4", "hevc"]


def test_progress_counts_what_an_earlier_run_did(source, runner, tmp_path):
    with pytest.raises(CrashError):
        convert_video(source, tmp_path / "o.mp4", runner, settings(), listener=ending_at(5, CrashError))
    ear = Ear()
    convert_video(source, tmp_path / "o.mp4", runner, settings(), listener=ear)
    steps = [(event.done, event.total) for event in ear.of(FramesDone)]
    assert steps[0][0] > SEGMENT
    assert steps[-1] == (FRAMES, FRAMES)
    assert all(event.fps > 0 for event in ear.of(FramesDone))
    assert ear.of(FileConverted)[0].report.frames == FRAMES


RUN = """
import sys
from pathlib import Path
from dcdr_deploy.run.opening import RunnerSettings, open_runner
from dcdr_deploy.run.video.convert import convert_video
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.target import EncodeOptions
model, source, target = sys.argv[1:]
settings = VideoSettings(video=VideoOptions(EncodeOptions("hevc", None, "superfast"), segment_frames=4))
tell = lambda event: print(getattr(event, "done", 0), flush=True)
with open_runner(model, RunnerSettings(backend="onnxruntime")) as runner:
    convert_video(source, target, runner, settings, listener=tell)
"""


def test_killed_at_random_moments_it_still_becomes_the_same_file(source, tiny_model, whole, tmp_path):
    """After so many of its words and a while, so that the moments lie in all parts of a run, however slow it is."""
    target = tmp_path / "o.mp4"
    command = [sys.executable, "-c", RUN, str(tiny_model), str(source), str(target)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    moments = random.Random(time.time_ns())
    for first, last in ((0, SEGMENT), (SEGMENT, 2 * SEGMENT), (2 * SEGMENT, FRAMES)):
        frame = moments.randint(first, last)
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            while int(process.stdout.readline() or FRAMES) < frame:
                pass
            time.sleep(moments.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        if target.exists():  # it was done before
            assert target.read_bytes() == whole["o.mp4", "hevc"]
            target.unlink()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert target.read_bytes() == whole["o.mp4", "hevc"]
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]


def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path, runner):
    """500 frames: what is in use after 200 of them is what is in use at the end, within a few frames' size."""
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("no /proc here")
    size = (96, 128)
    source = write_clip(tmp_path / "in.mp4", Clip(frames=500, size=size))
    pages: dict[int, int] = {}

    def listen(event):
        if isinstance(event, FramesDone):
            pages[event.done] = int(status.read_text().split()[1])

    options = VideoOptions(EncodeOptions("hevc", None, "ultrafast"), segment_frames=50)
    convert_video(source, tmp_path / "o.mp4", runner, VideoSettings(video=options), listener=listen)
    early = max(count for done, count in pages.items() if 150 < done <= 250)
    late = max(count for done, count in pages.items() if done > 400)
    grown = (late - early) * os.sysconf("SC_PAGE_SIZE")
    frame = 4 * 3 * np.prod(size)  # of linear light
    assert grown < 80 * frame  # of 250: the allocator settles
