"""A video's frames as numbered pictures."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from videos import PATCH, PATCH_LUMA

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging.light import PQ, Light
from dcdr_deploy.imaging.read_hdr import read_hdr
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.imaging.writers.base import WriteOptions
from dcdr_deploy.run import sequence
from dcdr_deploy.run.events import FramesDone
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.stills import PreparedStills


class CrashError(BaseException):
    """Ends a run on the spot."""


def written(source, runner, name="f.%04d.exr", write=WriteOptions(), listener=None, **wishes):  # noqa: B008
    pattern = sequence.parse(str(source.with_name("frames") / name))
    prepared = PreparedStills(source, pattern, VideoSettings(video=VideoOptions(**wishes)), write)
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


def test_what_pictures_cannot_be_is_refused(make_clip, runner):
    source = make_clip(frames=1)
    with pytest.raises(OutputError, match="Ultra HDR is made of pictures"):
        written(source, runner, "f.%02d.jpg")
    with pytest.raises(InputError, match="no frame came out"):
        written(source, runner, start=Fraction(100))
    assert list(source.with_name("frames").iterdir()) == []
