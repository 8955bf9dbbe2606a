"""What is read: pixel formats, ranges, matrices, rotation, stamps, fields, parts, and damage."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from videos import HEIGHT, PATCH, PATCH_LUMA, RATE, WIDTH, damaged, read_clip

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging.hdr_transfer import pq_encode
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.run.video.convert import convert_video
from dcdr_deploy.run.video.decoding import LostFrame
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.options import VideoOptions, parse_time
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.source import FrameIdentity, rgb_of
from dcdr_deploy.run.video.target import EncodeOptions

LOSSLESS = {"codec": "ffv1", "options": {}}


def lossless(**wishes) -> VideoSettings:
    return VideoSettings(video=VideoOptions(EncodeOptions("ffv1"), **wishes))


def converted(source, runner, **wishes):
    report = convert_video(source, source.with_name("o.mkv"), runner, lossless(**wishes))
    return report, read_clip(report.output)


def patch_code(value: float) -> float:
    """12-bit luma of a gray SDR value in [0, 1]."""
    return (16 + 219 * float(pq_encode(float(srgb_to_linear(np.float64(value))) * 203))) * 16


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"])
@pytest.mark.parametrize("full", [False, True])
def test_every_layout_depth_and_range_gives_the_same_light(make_clip, runner, pixels, full):
    bits = 10 if "10" in pixels else 8
    value = (0.4 if bits == 10 else 100 / 255) if full else (PATCH_LUMA - 16) / 219
    step = 2 ** (bits - 8)
    code = round(value * (2**bits - 1)) if full else PATCH_LUMA * step
    flat = np.full((HEIGHT, WIDTH), code, np.uint16)
    source = make_clip(
        "in.mkv", lambda number: flat, frames=1, pixels=pixels, tags=(1, 1, 1, 2 if full else 1), **LOSSLESS
    )
    report, found = converted(source, runner)
    exact = code / (2**bits - 1) if full else (code / step - 16) / 219
    assert np.abs(found.lumas[0].astype(float) - patch_code(exact)).max() <= 2
    assert report.colour.endswith("full range" if full else "limited range")


def test_rgb_and_gray_videos_are_read(tmp_path):
    import av

    for codec, pixels in (("ffv1", "bgr0"), ("libx264", "gray")):
        path = tmp_path / f"{pixels}.mkv"
        with av.open(str(path), "w") as output:
            stream = output.add_stream(codec, rate=RATE, options={"qp": "0"} if codec == "libx264" else {})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
            frame = av.VideoFrame(WIDTH, HEIGHT, pixels)
            for plane in frame.planes:
                plane.update(np.full(plane.buffer_size, 102, np.uint8))
            frame.pts = 0
            output.mux(stream.encode(frame))
            output.mux(stream.encode())
        with open_video(path) as video:
            frame = next(iter(video.frames()))
            value = 102 / 255 if pixels == "bgr0" else (102 - 16) / 219
            assert np.abs(rgb_of(frame, video.info) / 65535 - value).max() < 1e-4


def test_untagged_small_videos_are_bt601_with_a_note(make_clip, runner):
    report, _ = converted(make_clip(frames=1, tags=(2, 2, 2, 0)), runner)
    assert report.colour.startswith("BT.601")
    assert "not tagged" in report.notes[0]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_picture_is_written_upright(make_clip, degrees):
    """The patch lies at the top left as stored; a quarter to the left takes it to the bottom left."""
    source = make_clip(frames=1, rotation=degrees)
    with open_video(source) as video:
        rgb = rgb_of(next(iter(video.frames())), video.info)
        upright = np.rot90(rgb, -degrees // 90)
        assert video.info.shown_size == rgb.shape[:2]
        assert np.abs(upright[PATCH][..., 1].astype(float) / 65535 * 219 + 16 - PATCH_LUMA).mean() < 1


def test_a_turned_picture_keeps_the_shape_of_its_pixels(make_clip, runner):
    source = make_clip(frames=2, rotation=90, sar=Fraction(4, 3))
    report = convert_video(source, source.with_name("o.mov"), runner)
    found = read_clip(report.output)
    assert (report.height, report.width) == (WIDTH, HEIGHT)
    assert found.lumas[0].shape == (WIDTH, HEIGHT)
    assert found.sar == Fraction(3, 4)


@pytest.mark.parametrize(
    ("name", "codec"), [("o.mp4", "hevc"), ("o.mkv", "hevc"), ("o.mp4", "av1"), ("o.mov", "prores")]
)
def test_pixels_that_are_not_square_stay_so(make_clip, runner, name, codec):
    source = make_clip(frames=2, sar=Fraction(16, 11))
    report = convert_video(
        source, source.with_name(name), runner, VideoSettings(video=VideoOptions(EncodeOptions(codec)))
    )
    assert read_clip(report.output).sar == Fraction(16, 11)


def test_where_their_shape_cannot_be_said_it_is_refused(make_clip, runner):
    source = make_clip(frames=2, sar=Fraction(16, 11))
    with pytest.raises(OutputError, match="its pixels are 16/11 as wide as high beside FFV1"):
        convert_video(source, source.with_name("o.mkv"), runner, lossless())


UNEVEN = [0, 3003, 3500, 9009, 9010, 30000, 30001, 45000]


@pytest.mark.parametrize("name", ["o.mp4", "o.mov"])
def test_uneven_stamps_are_kept_to_the_tick(make_clip, runner, name):
    source = make_clip(frames=len(UNEVEN), stamps=UNEVEN, time_base=Fraction(1, 90000))
    encode = EncodeOptions("hevc", preset="medium")  # with pictures that are decoded out of order
    settings = VideoSettings(video=VideoOptions(encode, segment_frames=5))
    report = convert_video(source, source.with_name(name), runner, settings)
    assert [stamp * 90000 for stamp in read_clip(report.output).stamps] == UNEVEN
    assert [stamp * 90000 for stamp in read_clip(source).stamps] == UNEVEN


def test_matroska_keeps_its_milliseconds(make_clip, runner):
    source = make_clip("in.mkv", frames=5)
    _, found = converted(source, runner)
    assert found.stamps == read_clip(source).stamps


def test_fields_are_refused_or_made_whole(make_clip, runner):
    source = make_clip(frames=6, options={"preset": "ultrafast", "x264-params": "tff=1"})
    with pytest.raises(InputError, match="is interlaced; `deinterlace`"):
        convert_video(source, source.with_name("o.mkv"), runner, lossless())
    report, found = converted(source, runner, deinterlace=True)
    assert report.frames == 6
    assert [round(stamp * RATE) for stamp in found.stamps] == list(range(6))


def test_a_part_begins_at_zero(make_clip, runner):
    source = make_clip(frames=24, options={"preset": "ultrafast", "g": "6"})
    begin, end = Fraction(10, RATE), Fraction(15, RATE)
    report, found = converted(source, runner, start=begin, end=end, temporal=0.0)
    assert report.frames == 5
    assert [round(stamp * RATE) for stamp in found.stamps] == list(range(5))
    _, whole = converted(source, runner, temporal=0.0)
    assert all((a == b).all() for a, b in zip(found.lumas, whole.lumas[10:15], strict=True))
    assert converted(source, runner, start=begin, frames=3)[0].frames == 3


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1:30.5", 90.5), ("0:01:30", 90), (".5", 0.5)])
def test_times_are_seconds_or_clock(text, seconds):
    assert parse_time(text) == Fraction(seconds)


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "-3", "1h"])
def test_other_times_are_refused(text):
    with pytest.raises(InputError, match="is no time"):
        parse_time(text)


def test_pictures_that_repeat_are_not_computed_again(make_clip, runner, monkeypatch):
    source = make_clip("in.mkv", frames=8, still=frozenset({2, 3, 6}), **LOSSLESS)
    runs = []
    monkeypatch.setattr(runner, "run", lambda *a, run=runner.run, **k: runs.append(1) or run(*a, **k))
    report, found = converted(source, runner)
    # `still` shows the number before: 2 is like 1, and 6 like 5; 3 shows 2's own picture, which no other does.
    same = [number for number in range(1, 8) if (found.lumas[number] == found.lumas[number - 1]).all()]
    assert (same, report.repeated, len(runs)) == ([2, 6], 2, 6)


def test_a_frame_that_cannot_be_decoded_ends_the_run_with_its_time(make_clip, runner):
    source = damaged(make_clip(frames=8, options={"preset": "ultrafast", "g": "1"}), 3)
    with pytest.raises(InputError, match=r"the frame at 0\.125 s cannot be decoded; `on_error` skip"):
        convert_video(source, source.with_name("o.mkv"), runner, lossless())
    assert not source.with_name("o.mkv").exists()


@pytest.mark.parametrize(("policy", "expected"), [("skip", [0, 1, 2, 5, 6, 7]), ("repeat", list(range(8)))])
def test_lost_frames_are_left_out_or_show_the_one_before(make_clip, runner, policy, expected):
    source = damaged(make_clip(frames=8, options={"preset": "ultrafast", "g": "1"}), 3, 4)
    report, found = converted(source, runner, on_error=policy)
    assert [round(stamp * RATE) for stamp in found.stamps] == expected
    assert report.lost == pytest.approx((3 / RATE, 4 / RATE), abs=1e-4)
    if policy == "repeat":
        assert (found.lumas[2] == found.lumas[4]).all()


def test_frames_lost_at_the_end_are_reported_too(make_clip, runner):
    source = damaged(make_clip(frames=8, options={"preset": "ultrafast", "g": "1"}), 7)
    report, found = converted(source, runner, on_error="skip")
    assert (len(found.stamps), report.lost) == (7, pytest.approx((7 / RATE,), abs=1e-4))


def test_a_file_that_breaks_off_is_reported(make_clip, runner):
    source = make_clip("in.mkv", frames=24, options={"preset": "ultrafast", "g": "4"})
    content = source.read_bytes()
    source.write_bytes(content[: len(content) * 3 // 4])
    report, found = converted(source, runner, on_error="skip")
    assert 0 < len(found.lumas) < 24
    assert any("it breaks off" in note and "of 1.0" in note for note in report.notes), report.notes


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "is empty"), (b"no video at all" * 100, "cannot be read as a video")]
)
def test_what_is_no_video_is_refused(tmp_path, runner, content, problem):
    path = tmp_path / "in.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"in\.mp4: {problem}"):
        convert_video(path, tmp_path / "o.mp4", runner)


def test_sound_alone_is_no_video(tmp_path, runner):
    import av

    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("flac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with pytest.raises(InputError, match="holds no video track"):
        convert_video(path, tmp_path / "o.mp4", runner)


def test_a_source_is_entered_where_an_earlier_run_left_it(make_clip):
    source = make_clip(frames=24, options={"preset": "ultrafast", "g": "6"})
    with open_video(source) as video:
        frames = list(video.frames())
    assert not any(isinstance(frame, LostFrame) for frame in frames)
    for known in (FrameIdentity(frames[13].stamp, frames[13].checksum), FrameIdentity(frames[13].stamp, 12345)):
        with open_video(source) as video:
            rest = list(video.frames(seen=known))
        expected = frames[14:] if known.checksum != 12345 else []  # another file: nothing of it is taken for this one
        assert [frame.checksum for frame in rest] == [frame.checksum for frame in expected]
