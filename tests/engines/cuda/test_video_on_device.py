"""Videos whose whole frames are made by the kernels of ``video.cu``, on the emulator; the network is a simple one."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from bright_engine import BrightEngine
from emulated import EmulatedDriver
from numpy.typing import NDArray
from on_gpu import bright_engine_on_gpu
from videos import Clip, picture, write_clip

from dcdr_deploy.engines.cuda.driver import Library
from dcdr_deploy.engines.cuda.memory import Device
from dcdr_deploy.engines.cuda.video import FramesOnDevice, VideoKernels
from dcdr_deploy.engines.passes import FramePasses
from dcdr_deploy.errors import EngineError
from dcdr_deploy.imaging.light import Light
from dcdr_deploy.run.dials import Dials
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.video import source
from dcdr_deploy.run.video.convert import convert_video
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.run.video.target import EncodeOptions

pytest.importorskip("av")
SM = 80
FRAMES = 5
LOSSLESS = VideoSettings(scale=Fraction(1, 2), video=VideoOptions(EncodeOptions("ffv1"), segment_frames=3))


@pytest.fixture
def passes(emulator: Callable[..., Path]) -> Iterator[FramesOnDevice]:
    driver = EmulatedDriver(emulator(SM, "video"), SM)
    made = FramesOnDevice(Device(0, driver), VideoKernels(Library(driver, b"cubin")))
    yield made
    made.close()
    assert driver.used == 0


def engine_with(passes: FramePasses | None) -> BrightEngine:
    engine = bright_engine_on_gpu()
    engine.passes = lambda: passes  # type: ignore[method-assign]
    return engine


def converted(
    clip: Path, target: Path, passes: FramePasses | None, settings: VideoSettings = LOSSLESS
) -> tuple[VideoReport, list[NDArray]]:
    """The report, and all samples of the video written, a row for each frame."""
    import av

    with engine_with(passes) as engine:
        report = convert_video(clip, target, Runner(engine), settings)
    with av.open(str(target)) as container:
        frames = list(container.decode(container.streams.video[0]))
    return report, [np.concatenate([np.frombuffer(plane, np.uint16) for plane in frame.planes]) for frame in frames]


def both(
    clip: Path, folder: Path, passes: FramesOnDevice, settings: VideoSettings = LOSSLESS
) -> tuple[VideoReport, VideoReport]:
    """Convert by the device and by the processor; samples agree to a code."""
    there, by_device = converted(clip, folder / "device.mkv", passes, settings)
    here, by_processor = converted(clip, folder / "processor.mkv", None, settings)
    assert len(by_device) == len(by_processor) == FRAMES
    for one, other in zip(by_device, by_processor, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
    return there, here


CLIPS = {
    "8 bits 4:2:0": Clip(FRAMES),
    "odd edges": Clip(FRAMES, size=(65, 97), codec="ffv1", pixels="yuv444p", options={}),
    "10 bits 4:2:2": Clip(FRAMES, codec="ffv1", pixels="yuv422p10le", options={}),
    "repeated frames": Clip(FRAMES, still=frozenset({2, 3})),
    "turned": Clip(FRAMES, rotation=90),
    "gray": Clip(FRAMES, codec="ffv1", pixels="gray", options={}),
    "other primaries": Clip(FRAMES, tags=(9, 14, 9, 1)),
}


@pytest.mark.parametrize("name", CLIPS)
def test_the_video_is_the_processor_s(tmp_path: Path, passes: FramesOnDevice, name: str):
    clip = CLIPS[name]
    step = 4 if "10le" in clip.pixels else 1
    suffix = ".mkv" if clip.codec == "ffv1" else ".mp4"
    path = write_clip(tmp_path / f"in{suffix}", clip, lambda number: step * picture(number, clip.size).astype(int))
    there, here = both(path, tmp_path, passes)
    for report in (there, here):
        assert report.recovery.clipped > 0
    assert there.recovery.clipped == here.recovery.clipped
    assert there.recovery.whole == here.recovery.whole
    assert there.recovery.stops_recovered == pytest.approx(here.recovery.stops_recovered, abs=0.011)
    assert there.max_cll == pytest.approx(here.max_cll, abs=1)
    assert there.max_fall == pytest.approx(here.max_fall, abs=1)


def test_samples_go_into_frames_of_4_2_0_with_odd_edges(tmp_path: Path, passes: FramesOnDevice, caplog):
    clip = Clip(FRAMES, size=(65, 97), codec="ffv1", pixels="yuv444p", options={})
    path = write_clip(tmp_path / "in.mkv", clip)
    settings = dataclasses.replace(LOSSLESS, video=VideoOptions(EncodeOptions("hevc", 4, "ultrafast")))
    with caplog.at_level(logging.WARNING):
        _, by_device = converted(path, tmp_path / "device.mkv", passes, settings)
    assert not caplog.messages
    _, by_processor = converted(path, tmp_path / "processor.mkv", None, settings)
    for one, other in zip(by_device, by_processor, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 0.2  # a code here and there, which the encoder spreads


def test_the_processor_converts_no_whole_frame_then(tmp_path: Path, passes: FramesOnDevice, monkeypatch):
    clip = write_clip(tmp_path / "in.mp4", Clip(FRAMES))
    monkeypatch.setattr(source, "to_rgb", None)
    report, frames = converted(clip, tmp_path / "out.mkv", passes)
    assert report.frames == len(frames) == FRAMES


@pytest.mark.parametrize(
    "change",
    [
        {"light": Light(transfer="hlg")},
        {"dials": Dials(exposure=-1, protect_below=200)},
        {"dials": Dials(strength=0.5)},
    ],
    ids=["HLG", "exposure", "strength, which the device leaves to the processor"],
)
def test_settings_hold_as_on_the_processor(tmp_path: Path, passes: FramesOnDevice, change: dict):
    both(write_clip(tmp_path / "in.mp4", Clip(FRAMES)), tmp_path, passes, dataclasses.replace(LOSSLESS, **change))


class Failing:
    """Passes that fail after some calls."""

    def __init__(self, passes: FramesOnDevice, averages: int, finishes: int) -> None:
        self._passes, self._left = passes, {"average": averages, "finish": finishes}

    def _once(self, name: str, *arguments):
        self._left[name] -= 1
        if self._left[name] < 0:
            raise EngineError("the GPU fell off the bus")
        return getattr(self._passes, name)(*arguments)

    def average(self, *arguments):
        return self._once("average", *arguments)

    def finish(self, *arguments):
        return self._once("finish", *arguments)


@pytest.mark.parametrize(("averages", "finishes"), [(3, 99), (99, 2), (1, 1), (0, 0)])
def test_where_the_device_fails_the_processor_goes_on(tmp_path: Path, passes, caplog, averages: int, finishes: int):
    clip = write_clip(tmp_path / "in.mp4", Clip(FRAMES))
    with caplog.at_level(logging.WARNING):
        both(clip, tmp_path, Failing(passes, averages, finishes))
    assert [record.message for record in caplog.records if "fell off the bus" in record.message] == caplog.messages
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("part", ["average", "finish"])
def test_a_device_that_gives_other_light_is_not_used(tmp_path: Path, passes, caplog, monkeypatch, part: str):
    def wrong(self, *arguments):
        found = right(self, *arguments)
        if part == "average":
            return dataclasses.replace(found, weight=found.weight * np.float32(1.01))
        planes = arguments[-1]
        planes[0][...] += np.uint16(2)
        return found

    right = getattr(FramesOnDevice, part)
    monkeypatch.setattr(FramesOnDevice, part, wrong)
    with caplog.at_level(logging.WARNING):
        both(write_clip(tmp_path / "in.mp4", Clip(FRAMES)), tmp_path, passes)
    (message,) = caplog.messages
    assert "the GPU makes other light of a frame" in message
