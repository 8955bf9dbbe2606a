"""A video's frames as numbered pictures."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import OpenEXR
import pytest
from bright_engine import PEAK, BrightEngine
from PIL import Image
from videos import HEIGHT, PATCH, PATCH_LUMA, WIDTH

import dcdr_deploy
from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging.light import PQ, Light
from dcdr_deploy.imaging.read_hdr import read_hdr
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.imaging.writers.base import WriteOptions
from dcdr_deploy.run import sequence
from dcdr_deploy.run.dials import NEUTRAL, Dials
from dcdr_deploy.run.events import FramesDone
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.stills import PreparedStills


class CrashError(BaseException):
    """Ends a run on the spot."""


def written(source, runner, name="f.%04d.exr", write=WriteOptions(), listener=None, dials=NEUTRAL, **wishes):  # noqa: B008
    pattern = sequence.parse(str(source.with_name("frames") / name))
    prepared = PreparedStills(source, pattern, VideoSettings(dials=dials, video=VideoOptions(**wishes)), write)
    return prepared.convert(runner, *([] if listener is None else [listener]))


def names(source):
    return sorted(path.name for path in source.with_name("frames").iterdir() if path.suffix in (".exr", ".png"))


def test_every_frame_is_a_picture_with_its_light(make_clip, runner):
    source = make_clip(frames=5, still=frozenset({3}))
    report = written(source, runner)
    assert names(source) == [f"f.000{number}.exr" for number in range(1, 6)]
    assert (report.frames, report.repeated, report.max_cll, report.codec) == (5, 1, None, "EXR")
    expected = float(srgb_to_linear(np.float64((PATCH_LUMA - 16) / 219)))
    for number in (1, 5):
        light = read_hdr(source.with_name("frames") / f"f.000{number}.exr").pixels
        assert light[PATCH][2:-2, 2:-2].mean() == pytest.approx(expected, rel=0.02)
        assert light.max() > 1.5  # the lamp
    third, fourth = (source.with_name("frames") / f"f.000{number}.exr" for number in (3, 4))
    assert third.read_bytes() == fourth.read_bytes()


def test_a_list_says_when_each_is_shown(make_clip, runner):
    source = make_clip(frames=3, stamps=[0, 100, 5000], time_base=Fraction(1, 90000))
    written(source, runner)
    head, *lines = (source.with_name("frames") / ".dcdr-frames.f..exr.jsonl").read_text().splitlines()
    tick = Fraction(json.loads(head)["time_base"])
    assert [json.loads(line)["stamp"] * tick * 90000 for line in lines] == [0, 100, 5000]


@pytest.mark.parametrize(
    ("frame", "temporal", "redone"), [(1, 0, 5), (3, 0, 3), (4, 0, 2), (1, 0.8, 6), (3, 0.8, 4), (4, 0.8, 2)]
)
def test_a_run_that_crashed_goes_on_with_the_same_pictures(make_clip, runner, frame, temporal, redone):
    """Steadied frames are made again from the beginning of their segment, here of two."""
    source = make_clip(frames=6, still=frozenset({2}))
    wishes = {"temporal": temporal, "segment_frames": 2}
    written(source, runner, **wishes)
    folder = source.with_name("frames")
    whole = {name: (folder / name).read_bytes() for name in names(source)}
    for path in folder.iterdir():
        path.unlink()

    def listen(event):
        if isinstance(event, FramesDone) and event.done >= frame:
            raise CrashError

    with pytest.raises(CrashError):
        written(source, runner, listener=listen, **wishes)
    report = written(source, runner, **wishes)
    assert report.frames == 6
    assert report.fresh <= redone
    assert {name: (folder / name).read_bytes() for name in names(source)} == whole


def test_two_runs_at_the_same_pictures_do_not_mix(make_clip, runner):
    source = make_clip(frames=3)
    refused = []

    def listen(event):
        if isinstance(event, FramesDone) and not refused:
            with pytest.raises(OutputError, match=r"f\.%04d\.exr: another run is at it; wait for its end"):
                written(source, runner)
            refused.append(event)

    assert written(source, runner, listener=listen).fresh == 3
    assert refused
    assert names(source) == [f"f.000{number}.exr" for number in range(1, 4)]


def test_other_settings_or_a_picture_that_is_gone_begin_anew(make_clip, runner):
    source = make_clip(frames=4)
    written(source, runner)
    assert written(source, runner).fresh == 0
    assert written(source, runner, write=WriteOptions(float32=True)).fresh == 4
    (source.with_name("frames") / "f.0003.exr").unlink()
    assert written(source, runner, write=WriteOptions(float32=True)).fresh == 4  # of a segment all
    assert written(source, runner, temporal=0.0).fresh == 4
    (source.with_name("frames") / "f.0003.exr").unlink()
    assert written(source, runner, temporal=0.0).fresh == 2


def test_pictures_may_hold_pq(make_clip, runner):
    source = make_clip(frames=2)
    report = written(source, runner, "f.%02d.png", WriteOptions(light=Light(transfer=PQ)))
    assert (names(source), report.transfer) == (["f.01.png", "f.02.png"], "pq")


def test_a_frame_says_what_made_it_as_any_picture_does(make_clip, runner):
    source = make_clip(frames=1)
    written(source, runner)
    written(source, runner, "f.%04d.png", temporal=0.0)
    with OpenEXR.File(str(source.with_name("frames") / "f.0001.exr"), header_only=True) as file:
        said = dict(file.header())
    assert said["software"] == f"dcdr-deploy {dcdr_deploy.__version__}"
    assert [said[name] for name in ("model", "peak", "light", "scale", "temporal")] == [
        "gain net",
        "8",
        "relative",
        "auto",
        "0.8",
    ]
    assert said["weightsSha256"] == "feed" * 16
    with Image.open(source.with_name("frames") / "f.0001.png") as picture:
        assert (picture.info["Software"], picture.info["weightsSha256"]) == (said["software"], "feed" * 16)
        assert "temporal" not in picture.info


@pytest.mark.parametrize(
    ("name", "write", "told"),
    [
        ("f.%02d.png", WriteOptions(), True),
        ("f.%02d.tif", WriteOptions(), True),
        ("f.%02d.tif", WriteOptions(float32=True), False),
        ("f.%02d.png", WriteOptions(light=Light(transfer=PQ)), False),
    ],
)
def test_light_that_frames_have_no_numbers_for_is_told_once_a_run(make_clip, name, write, told):
    """A lamp in the first frame alone, of which a second one is a copy; told of what an earlier run did, too."""
    up_to_the_peak = Runner(BrightEngine(lambda light: PEAK * light))

    def paint(number):
        luma = np.full((HEIGHT, WIDTH), 60, np.uint8)
        if number == 0:
            luma[16:48, 32:64] = 235
        return luma

    source = make_clip(frames=4, still=frozenset({1}), paint=paint)
    share = 32 * 32 / (HEIGHT * WIDTH)
    end = "8 x SDR white, where the file ends; EXR of 32-bit floats does not"
    for fresh in (4, 0):
        report = written(source, up_to_the_peak, name, write, dials=Dials(exposure=1), temporal=0.0)
        assert report.fresh == fresh
        assert report.notes == ((f"up to {share:.1%} of a frame's pixels are brighter than {end}",) if told else ())


def test_frames_replace_those_of_earlier_runs_and_no_picture_of_somebody_else(make_clip, make_picture, runner):
    source = make_clip(frames=3)
    for temporal in (0.8, 0.0):  # the second time over the first one's
        assert written(source, runner, "f.%02d.png", temporal=temporal).fresh == 3
    foreign = make_picture(source.with_name("frames") / "f.02.png")
    before = foreign.read_bytes()
    with pytest.raises(InputError, match=r"f\.02\.png: is a picture that dcdr-deploy has not written"):
        written(source, runner, "f.%02d.png")
    assert foreign.read_bytes() == before


def test_what_pictures_cannot_be_is_refused(make_clip, runner):
    source = make_clip(frames=1)
    with pytest.raises(OutputError, match="Ultra HDR is made of pictures"):
        written(source, runner, "f.%02d.jpg")
    with pytest.raises(InputError, match="no frame came out"):
        written(source, runner, start=Fraction(100))
    assert list(source.with_name("frames").iterdir()) == []
