"""When pictures are shown: beginnings and ends that cannot be decoded, clocks that slip or jump, time codes."""

from __future__ import annotations

from fractions import Fraction
from importlib.metadata import version

import pytest

pytest.importorskip("av")

import av
from videos import copied, damaged, read_clip

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.video.convert import convert_video
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.target import EncodeOptions
from dcdr_deploy.run.video.timing import timecode_after

tells_rates = pytest.mark.skipif(int(version("av").split(".")[0]) < 18, reason="PyAV 17 gives a muxer no rate")

FAST = {"preset": "ultrafast", "g": "6", "bf": "0", "qp": "10"}
WHOLE = {"preset": "ultrafast", "g": "1"}
REORDERED = {"preset": "medium", "g": "12", "bf": "2", "x264-params": "open-gop=1:scenecut=0:b-adapt=0"}


def converted(source, runner, name="o.mkv", **wishes):
    settings = VideoSettings(video=VideoOptions(EncodeOptions("hevc", preset="ultrafast"), **wishes))
    report = convert_video(source, source.with_name(name), runner, settings)
    return report, read_clip(report.output)


@pytest.mark.parametrize("name", ["in.mkv", "in.ts"])
def test_what_comes_before_the_first_key_frame_is_left_out_with_a_note(make_clip, runner, name):
    """As in what was cut out of a broadcast: no player shows it either, and nothing is damaged."""
    plain = make_clip("plain.mkv", frames=24, options=FAST)
    source = copied(plain, plain.with_name(name), lambda number: number >= 4)
    report, found = converted(source, runner)
    assert (report.frames, len(report.lost)) == (18, 2)
    assert max(report.lost) < 0  # seconds before the first frame
    assert "its beginning cannot be decoded; frames left out: 2" in report.notes
    assert not any("breaks off" in note for note in report.notes)
    first = read_clip(plain).lumas[6]
    assert abs(found.stamps[0] - (Fraction(2, 24) if name == "in.ts" else Fraction(6, 24))) < Fraction(1, 500)
    with open_video(source) as video:
        assert (next(frame for frame in video.frames() if hasattr(frame, "planes")).planes[0] == first).all()


