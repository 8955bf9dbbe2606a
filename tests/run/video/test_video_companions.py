"""Sound, subtitles, chapters, attachments and titles go along."""

from __future__ import annotations

from fractions import Fraction

import pytest
from videos import SUBTITLE_HEADER, packet_times, packets, read_clip

from dcdr_deploy.errors import OutputError
from dcdr_deploy.run.video.convert import PreparedVideo, convert_video
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.streams import Companions
from dcdr_deploy.run.video.target import EncodeOptions

FAST = EncodeOptions("hevc", preset="ultrafast")
EVERYTHING = {"sounds": 2, "subtitles": True, "chapters": True}


def converted(source, runner, name, **wishes):
    settings = VideoSettings(video=VideoOptions(FAST, segment_frames=5, **wishes))
    return convert_video(source, source.with_name(name), runner, settings)


def opened(path):
    import av

    return av.open(str(path))


@pytest.mark.parametrize("before", ["in.mp4", "in.mkv"])
@pytest.mark.parametrize("after", ["o.mp4", "o.mkv", "o.mov"])
def test_every_track_goes_along(make_clip, runner, before, after):
    source = make_clip(before, attachment=before.endswith("mkv"), **EVERYTHING)
    report = converted(source, runner, after)
    stamps = [round(stamp, 3) for stamp in read_clip(source).stamps]
    assert [round(stamp, 3) for stamp in read_clip(report.output).stamps] == stamps
    assert len(packets(source, "audio")) == 2
    assert packets(report.output, "audio") == packets(source, "audio")  # byte for byte
    tick = Fraction(1, 1000) if "mkv" in before + after else 0  # Matroska counts milliseconds
    for track in (0, 1):
        pairs = zip(packet_times(source, "audio", track), packet_times(report.output, "audio", track), strict=True)
        assert max(abs(a - b) for a, b in pairs) <= tick
    with opened(report.output) as found:
        kinds = [stream.type for stream in found.streams]
        assert kinds[:4] == ["video", "audio", "audio", "subtitle"]
        assert [stream.language for stream in list(found.streams)[1:4]] == [
            "eng",
            "ger" if after == "o.mov" else "deu",
            "eng",
        ]
        (line,) = [part for packet in found.demux(subtitles=0) if packet.size for part in packet.decode() if part]
        assert "Hello there" in line.dialogue.decode()
        chapters = [
            (chapter["metadata"]["title"], float(chapter["start"] * chapter["time_base"]))
            for chapter in found.chapters()
        ]
        assert chapters == [("part 1", 0.0), ("part 2", 0.2)]
        assert found.metadata["title"] == "Bars and a lamp"
        attached = [(stream.name, stream.data) for stream in found.streams.attachments]
    assert attached == ([("font.ttf", b"not really a font")] if before.endswith("mkv") and after == "o.mkv" else [])
    left_out = [note for note in report.notes if "only .mkv holds it" in note]
    assert len(left_out) == (1 if before.endswith("mkv") and after != "o.mkv" else 0)


def test_a_subtitle_is_shown_when_it_was(make_clip, runner):
    source = make_clip("in.mkv", subtitles=True)
    for name in ("o.mkv", "o.mp4"):
        report = converted(source, runner, name)
        times = [time for time in packet_times(report.output, "subtitle") if time > 0]
        assert times[0] == Fraction(1, 10)


def test_a_part_takes_its_own_sound_text_and_chapters(make_clip, runner):
    source = make_clip("in.mkv", frames=24, **EVERYTHING)
    report = converted(source, runner, "o.mkv", start=Fraction(1, 4), end=Fraction(1, 2))
    times = packet_times(report.output, "audio")
    assert 0 <= times[0] < Fraction(3, 100)
    assert times[-1] < Fraction(1, 4)
    assert set(packets(report.output, "audio")[0]) < set(packets(source, "audio")[0])
    assert packet_times(report.output, "subtitle") == [0]  # it was shown from 0.1 s to 0.3 s
    with opened(report.output) as found:
        chapters = [float(chapter["start"] * chapter["time_base"]) for chapter in found.chapters()]
        assert chapters == [0.0]


