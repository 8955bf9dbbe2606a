"""What is written: codecs, tags, brightness and codes, as other readers find them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from videos import (
    FFMPEG,
    HEIGHT,
    PATCH,
    PATCH_LUMA,
    RATE,
    WIDTH,
    decoded_by_ffmpeg,
    ffprobe,
    read_clip,
)

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging.hdr_transfer import hlg_encode, hlg_scene_factor, pq_encode
from dcdr_deploy.imaging.light import HLG, PQ, Light
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.run.video.codecs import CODECS, Encoder
from dcdr_deploy.run.video.convert import PreparedVideo, convert_video
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.planes import pixel_format, planes_of
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.target import EncodeOptions, Geometry, resolve

NITS = float(srgb_to_linear(np.float64((PATCH_LUMA - 16) / 219))) * 203
"""Of the patch, which is far from being clipped: the light of the SDR picture."""

# Name, suffix, options; FFmpeg's name, sample entry, pixels.
WRITTEN = {
    "hevc in mp4": ("o.mp4", EncodeOptions("hevc", 4, "ultrafast"), "hevc", "hvc1", "yuv420p10le"),
    "hevc in mkv": ("o.mkv", EncodeOptions(None, 4, "ultrafast"), "hevc", "", "yuv420p10le"),
    "hevc in mov": ("o.mov", EncodeOptions("hevc", 4, "ultrafast"), "hevc", "hvc1", "yuv420p10le"),
    "av1 in mp4": ("o.mp4", EncodeOptions("av1", 4, "12"), "libdav1d", "av01", "yuv420p10le"),
    "av1 in mkv": ("o.mkv", EncodeOptions("av1", 4, "12"), "libdav1d", "", "yuv420p10le"),
    "prores": ("o.mov", EncodeOptions(), "prores", "apch", "yuv422p10le"),
    "prores 4444": ("o.mov", EncodeOptions("prores4444"), "prores", "ap4h", "yuv444p12le"),
    "ffv1": ("o.mkv", EncodeOptions("ffv1"), "ffv1", "", "yuv444p12le"),
}


@pytest.fixture(params=sorted(WRITTEN))
def written(request, make_clip, runner):
    """A video in one of the codecs: its report, its file, what is expected."""
    name, encode, *expected = WRITTEN[request.param]
    source = make_clip(frames=10)
    settings = VideoSettings(video=VideoOptions(encode, segment_frames=4))  # three segments, the last one of two
    report = convert_video(source, source.with_name(name), runner, settings)
    return report, read_clip(report.output), tuple(expected)


def luma_code(signal: float, bits: int) -> float:
    return (16 + 219 * signal) * 2 ** (bits - 8)


def test_readers_find_the_codec_all_frames_and_the_code_points(written):
    report, found, (codec, tag, pixels) = written
    assert (found.codec, found.pixels) == (codec, pixels)
    assert found.tag == tag or not tag
    assert found.code_points == (9, 16, 9, 1)
    if FFMPEG is not None and pixels == "yuv420p10le":
        (stream,) = ffprobe(report.output, "-show_streams", "-select_streams", "v")["streams"]
        assert stream["chroma_location"] == "topleft"
    assert [round(stamp * RATE) for stamp in found.stamps] == list(range(10))
    assert (report.frames, report.fresh, report.lost, report.notes) == (10, 10, (), ())
    assert not report.output.with_name(report.output.name + ".parts").exists()


def test_a_known_patch_has_its_code(written):
    """Within one code of ten bits by PyAV, and by the ffmpeg of the system where there is one."""
    report, found, (_, _, pixels) = written
    bits = 12 if "12" in pixels else 10
    expected = luma_code(float(pq_encode(NITS)), bits)
    lumas = [np.stack(found.lumas)]
    if FFMPEG is not None:
        lumas.append(decoded_by_ffmpeg(report.output, (HEIGHT, WIDTH), pixels, 10))
    for frames in lumas:
        inner = frames[:, PATCH[0], PATCH[1]][:, 2:-2, 2:-2].astype(float)
        assert np.abs(inner.mean(axis=(1, 2)) - expected).max() <= 2 ** (bits - 10)


def test_the_brightest_frame_is_stated(written):
    """In the container of MP4 and its like, in Matroska but for FFV1, and in the bit stream of HEVC and AV1."""
    report, found, (codec, _, _) = written
    assert 203 < report.max_cll <= 1000
    assert 0 < report.max_fall < report.max_cll
    if codec == "ffv1":
        assert found.side_data == frozenset()
        return
    assert {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"} <= found.side_data
    if FFMPEG is None:
        return
    of_track = ffprobe(report.output, "-show_streams", "-select_streams", "v")["streams"][0]["side_data_list"]
    of_frame = ffprobe(report.output, "-show_frames", "-select_streams", "v", "-read_intervals", "%+#1")
    places = [of_track] + ([] if codec == "prores" else [of_frame["frames"][0]["side_data_list"]])
    for side_data in places:
        stated = {key: value for entry in side_data for key, value in entry.items()}
        assert (stated["max_content"], stated["max_average"]) == (report.max_cll, report.max_fall)
        over, under = map(float, stated["max_luminance"].split("/"))
        assert over / under == 1000
        over, under = map(float, stated["red_x"].split("/"))
        assert over / under == pytest.approx(0.64, abs=1e-4)


def chroma_of(path) -> list[np.ndarray]:
    """Cb and Cr of the first frame, as FFmpeg decodes them, in codes of ten bits."""
    import av

    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    kind = pixel_format(frame.format.name)
    return [plane / 2.0 ** (kind.layout.bits - 10) for plane in planes_of(frame, kind)[1:]]


@pytest.mark.parametrize(("name", "codec"), [("o.mp4", "hevc"), ("o.mkv", "hevc"), ("o.mp4", "av1"), ("o.mkv", "av1")])
def test_coloured_edges_are_decoded_where_they_were(make_clip, runner, name, codec):
    """Sample (k, m) of chroma is that of 4:4:4 at (2 k, 2 m), give or take a tenth of a luma sample.

    By least squares: found = truth + down x d truth / d row + across x d truth / d column.
    """
    rows, columns = np.mgrid[:64, :96]
    green = 512 - 400 * np.tanh((rows - 30) / 4) * np.tanh((columns - 40) / 4)  # red and blue are 512
    clip = {"frames": 1, "codec": "ffv1", "pixels": "gbrp10le", "options": {}, "tags": (1, 1, 0, 2)}
    source = make_clip("in.mkv", lambda number: green.astype(np.uint16), **clip)
    every = chroma_of(convert_video(source, source.with_name("truth.mkv"), runner, ffv1()).output)
    encode = EncodeOptions(codec, 4, "ultrafast" if codec == "hevc" else "12")
    report = convert_video(source, source.with_name(name), runner, VideoSettings(video=VideoOptions(encode)))
    for found, truth in zip(chroma_of(report.output), every, strict=True):
        slopes = np.stack([slope[::2, ::2].ravel() for slope in np.gradient(truth)], axis=-1)
        (down, across), *_ = np.linalg.lstsq(slopes, (found - truth[::2, ::2]).ravel())
        assert abs(down) < 0.1
        assert abs(across) < 0.1


def test_hlg_has_its_own_code_points_and_codes(make_clip, runner):
    source = make_clip(frames=4)
    settings = VideoSettings(video=VideoOptions(EncodeOptions(crf=4, preset="ultrafast")), light=Light(transfer=HLG))
    report = convert_video(source, source.with_name("o.mp4"), runner, settings)
    found = read_clip(report.output)
    assert found.code_points == (9, 18, 9, 1)
    assert "MASTERING_DISPLAY_METADATA" not in found.side_data
    signal = float(hlg_encode(hlg_scene_factor(NITS) * NITS / 1000))
    patch = found.lumas[0][PATCH][2:-2, 2:-2].astype(float)
    assert patch.mean() == pytest.approx(luma_code(signal, 10), abs=1)


def test_brightness_is_that_of_the_pictures_that_a_reader_decodes(make_clip, runner):
    """MaxCLL against the brightest gray of a lossless file, by PQ's own formula."""
    source = make_clip(frames=3)
    report = convert_video(source, source.with_name("o.mkv"), runner, ffv1())
    from dcdr_deploy.imaging.hdr_transfer import pq_decode

    brightest = max(int(luma.max()) for luma in read_clip(report.output).lumas)
    assert float(pq_decode((brightest / 16 - 16) / 219)) == pytest.approx(report.max_cll, rel=0.01)