def test_pictures_that_lead_an_open_group_are_left_out_too(make_clip, runner):
    plain = make_clip("plain.mkv", frames=36, options=REORDERED)
    with av.open(str(plain)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    (_, key, *_) = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    leading = sum(packet.pts < packets[key].pts for packet in packets[key:])
    assert leading == 2
    source = copied(plain, plain.with_name("in.mkv"), lambda number: number >= key)
    report, found = converted(source, runner)
    assert (report.frames, len(report.lost)) == (36 - key - leading, leading)
    assert len(found.stamps) == report.frames


def test_a_first_frame_that_is_no_frame_at_all_is_left_out_with_the_same_note(make_clip, runner):
    source = damaged(make_clip(frames=12, options=WHOLE), 0)
    report, _ = converted(source, runner)
    assert (report.frames, report.notes) == (11, ("its beginning cannot be decoded; frames left out: 1",))


def test_a_file_whose_last_frame_is_cut_gives_those_before_it(make_clip, runner):
    """Nothing can be decoded after that, so that nothing is passed over."""
    plain = make_clip("plain.mp4", frames=24, options=REORDERED)
    source = copied(plain, plain.with_name("in.mp4"), options={"movflags": "faststart"})
    with av.open(str(source)) as container:
        place = [packet.pos + packet.size // 2 for packet in container.demux(video=0) if packet.size][16]
    source.write_bytes(source.read_bytes()[:place])
    report, found = converted(source, runner)
    assert 4 < len(found.stamps) < 24
    assert report.lost
    assert f"it breaks off: {report.frames} of 24 frames came out" in report.notes[-1]


def test_a_damaged_last_frame_is_told_as_the_end(make_clip, runner):
    source = damaged(make_clip(frames=8, options=WHOLE), 7)
    report, found = converted(source, runner)
    assert (len(found.stamps), report.lost) == (7, pytest.approx((7 / 24,), abs=1e-3))
    assert report.notes[-1] == "it breaks off: what comes after 0.292 s cannot be decoded; frames left out: 1"


def test_damage_before_the_end_of_a_part_ends_the_run_though_more_is_not_wanted(make_clip, runner):
    source = damaged(make_clip(frames=8, options=WHOLE), 4)
    with pytest.raises(InputError, match=r"the frame at 0\.167 s cannot be decoded"):
        converted(source, runner, end=Fraction(5, 24))
    assert converted(source, runner, end=Fraction(4, 24))[0].frames == 4


def test_pictures_out_of_order_in_avi_are_shown_in_their_order(make_clip, runner):
    """AVI knows no time of showing; FFmpeg's guess for H.264 goes back and forth."""
    source = make_clip("in.avi", frames=24, options=REORDERED)
    report, found = converted(source, runner)
    assert (report.frames, report.lost, report.notes) == (24, (), ())
    assert {round((b - a) * 24) for a, b in zip(found.stamps, found.stamps[1:], strict=False)} == {1}
    part, _ = converted(source, runner, start=Fraction(12, 24))
    assert part.frames == 12


@pytest.mark.parametrize(
    ("name", "wishes"),
    [
        ("in.mp4", {"options": REORDERED}),
        ("in.mkv", {"options": REORDERED}),
        ("in.ts", {"options": REORDERED}),
        ("in.avi", {"options": REORDERED}),
        ("in.mpg", {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}}),
        ("in.h264", {"options": REORDERED}),
    ],
)
def test_a_part_may_begin_at_any_picture(make_clip, name, wishes):
    """Of open groups, of streams without an index, and right before a key frame."""
    source = make_clip(name, frames=30, **wishes)
    with open_video(source) as video:
        whole = list(video.frames())
        assert len(whole) == 30
        for number, first in enumerate(whole):
            part = list(video.frames(first.stamp))
            assert [(frame.stamp, frame.checksum) for frame in part] == [
                (frame.stamp, frame.checksum) for frame in whole[number:]
            ]


def test_a_clock_that_begins_anew_is_refused_with_the_way_out(make_clip, runner):
    clip = make_clip("clip.ts", frames=48, options=FAST, sounds=1)
    source = clip.with_name("two recordings.ts")
    source.write_bytes(clip.read_bytes() * 2)
    with pytest.raises(
        InputError, match=r"clock jumps back by 1\.958 s after 1\.958 s; .*ffmpeg -i '.*recordings\.ts'"
    ):
        converted(source, runner)


def test_a_clock_that_leaps_by_half_a_day_is_refused_too(make_clip, runner):
    """A damaged stamp, of which MP4 would find out when all pictures had been computed."""
    source = make_clip("in.mkv", frames=3, stamps=[0, 42, 50_000_000], time_base=Fraction(1, 1000))
    with pytest.raises(InputError, match=r"jumps ahead by 49999\.958 s after 0\.042 s"):
        converted(source, runner)


def slipping(make_clip, name, first, second):
    """One transport stream of two, which begin at such seconds."""
    clips = [make_clip(f"{number}.ts", frames=6, offset=offset) for number, offset in enumerate((first, second))]
    source = clips[0].with_name(name)
    source.write_bytes(b"".join(clip.read_bytes() for clip in clips))
    return source


@pytest.mark.parametrize("name", ["o.mkv", "o.mp4"])
def test_stamps_that_slip_back_are_moved_on_as_far_as_every_container_can_say(make_clip, runner, name):
    source = slipping(make_clip, "in.ts", 10, 10)
    report, found = converted(source, runner, name)
    assert (report.frames, len(found.stamps)) == (12, 12)
    assert all(b - a >= Fraction(999, 1_000_000) for a, b in zip(found.stamps, found.stamps[1:], strict=False))
    assert any(note.endswith("time stamps that did not rise were moved on") for note in report.notes)


def test_pictures_closer_than_matroskas_tick_are_all_shown(make_clip, runner):
    stamps = [0, 30, 60, 90, 9000, 9030, 18000, 18001]
    source = make_clip("in.nut", frames=8, stamps=stamps, time_base=Fraction(1, 90000))
    settings = VideoSettings(video=VideoOptions(EncodeOptions("hevc", preset="medium")))  # decoded out of order
    found = read_clip(convert_video(source, source.with_name("o.mkv"), runner, settings).output)
    assert [stamp * 1000 for stamp in found.stamps] == [0, 1, 2, 3, 100, 101, 200, 201]


@pytest.mark.parametrize("name", ["o.mkv", "o.mp4", "o.mov"])
def test_a_clock_that_begins_below_zero_loses_no_picture(make_clip, runner, name):
    """Players do not show what comes before the zero of MP4."""
    plain = make_clip("plain.mkv", frames=6, options=FAST)
    source = plain.with_name("in.ts")
    copied(plain, source, options={"output_ts_offset": str(2**33 / 90000 - 1.5), "mpegts_copyts": "1"})
    with open_video(source) as video:
        assert video.info.begin < 0
    report, found = converted(source, runner, name)
    assert (report.frames, len(found.stamps), min(found.stamps)) == (6, 6, 0)


@pytest.mark.parametrize("name", ["o.mp4", "o.mov"])
def test_a_beginning_between_milliseconds_is_kept_to_the_tick(make_clip, runner, name):
    stamps = [3755 + 3754 * number for number in range(6)]
    source = make_clip("in.nut", frames=6, stamps=stamps, time_base=Fraction(1, 90000))
    expected = read_clip(source).stamps
    _, found = converted(source, runner, name)
    assert found.stamps == expected


@tells_rates
def test_a_time_code_goes_along_and_begins_with_the_part(make_clip, runner):
    plain = make_clip("plain.mp4", frames=24, options=FAST)
    source = plain.with_name("in.mov")
    with av.open(str(plain)) as before, av.open(str(source), "w") as after:
        track = after.add_stream_from_template(before.streams.video[0], opaque=True)
        track.metadata["timecode"] = "00:59:59:20"
        for packet in before.demux(video=0):
            if packet.size:
                packet.stream = track
                after.mux(packet)
    for name, codec in (("o.mov", "prores"), ("o.mp4", "hevc"), ("o.mp4", "av1"), ("o.mkv", "hevc")):
        options = VideoOptions(EncodeOptions(codec), start=Fraction(6, 24))
        report = convert_video(source, source.with_name(name), runner, VideoSettings(video=options))
        assert report.notes == ()
        with av.open(str(report.output)) as found:
            stated = {key.lower(): value for key, value in found.streams.video[0].metadata.items()}
            assert stated["timecode"] == "01:00:00:02"
            codes = [stream for stream in found.streams if stream.type == "data"]
            assert [stream.metadata["timecode"] for stream in codes] == (["01:00:00:02"] if name != "o.mkv" else [])


def counted(a_second: int, dropped: int, minutes: int):
    """Time codes one after the other, by the rule in words."""
    for minute in range(minutes):
        for second in range(60):
            for number in range(a_second):
                if second or minute % 10 == 0 or number >= dropped:
                    sign = ";" if dropped else ":"
                    yield f"{minute // 60:02}:{minute % 60:02}:{second:02}{sign}{number:02}"


@pytest.mark.parametrize(
    ("rate", "a_second", "dropped"),
    [
        (Fraction(30000, 1001), 30, 2),
        (Fraction(60000, 1001), 60, 4),
        (Fraction(24000, 1001), 24, 0),
        (Fraction(25), 25, 0),
    ],
)
def test_time_codes_are_counted_with_the_numbers_that_are_dropped(rate, a_second, dropped):
    codes = list(counted(a_second, dropped, 22))
    assert [timecode_after(codes[0], number, rate) for number in range(0, len(codes), 7)] == codes[::7]
    assert [timecode_after(code, 1801, rate) for code in codes[:-1801:311]] == codes[1801::311]


def test_time_codes_end_with_the_day_and_other_words_are_left():
    assert timecode_after("23:59:59:24", 1, Fraction(25)) == "00:00:00:00"
    assert timecode_after("soon", 1, Fraction(25)) == "soon"
    assert timecode_after("01:00:00:00", 5, Fraction(1, 4)) == "01:00:05:00"  # a frame every four seconds


@tells_rates
@pytest.mark.parametrize("codec", ["hevc", "av1", "prores", "ffv1"])
def test_matroska_states_the_rate_where_there_is_one(make_clip, runner, codec):
    """Its milliseconds alone would be taken for 23.8 or 24.4 frames a second."""
    uneven = [0, 1, 3, 4, 5, 8, 9, 10]
    for stamps, rate in ((range(8), Fraction(24)), (uneven, None)):
        source = make_clip(frames=8, stamps=stamps, time_base=Fraction(1, 24))
        settings = VideoSettings(video=VideoOptions(EncodeOptions(codec)))
        report = convert_video(source, source.with_name("o.mkv"), runner, settings)
        content = report.output.read_bytes()
        stated = content.find(DEFAULT_DURATION)
        assert (stated >= 0) == (rate is not None)
        if rate is not None:
            size = content[stated + 3] & 0x7F
            nanoseconds = int.from_bytes(content[stated + 4 : stated + 4 + size], "big")
            assert nanoseconds == int(10**9 / rate)


DEFAULT_DURATION = bytes.fromhex("23e383")
"""Matroska's element of that name."""