def with_cover(clip, target):
    """The clip with a cover beside its pictures, by PyAV."""
    import io

    import av
    import numpy as np
    from PIL import Image

    picture = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), 200, np.uint8)).save(picture, "PNG")
    with av.open(str(clip)) as source, av.open(str(target), "w") as output:
        source.streams.video[0].metadata["language"] = "fin"
        video = output.add_stream_from_template(source.streams.video[0], opaque=True)
        video.metadata.update(title="the film", language="fin")
        with av.open(io.BytesIO(picture.getvalue()), format="png_pipe") as still:
            cover = output.add_stream_from_template(still.streams.video[0], opaque=True)
            cover.disposition = type(cover.disposition).attached_pic
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = video
                    output.mux(packet)
            packet = av.Packet(picture.getvalue())
            packet.pts = packet.dts = 0
            packet.time_base, packet.stream = Fraction(1, 24), cover
            output.mux(packet)
    return target, picture.getvalue()


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.mov"])
def test_covers_go_along_and_are_not_taken_for_the_film(make_clip, runner, name):
    source, cover = with_cover(make_clip("plain.mp4", frames=4), make_clip("in.mp4", frames=1))
    report = converted(source, runner, name, start=Fraction(1, 24))
    assert report.frames == 3
    with opened(report.output) as found:
        stills = [stream for stream in found.streams.video if stream.disposition.value & 1024]
        assert found.streams.video[0].language == "fin"
        data = [bytes(packet) for packet in found.demux(stills) if packet.size] if stills else []
    if name == "o.mov":
        assert report.notes == ("its cover is left out; only .mp4 and .mkv hold it",)
    else:
        assert (data, report.notes) == ([cover], ())


def test_sound_that_a_container_cannot_hold_is_refused_before_any_work(tmp_path, runner, make_clip):
    import av
    import numpy as np

    source = make_clip("in.mkv", frames=2)
    with av.open(str(source)) as before, av.open(str(tmp_path / "pcm.mkv"), "w") as output:
        video = output.add_stream_from_template(before.streams.video[0], opaque=True)
        sound = output.add_stream("pcm_s16le", rate=48000)
        for packet in before.demux(video=0):
            if packet.size:
                packet.stream = video
                output.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48000, 0
        output.mux(sound.encode(frame))
    with pytest.raises(OutputError, match=r"o\.mp4: cannot hold the tracks of .*pcm\.mkv: .*; write \.mkv"):
        converted(tmp_path / "pcm.mkv", runner, "o.mp4")
    assert converted(tmp_path / "pcm.mkv", runner, "o.mov").frames == 2


