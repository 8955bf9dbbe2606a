"""What samples are taken for: by the stream, the container, the frame; and what is HDR without saying so there."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from videos import HEIGHT, RATE, WIDTH, copied

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.video.convert import convert_video
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.source import rgb_of
from dcdr_deploy.run.video.target import EncodeOptions

UNTAGGED = (2, 2, 2, 0)
PQ = {"color_primaries": 9, "color_trc": 16, "colorspace": 9}


@pytest.fixture
def make_hevc(make_clip):
    """An HEVC stream that says nothing of its colours, or what `params` of x265 say."""

    def make(name="plain.mkv", params="", **wishes):
        options = {"preset": "ultrafast", "x265-params": f"log-level=none{params}"}
        return make_clip(name, frames=6, codec="libx265", tags=UNTAGGED, options=options, **wishes)

    return make


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.mov"])
def test_what_the_container_says_counts_where_the_stream_says_nothing(make_hevc, name):
    """FFmpeg's decoder of HEVC forgets it: such a file once went on as SDR."""
    plain = make_hevc()
    source = copied(plain, plain.with_name(name), **PQ)
    with pytest.raises(InputError, match=r"is HDR already \(PQ\)"), open_video(source):
        pass
    source = copied(plain, plain.with_name(name), color_primaries=9, color_trc=14, colorspace=9)
    with open_video(source) as video:
        assert (video.info.colours.startswith("BT.2020, Rec. 2020"), video.info.notes) == (True, ())


def test_what_the_stream_says_counts_where_the_container_contradicts_it(make_clip):
    plain = make_clip("plain.mp4", frames=1)  # BT.709
    source = copied(plain, plain.with_name("in.mp4"), color_primaries=6, color_trc=6, colorspace=6)
    with open_video(source) as video:
        assert video.info.colours.startswith("BT.709, Rec. 709")
        assert video.info.notes == (
            "its container contradicts its stream about primaries and matrix: the stream counts",
        )


def test_what_one_of_both_calls_hdr_is_refused(make_clip):
    plain = make_clip("plain.mp4", frames=1)
    with pytest.raises(InputError, match="is HDR already"), open_video(copied(plain, plain.with_name("in.mp4"), **PQ)):
        pass


def test_dolby_vision_without_another_layer_is_refused(make_hevc):
    plain = make_hevc()
    with (
        pytest.raises(InputError, match="is HDR already \\(Dolby Vision\\)"),
        open_video(copied(plain, plain.with_name("in.mp4"), codec_tag="dvh1")),
    ):
        pass


def test_hdr10_that_lost_its_tags_is_refused(make_hevc):
    display = ":master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=900,200"
    with pytest.raises(InputError, match="HDR10 that lost its tags"), open_video(make_hevc(params=display)):
        pass


@pytest.mark.parametrize(("said", "value"), [(0, 102 / 255), (1, 86 / 219), (2, 102 / 255)])
def test_gray_of_codecs_of_pictures_has_full_range_where_nothing_else_is_said(tmp_path, said, value):
    import av

    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "gray"
        stream.codec_context.color_range = said
        frame = av.VideoFrame(WIDTH, HEIGHT, "gray")
        for plane in frame.planes:
            plane.update(np.full(plane.buffer_size, 102, np.uint8))
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with open_video(path) as video:
        assert np.abs(rgb_of(next(iter(video.frames())), video.info) / 65535 - value).max() < 1e-4
        assert video.info.notes == (() if said else ("its colours are not tagged: taken as full range",))


def joined(tmp_path, first, second):
    """One transport stream of two, whose clocks go on."""
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


def test_each_frame_is_taken_by_its_own_tags(make_clip, runner, tmp_path):
    """As where advertisements of another making were cut into a broadcast."""
    flat = np.full((HEIGHT, WIDTH), 100, np.uint16)
    clips = []
    for number, full in enumerate((False, True)):
        clip = make_clip(
            f"{number}.ts", lambda shown: flat, frames=3, tags=(1, 1, 1, 2 if full else 1), offset=10 + number
        )
        clips.append(clip)
    source = joined(tmp_path, *clips)
    with open_video(source) as video:
        values = [rgb_of(frame, video.info)[0, 0, 1] / 65535 for frame in video.frames()]
    assert values == pytest.approx([84 / 219] * 3 + [100 / 255] * 3, abs=2e-3)
    settings = VideoSettings(video=VideoOptions(EncodeOptions("ffv1")))
    report = convert_video(source, tmp_path / "o.mkv", runner, settings)
    assert (report.frames, report.repeated) == (6, 4)  # samples are the same all along, light is not
    assert any("change on the way: 2 kinds" in note for note in report.notes), report.notes