def ffv1(**wishes) -> VideoSettings:
    return VideoSettings(video=VideoOptions(EncodeOptions("ffv1"), **wishes))


def test_odd_edges_become_even_where_chroma_needs_it(make_clip, runner):
    source = make_clip("in.mkv", frames=2, size=(63, 95), codec="ffv1", pixels="yuv444p", options={})
    even = convert_video(
        source, source.with_name("o.mp4"), runner, VideoSettings(video=VideoOptions(EncodeOptions(preset="ultrafast")))
    )
    assert read_clip(even.output).lumas[0].shape == (64, 96)
    assert "95x63 became 96x64" in even.notes[0]
    odd = convert_video(source, source.with_name("o.mkv"), runner, ffv1())
    assert (read_clip(odd.output).lumas[0].shape, odd.notes) == ((63, 95), ())


@pytest.mark.parametrize(
    ("name", "encode", "words"),
    [
        ("o.avi", EncodeOptions(), "a video is written as .m4v, .mkv, .mov, .mp4"),
        ("o.mp4", EncodeOptions("prores"), ".mp4 files cannot hold ProRes 422 HQ; write .mov or .mkv"),
        ("o.mov", EncodeOptions("prores", crf=20), "ProRes 422 HQ has no `crf`"),
        ("o.mov", EncodeOptions("prores", preset="slow"), "ProRes 422 HQ has no `preset`"),
        ("o.mkv", EncodeOptions("av1", crf=64), "`crf` of AV1, 10 bits is 0 to 63, not 64"),
        ("o.mp4", EncodeOptions(preset="nonsense"), "the encoder libx265 does not open: Error setting preset"),
        ("o.mkv", EncodeOptions("ffv1", encoder="nvenc"), "NVENC makes no FFV1"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_before_any_work(make_clip, runner, tmp_path, name, encode, words):
    source = make_clip(frames=1)
    with pytest.raises(OutputError, match=words):
        convert_video(source, tmp_path / name, runner, VideoSettings(video=VideoOptions(encode)))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.mov"])
def test_a_video_of_others_is_kept_and_one_of_ours_replaced(make_clip, runner, tmp_path, name):
    source, theirs = make_clip(frames=1), make_clip(name, frames=2)
    before = theirs.read_bytes()
    fast = VideoSettings(video=VideoOptions(EncodeOptions("prores" if name == "o.mov" else "hevc")))
    with pytest.raises(InputError, match="is a video that dcdr-deploy has not written"):
        PreparedVideo(source, theirs, fast)
    assert theirs.read_bytes() == before
    theirs.unlink()
    convert_video(source, theirs, runner, fast)
    PreparedVideo(source, theirs, fast)


@pytest.mark.parametrize(("codec", "size"), [("hevc", (2, 2)), ("av1", (8706, 64))])
def test_pictures_that_an_encoder_does_not_take_are_refused_before_any_work(make_clip, tmp_path, codec, size):
    source = make_clip("in.mkv", frames=1, size=size, codec="ffv1", options={}, paint=lambda number: np.full(size, 100))
    settings = VideoSettings(video=VideoOptions(EncodeOptions(codec)))
    with pytest.raises(OutputError, match=f"does not open for {size[1]}x{size[0]} pixels at 24 frames a second"):
        PreparedVideo(source, tmp_path / "o.mp4", settings)


def test_auto_takes_software_where_hardware_does_not_take_the_pictures(tmp_path, monkeypatch):
    """MPEG-1, which knows some frame rates only, stands for NVENC, which takes some sizes only."""
    picky = Encoder("mpeg1video", "yuv420p", "", lambda crf, preset, transfer: {})
    monkeypatch.setitem(CODECS, "hevc", replace(CODECS["hevc"], nvenc=picky))
    film, other = (Geometry((HEIGHT, WIDTH), Fraction(1, rate), Fraction(rate)) for rate in (24, 17))
    assert resolve(tmp_path / "o.mp4", EncodeOptions(), PQ, film).encoder is picky
    assert resolve(tmp_path / "o.mp4", EncodeOptions(), PQ, other).encoder is CODECS["hevc"].software
    with pytest.raises(OutputError, match="mpeg1video does not open for 96x64 pixels at 17 frames a second"):
        resolve(tmp_path / "o.mp4", EncodeOptions(encoder="nvenc"), PQ, other)


def test_av1_has_all_pictures_of_high_speed_cameras(make_clip, runner):
    source = make_clip(frames=20, stamps=range(20), time_base=Fraction(1, 1000))
    settings = VideoSettings(video=VideoOptions(EncodeOptions("av1", preset="12")))
    report = convert_video(source, source.with_name("o.mp4"), runner, settings)
    assert [stamp * 1000 for stamp in read_clip(report.output).stamps] == list(range(20))


def test_only_bt2020_is_written(make_clip, runner, tmp_path):
    with pytest.raises(OutputError, match="rec2020, not p3"):
        convert_video(make_clip(frames=1), tmp_path / "o.mp4", runner, VideoSettings(light=Light(primaries="p3")))


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"frames": 0}, "frames must be at least 1"),
        ({"start": 2, "end": 1}, "must come after the start"),
        ({"on_error": "hide"}, "unknown on_error 'hide'"),
        ({"encode": EncodeOptions(codec="vp9")}, "unknown codec 'vp9'"),
    ],
)
def test_values_out_of_range_are_refused(wish, words):
    with pytest.raises(InputError, match=words):
        VideoOptions(**wish)