def test_sound_that_no_container_of_ours_holds_is_refused_with_a_command_that_helps(runner, make_clip):
    import av
    import numpy as np

    source = make_clip("plain.mkv", frames=2).with_name("in.avi")
    with av.open(str(source), "w") as output:
        video, sound = output.add_stream("mjpeg", rate=24), output.add_stream("adpcm_ms", rate=8000)
        video.width, video.height, video.pix_fmt = 32, 32, "yuvj420p"
        output.mux(video.encode(av.VideoFrame(32, 32, "yuvj420p")))
        output.mux(video.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        output.mux(sound.encode(frame))
        output.mux(sound.encode())
    with pytest.raises(OutputError, match=r"'adpcm_ms' codec; .* for example by ffmpeg -i .* -c:a flac"):
        converted(source, runner, "o.mkv")


def test_broadcasts_begin_at_zero_with_sound_and_picture_together(make_clip, runner):
    source = make_clip("in.ts", sounds=1)
    before = read_clip(source).stamps[0]
    assert before > 1  # a broadcast's clock
    report = converted(source, runner, "o.mkv")
    lag = packet_times(source, "audio")[0] - before
    found = read_clip(report.output).stamps[0]
    assert 0 <= found < Fraction(1, 10)
    assert abs(packet_times(report.output, "audio")[0] - found - lag) <= Fraction(2, 1000)
    assert packets(report.output, "audio")[0]


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.mov"])
def test_sound_whose_clock_slips_back_is_written_all_the_same(make_clip, runner, name):
    """Such sound once ended the run in a traceback, after all pictures had been computed."""
    clip = make_clip("clip.ts", sounds=1)
    source = clip.with_name("in.ts")
    source.write_bytes(clip.read_bytes() * 2)
    report = converted(source, runner, name)
    times = packet_times(report.output, "audio")
    assert (len(times), times) == (2 * len(packet_times(clip, "audio")), sorted(times))
    assert any("packets of sound or subtitles whose time stamps did not rise" in note for note in report.notes)


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.mov"])
def test_sound_that_was_damaged_on_its_way_is_left_out(make_clip, runner, name):
    """Which once ended the run when all pictures had been computed."""
    clip = make_clip("clip.ts", sounds=1, frames=48)
    sound, content = packets(clip, "audio")[0], bytearray(clip.read_bytes())
    for number in (10, 40):
        content[content.index(sound[number][:12])] = 0  # where the header of ADTS begins (ISO 14496-3, 1.A.2.2)
    source = clip.with_name("in.ts")
    source.write_bytes(content)
    report = converted(source, runner, name)
    assert (report.frames, len(packets(report.output, "audio")[0])) == (48, len(packets(source, "audio")[0]) - 2)
    assert "2 packets of sound or subtitles that are damaged are left out" in report.notes


def test_sound_of_which_nothing_can_be_taken_over_ends_a_run_before_any_work(make_clip, monkeypatch):
    monkeypatch.setattr(Companions, "mux", lambda *_: False)
    source = make_clip(sounds=1)
    with pytest.raises(OutputError, match=r"o\.mkv: cannot hold .*: nothing of a track of sound .* -c:a flac"):
        PreparedVideo(source, source.with_name("o.mkv"))


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.mov"])
def test_subtitles_of_an_unknown_kind_are_left_out_with_a_note(make_clip, runner, name):
    source = make_clip(frames=4, subtitles=True)
    content = source.read_bytes()
    assert content.count(b"tx3g") == 1
    source.write_bytes(content.replace(b"tx3g", b"stpp"))
    report = converted(source, runner, name)
    assert report.notes == ("subtitles of track 1 (an unknown codec) are left out; the output cannot hold them",)
    with opened(report.output) as found:
        assert not [stream for stream in found.streams if stream.type == "subtitle"]


CAPTION = bytes.fromhex("b5003147413934 03 c1ff fc9420 ff")
"""ATSC A/53 part 4, 6.2.3: one pair of bytes of CEA-608."""


@pytest.mark.parametrize("first", [0, 2])
def test_captions_within_the_pictures_are_told_to_be_left_out(make_clip, runner, first):
    """In the first frame or in a later one."""
    import av

    plain = make_clip("plain.mkv", frames=3)
    source = plain.with_name("in.mkv")
    message = bytes([6, 4, len(CAPTION)]) + CAPTION + b"\x80"
    with av.open(str(plain)) as before, av.open(str(source), "w") as after:
        track = after.add_stream_from_template(before.streams.video[0], opaque=True)
        for number, packet in enumerate(before.demux(video=0)):
            if packet.size:
                said = len(message).to_bytes(4, "big") + message if number >= first else b""
                new = av.Packet(said + bytes(packet))
                new.pts, new.dts, new.time_base = packet.pts, packet.dts, packet.time_base
                new.is_keyframe, new.stream = packet.is_keyframe, track
                after.mux(new)
    assert converted(source, runner, "o.mkv").notes == ("closed captions within the pictures are left out",)


@pytest.mark.parametrize(("default", "luma"), [((0,), 60), ((1,), 160), ((0, 1), 60), ((), 60)])
def test_of_several_video_tracks_the_default_one_is_taken(make_clip, runner, default, luma):
    import av
    import numpy as np

    flat = {code: lambda _, code=code: np.full((64, 96), code, np.uint8) for code in (60, 160)}
    clips = [make_clip(f"{code}.mp4", paint, frames=2) for code, paint in flat.items()]
    source = clips[0].with_name("in.mkv")
    tracks = [av.open(str(clip)) for clip in clips]
    with av.open(str(source), "w", options={"default_mode": "passthrough"}) as output:
        new = [output.add_stream_from_template(track.streams.video[0], opaque=True) for track in tracks]
        for number, stream in enumerate(new):
            stream.metadata["title"] = f"track {number}"
            stream.disposition = type(stream.disposition)(int(number in default))
        for track, stream in zip(tracks, new, strict=True):
            for packet in track.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)
    report = converted(source, runner, "o.mkv")
    assert report.notes == ("1 more video track is left out",)
    with opened(report.output) as found:
        assert found.streams.video[0].metadata["title"] == f"track {int(luma == 160)}"
    with open_video(source) as video:
        assert abs(int(next(iter(video.frames())).planes[0][0, 0]) - luma) <= 1


