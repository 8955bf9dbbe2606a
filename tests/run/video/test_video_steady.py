"""What the network found is steadied over the frames: quieter where the scene stays, as before where it does not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from ear import Ear
from videos import HEIGHT, PATCH, WIDTH, picture

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.read_hdr import read_hdr
from dcdr_deploy.imaging.writers.base import WriteOptions
from dcdr_deploy.run import sequence
from dcdr_deploy.run.events import FramesDone
from dcdr_deploy.run.gain import ExcessField, WorkingPicture
from dcdr_deploy.run.restore import restore
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.video.convert import convert_video
from dcdr_deploy.run.video.frames import Selection
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.options import DEFAULT_TEMPORAL, VideoOptions, parse_temporal
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.steady import Steadying
from dcdr_deploy.run.video.stills import PreparedStills
from dcdr_deploy.run.video.target import EncodeOptions

SIZE = (64, 96)
SKY = slice(0, 32)
"""Rows that had clipped."""


def shown(seed=0, shift=0):
    """A working picture: a clipped sky over a texture that moves to the right."""
    grain = cv2.GaussianBlur(np.random.default_rng(seed).random(SIZE).astype(np.float32), (0, 0), 2)
    luma = np.roll(cv2.normalize(grain, None, 0.1, 0.7, cv2.NORM_MINMAX), shift, axis=1)
    luma[SKY] = 1
    weight = np.zeros((*SIZE, 1), np.float32)
    weight[SKY] = 1
    return WorkingPicture(np.repeat(luma[..., None] ** 2, 3, axis=2), weight, weight)


def found(stops, picture):
    """What a network found: a field whose fully clipped pixels have this gain."""
    certainty = np.maximum(picture.weight, 1e-4) ** 2
    log_gain = np.broadcast_to(np.asarray(stops, np.float32) * np.log(2), (*SIZE, 3))
    return ExcessField(log_gain.astype(np.float32), certainty, picture.clipped)


def stops_of(field):
    return field.log_gain / np.log(2)


def noisy(seed, level=2.0):
    return level + np.random.default_rng(seed).normal(0, 0.1, (*SIZE, 1)).astype(np.float32)


def test_noise_is_averaged_out_and_the_level_stays() -> None:
    steady, scene = Steadying(0.8), shown()
    results = [stops_of(steady(found(noisy(number), scene), scene))[SKY] for number in range(12)]
    assert np.std(results[-1]) < 0.5 * np.std(results[0])
    assert np.mean(results[-1]) == pytest.approx(2, abs=0.01)


def test_a_larger_strength_is_quieter() -> None:
    spread = {}
    for strength in (0.3, 0.6, 0.9):
        steady, scene = Steadying(strength), shown()
        spread[strength] = [stops_of(steady(found(noisy(n), scene), scene))[SKY].std() for n in range(15)][-1]
    assert spread[0.3] > spread[0.6] > spread[0.9]


def test_a_first_frame_and_one_after_a_cut_keep_what_was_found() -> None:
    steady, scene, other = Steadying(0.9), shown(), shown(4)
    other = replace(other, light=other.light[::-1].copy(), weight=other.weight[::-1].copy())
    first, after = found(noisy(0), scene), found(noisy(1, 2.3), other)
    assert steady(first, scene) is first
    steady(found(noisy(2), scene), scene)
    assert steady(after, other) is after


def test_light_goes_with_the_scene() -> None:
    """A bright band in the sky moves with what is below it."""
    band = np.zeros((*SIZE, 1), np.float32)
    band[SKY, 40:56] = 1
    steady = Steadying(0.9)
    for number in range(8):
        scene, there = shown(shift=2 * number), np.roll(band, 2 * number, axis=1)
        result = stops_of(steady(found(2 + there, scene), scene))
        assert np.abs(result - 2 - there)[SKY, 16:-16].mean() < 0.03, number
        assert result[SKY][there[SKY][..., 0] > 0].mean() > 2.9


def test_light_that_really_changes_is_followed_at_once() -> None:
    steady, scene = Steadying(0.9), shown()
    for level in (3, 3, 3, 0.5):
        result = stops_of(steady(found(level, scene), scene))[SKY]
    assert result.mean() == pytest.approx(0.5, abs=0.05)


def test_what_has_not_clipped_is_not_touched() -> None:
    steady, scene = Steadying(0.9), shown()
    for number in range(3):
        field = found(noisy(number), scene)
        result = steady(field, scene)
        assert np.array_equal(result.log_gain[32:], field.log_gain[32:])
        assert result.certainty is field.certainty
    below = shown()
    below.weight[SKY] = 0
    assert np.allclose(stops_of(steady(found(1, below), below)), 1, atol=1e-5)


def test_an_area_that_clips_anew_takes_what_is_found_there() -> None:
    steady, dark = Steadying(0.9), shown()
    dark.weight[:] = 0
    for _ in range(3):
        steady(found(4, dark), dark)
    bright = shown()
    assert np.allclose(stops_of(steady(found(2, bright), bright))[SKY], 2, atol=1e-4)


class UnsteadyRunner(Runner):
    """A network that takes light for brighter or darker by what a small patch shows, as real ones do by noise."""

    def run(self, frame, *rest, **more):
        return super().run(frame, *rest, **more) * np.float32(1 + 0.2 * np.sin(float(frame[PATCH][5, 5, 0])))


@pytest.fixture(scope="module")
def unsteady(runner):
    return UnsteadyRunner(runner.engine)


def flickering(number):
    """A patch that is a little different in every frame, and a white lamp that stands still."""
    luma = picture(0, (HEIGHT, WIDTH))
    luma[PATCH] = 100 + number * 3 % 5
    return luma


LAMP = (slice(HEIGHT // 2 + 4, HEIGHT // 2 + 12), slice(4, 12))
CLIP = {"frames": 9, "still": frozenset({4}), "options": {"preset": "ultrafast", "qp": "0", "bf": "0"}}


def light_of(source, runner, **wishes):
    """Light of all frames in units of SDR white, and the report."""
    pattern = sequence.parse(str(source.with_name("frames") / f"{wishes.get('temporal')}.%02d.exr"))
    settings = VideoSettings(video=VideoOptions(**wishes))
    report = PreparedStills(source, pattern, settings, WriteOptions(float32=True)).convert(runner)
    return [read_hdr(pattern.path(number)).pixels for number in range(1, report.frames + 1)], report


def test_a_video_flickers_less_and_off_leaves_each_frame_as_it_is(make_clip, unsteady) -> None:
    source = make_clip(paint=flickering, **CLIP)
    off, _ = light_of(source, unsteady, temporal=0.0)
    on, report = light_of(source, unsteady)
    assert report.repeated == 1
    gains = [np.array([frame[LAMP].mean() for frame in frames]) for frames in (off, on)]
    assert 0 < np.diff(gains[1]).std() < 0.5 * np.diff(gains[0]).std()
    with open_video(source) as opened:
        selection = Selection(opened, VideoOptions())
        for frame in off:
            codes = selection.next().rgb
            last = last if codes is None else restore(codes, unsteady).linear * 8  # noqa: F821 - of the frame before
            assert np.array_equal(frame, np.maximum(last, 0))


class CrashError(BaseException):
    """Ends a run on the spot."""


@pytest.mark.parametrize("frame", [2, 4, 5, 8])
def test_a_run_that_crashed_gives_the_same_bytes(make_clip, unsteady, tmp_path, frame) -> None:
    """Segments of two: a picture that repeats the one before begins one of them."""
    source = make_clip(paint=flickering, **CLIP)
    settings = VideoSettings(video=VideoOptions(EncodeOptions("hevc", 4, "ultrafast"), segment_frames=2))
    convert_video(source, tmp_path / "whole.mp4", unsteady, settings)

    def listen(event):
        if isinstance(event, FramesDone) and event.done >= frame:
            raise CrashError

    with pytest.raises(CrashError):
        convert_video(source, tmp_path / "o.mp4", unsteady, settings, listener=listen)
    ear = Ear()
    report = convert_video(source, tmp_path / "o.mp4", unsteady, settings, listener=ear)
    assert report.fresh < 9
    assert (tmp_path / "o.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_another_strength_begins_anew_and_is_written_down(make_clip, runner, tmp_path) -> None:
    import av

    source = make_clip(frames=3)

    def made(name, temporal):
        encode = EncodeOptions("hevc", None, "ultrafast")
        settings = VideoSettings(video=VideoOptions(encode, segment_frames=1, temporal=temporal))
        convert_video(source, tmp_path / name, runner, settings)
        with av.open(str(tmp_path / name)) as container:
            return container.metadata["comment"]

    assert f"temporal {DEFAULT_TEMPORAL:g}" in made("default.mp4", None)
    assert "temporal 0.5" in made("half.mp4", 0.5)
    assert "temporal" not in made("off.mp4", 0.0)


def test_a_strength_is_off_or_a_number_in_range() -> None:
    assert [parse_temporal(text) for text in ("off", " OFF", "0", "0.5")] == [0, 0, 0, 0.5]
    with pytest.raises(InputError, match=r"temporal 'much' is not known; use off, or 0 to 0\.95"):
        parse_temporal("much")
    for value in (-0.1, 0.96, 1.0, float("nan")):
        with pytest.raises(InputError, match=r"temporal must be off or 0 to 0\.95"):
            VideoOptions(temporal=value)


def test_at_native_scale_there_is_nothing_to_steady(make_clip, runner, tmp_path) -> None:
    source = make_clip(frames=1)
    assert VideoSettings(scale="native").temporal == 0
    with pytest.raises(InputError, match="`temporal` steadies what the network finds at a working size"):
        convert_video(source, tmp_path / "o.mp4", runner, VideoSettings("native", video=VideoOptions(temporal=0.5)))
    settings = VideoSettings("native", video=VideoOptions(EncodeOptions("hevc", None, "ultrafast"), temporal=0.0))
    assert convert_video(source, tmp_path / "o.mp4", runner, settings).frames == 1
