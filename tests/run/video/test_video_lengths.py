"""How long a video is and how many pictures a second it has, where formats say that in ways of their own."""

from __future__ import annotations

import itertools
from fractions import Fraction

import av
import pytest
from videos import read_clip

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.video.convert import convert_video
from dcdr_deploy.run.video.decoding import LostFrame, decoded
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.target import EncodeOptions


def converted(source, runner):
    settings = VideoSettings(video=VideoOptions(EncodeOptions("hevc", preset="ultrafast")))
    return convert_video(source, source.with_name("o.mkv"), runner, settings)


def test_a_video_that_begins_late_does_not_break_off(make_clip, runner):
    """Matroska says when a track ends, not how long it is."""
    stamps = [3000 + round(number * 1000 / 24) for number in range(12)]
    source = make_clip("in.mkv", stamps=stamps, time_base=Fraction(1, 1000))
    report = converted(source, runner)
    assert report.notes == ()
    assert read_clip(report.output).stamps[0] == 3


def test_a_subtitle_that_ends_later_does_not_make_it_break_off(make_clip, runner):
    """FFmpeg calls the beginning of the subtitles that of the video, and their end its end."""
    source = make_clip("in.mkv", frames=4, subtitles=True)
    report = converted(source, runner)
    assert report.notes == ()


def test_a_whole_file_whose_last_picture_has_no_length_does_not_break_off(make_clip, runner):
    """ASF gives it a tick."""
    source = make_clip("in.asf", frames=24, codec="mpeg2video", options={})
    report = converted(source, runner)
    assert report.frames == 24
    assert not any("breaks off" in note for note in report.notes)


def test_a_length_that_is_only_estimated_makes_nothing_break_off(make_clip, runner):
    """FFmpeg divides the size of such streams by the bit rate that they state."""
    source = make_clip("in.m1v", frames=12, codec="mpeg1video", options={})
    content = bytearray(source.read_bytes())
    assert content[:4] == b"\0\0\1\xb3"
    content[8:11] = bytes([0, 0, content[10] & 0x3F | 0x40])  # 400 bits a second (ISO/IEC 11172-2, 2.4.2.3)
    source.write_bytes(content)
    report = converted(source, runner)
    assert report.frames == 12
    assert not any("breaks off" in note for note in report.notes)


@pytest.mark.parametrize(
    ("name", "rate", "wishes"),
    [
        ("in.h264", 24, {}),
        ("in.m2v", 24, {"codec": "mpeg2video", "options": {}}),
        ("in.dv", 25, {"codec": "dvvideo", "size": (576, 720), "options": {}}),
    ],
)
def test_streams_without_a_container_have_the_rate_that_they_state(make_clip, name, rate, wishes):
    """FFmpeg assumes 25 frames a second on average, and 60,000 of DV."""
    with open_video(make_clip(name, frames=3, **wishes), deinterlace=True) as video:
        stamps = [frame.stamp * video.info.time_base for frame in video.frames()]
        assert video.info.rate == rate
    assert {after - before for before, after in itertools.pairwise(stamps)} == {Fraction(1, rate)}


class Torn:
    """A file that cannot be read on after some packets."""

    def __init__(self, container, packets, error):
        self._container, self._packets, self._error = container, packets, error

    def __getattr__(self, name):
        return getattr(self._container, name)

    def demux(self, stream):
        yield from itertools.islice(self._container.demux(stream), self._packets)
        raise self._error


def test_where_a_file_cannot_be_read_on_what_the_decoder_holds_still_comes(make_clip):
    source = make_clip(frames=12, options={"preset": "medium", "bf": "2"})
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        torn = Torn(container, 8, av.error.InvalidDataError(1, "a damaged length"))
        *frames, last = decoded(torn, stream, stamps="pts", one_each=True)
    assert len([frame for frame in frames if not isinstance(frame, LostFrame)]) == 8
    assert last == LostFrame(None)


def test_a_track_that_begins_on_the_way_ends_nothing_early(make_clip):
    """PyAV looks for it in a list that was made when the file was opened, after it has told the ends of the others."""
    with av.open(str(make_clip(frames=12))) as container:
        stream = container.streams.video[0]
        later = Torn(container, None, IndexError("list index out of range"))
        frames = list(decoded(later, stream, stamps="pts", one_each=True))
    assert len([frame for frame in frames if not isinstance(frame, LostFrame)]) == len(frames) == 12


def test_a_disk_that_fails_under_the_source_is_no_matter_of_its_content_nor_of_the_output(
    make_clip, runner, monkeypatch
):
    source = make_clip(frames=12)
    plain, error = av.open, av.error.OSError(5, "Input/output error")

    def failing(*arguments, **settings):
        container = plain(*arguments, **settings)
        return Torn(container, 8, error) if source.with_name("o.mkv.parts").exists() else container

    monkeypatch.setattr(av, "open", failing)
    with pytest.raises(
        InputError, match=r"in\.mp4: cannot be read on: Input/output error; a disk or a network fails, mend"
    ):
        converted(source, runner)


def test_a_length_beyond_all_memory_ends_the_file_there_with_a_note(make_clip, runner):
    """Of a packet of sound, by AVI's index; it once ended the run in a traceback."""
    source = make_clip("in.avi", frames=16, sounds=1)
    content = bytearray(source.read_bytes())
    entry = content.rindex(b"idx1") + 8
    assert content[entry : entry + 4] == b"01wb"
    content[entry + 15] = 0x3D  # highest byte of the length
    source.write_bytes(content)
    report = converted(source, runner)
    assert len(read_clip(report.output).stamps) == report.frames > 0
    assert report.frames >= 16 or any("it breaks off" in note for note in report.notes)