def test_titles_that_are_no_unicode_hinder_nothing(make_clip, runner):
    import av

    plain = make_clip("plain.mp4", frames=2)
    _, cover = with_cover(plain, make_clip("covered.mp4", frames=1))
    source = plain.with_name("in.mkv")
    with av.open(str(plain)) as before, av.open(str(source), "w") as after:
        track = after.add_stream_from_template(before.streams.video[0], opaque=True)
        track.metadata["title"] = "the film"
        after.add_attachment("cover.png", "image/png", cover)
        for packet in before.demux(video=0):
            if packet.size:
                packet.stream = track
                after.mux(packet)
    content = source.read_bytes()
    assert content.count(b"the film") == 1
    source.write_bytes(content.replace(b"the film", b"d\xe9j\xe0 vu!"))
    report = converted(source, runner, "o.mkv")
    with opened(report.output) as found:
        assert found.streams.video[0].metadata["title"] == "d\ufffdj\ufffd vu!"


def test_a_subtitle_that_is_no_unicode_is_left_out_where_it_must_be_read(make_clip, runner):
    source = make_clip("in.mkv", frames=4, subtitles=True)
    content = source.read_bytes()
    assert content.count(b"Hello there") == 1
    source.write_bytes(content.replace(b"Hello there", b"H\xe9llo there"))
    assert converted(source, runner, "o.mkv").notes == ()
    assert converted(source, runner, "o.mp4").notes == ("1 subtitle that cannot be decoded is left out",)


def test_a_subtitle_that_is_too_long_for_mp4_is_left_out_there_alone(make_clip, runner):
    import av

    long = "\u00e9".encode() * 40_000
    source = make_clip("in.mkv", frames=4)
    film = source.with_name("long.mkv")
    with opened(source) as before, av.open(str(film), "w") as after:
        track = after.add_stream_from_template(before.streams.video[0], opaque=True)
        subtitle = after.add_stream("subrip")
        subtitle.codec_context.subtitle_header = SUBTITLE_HEADER
        for stamp, text in ((0, b"short"), (40, long)):
            packet = av.Packet(text)
            packet.stream, packet.time_base = subtitle, Fraction(1, 1000)
            packet.pts, packet.dts, packet.duration = stamp, stamp, 40
            after.mux(packet)
        for packet in before.demux(video=0):
            if packet.size:
                packet.stream = track
                after.mux(packet)
    whole = converted(film, runner, "o.mkv")
    assert whole.notes == ()
    assert packets(whole.output, "subtitle") == [[b"short", long]]
    cut = converted(film, runner, "o.mp4")
    assert cut.notes == ("1 subtitle of more than 65,535 bytes is left out; .mkv can hold it",)
    assert [text for text in packets(cut.output, "subtitle")[0] if len(text) > 2] == [b"\0\5short"]


def test_sound_of_which_nothing_is_known_is_refused_with_the_way_out(make_clip, runner):
    """A transport stream that announces a track of which no packet comes."""
    clip = make_clip("clip.ts", sounds=1)
    content = clip.read_bytes()
    packets = [content[place : place + 188] for place in range(0, len(content), 188)]
    source = clip.with_name("in.ts")
    source.write_bytes(b"".join(packet for packet in packets if (packet[1] & 31) << 8 | packet[2] != 0x101))
    with pytest.raises(OutputError, match=r"nothing is known of the sound in track 1, .* -map -0:1 -c copy"):
        converted(source, runner, "o.mkv")