@pytest.mark.parametrize("deinterlace", [False, True])
def test_frames_may_change_their_depth_on_the_way(make_clip, tmp_path, deinterlace):
    """FFmpeg's filters once ended the process there."""
    flat = np.full((HEIGHT, WIDTH), 100, np.uint16)
    clips = [
        make_clip("0.ts", lambda number: flat, frames=3, offset=10),
        make_clip("1.ts", lambda number: flat * 4, frames=3, offset=11, pixels="yuv420p10le"),
    ]
    with open_video(joined(tmp_path, *clips), deinterlace=deinterlace) as video:
        frames = list(video.frames())
        values = [rgb_of(frame, video.info)[0, 0, 1] / 65535 for frame in frames]
    assert [frame.planes[0].dtype for frame in frames] == [np.uint8] * 3 + [np.uint16] * 3
    assert values == pytest.approx([84 / 219] * 6, abs=2e-3)


def test_an_alpha_channel_is_told_to_be_left_out(tmp_path):
    import av

    path = tmp_path / "in.mov"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("prores_ks", rate=RATE, options={"profile": "4"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuva444p10le"
        output.mux(stream.encode(av.VideoFrame(WIDTH, HEIGHT, "yuva444p10le")))
        output.mux(stream.encode())
    with open_video(path) as video:
        assert "its alpha channel is left out" in video.info.notes


def test_what_becomes_hdr_on_the_way_ends_the_run_there(make_clip, runner, tmp_path):
    clips = [
        make_clip("0.ts", frames=3, offset=10),
        make_clip("1.ts", frames=3, offset=11, tags=(9, 16, 9, 1)),
    ]
    with pytest.raises(InputError, match=r"from 1\.000 s on is HDR already \(PQ\)"):
        convert_video(joined(tmp_path, *clips), tmp_path / "o.mkv", runner)


def test_a_picture_of_another_size_on_the_way_is_told_with_its_time(make_clip, runner, tmp_path):
    clips = [make_clip("0.ts", frames=3, offset=10), make_clip("1.ts", frames=3, offset=11, size=(64, 128))]
    source = joined(tmp_path, *clips)
    with pytest.raises(InputError, match=r"from 1\.000 s on its picture becomes 128x64 and was 96x64"):
        convert_video(source, tmp_path / "o.mkv", runner)
    settings = VideoSettings(video=VideoOptions(end=Fraction(1, 2)))
    assert convert_video(source, tmp_path / "o.mkv", runner, settings).frames == 3


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "centred"),
    [
        ("in.mp4", "libx264", "yuvj420p", False),
        ("in.mp4", "libx264", "yuv420p", False),
        ("in.avi", "mjpeg", "yuvj420p", True),
        ("in.mpg", "mpeg1video", "yuv420p", True),
        ("in.mkv", "mpeg2video", "yuv420p", False),
    ],
)
def test_where_chroma_lies_is_a_matter_of_the_codec_not_of_the_range(make_clip, name, codec, pixels, centred):
    options = {"preset": "ultrafast"} if codec == "libx264" else {}
    source = make_clip(
        name, frames=1, codec=codec, pixels=pixels, options=options, tags=(2, 2, 2, 2 if "j" in pixels else 0)
    )
    with open_video(source) as video:
        layout = next(iter(video.frames())).reading.format.layout
    assert (layout.across, layout.down, layout.centred) == (2, 2, centred)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuv422p"])
@pytest.mark.parametrize(
    ("place", "centred", "level"), [(0, False, False), (1, True, False), (2, False, True), (3, True, True)]
)
def test_chroma_lies_where_a_stream_says(make_clip, pixels, place, centred, level):
    """H.273, ChromaLocType."""
    options = {"preset": "ultrafast", "x264-params": f"chromaloc={place}"}
    with open_video(make_clip(frames=1, pixels=pixels, options=options)) as video:
        layout = next(iter(video.frames())).reading.format.layout
    if pixels == "yuv422p":  # x264 writes it for 4:2:0 alone
        centred, level = False, False
    assert (layout.centred, layout.level) == (centred, level)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (1080, 1920)])
def test_looking_for_it_leaves_the_pictures_alone(make_clip, size):
    flat = np.full(size, 100, np.uint8)
    with open_video(make_clip("in.mkv", lambda number: flat, frames=2, size=size, codec="ffv1", options={})) as video:
        frames = list(video.frames())
    assert all((frame.planes[0] == 100).all() and (frame.planes[1] == 128).all() for frame in frames)
