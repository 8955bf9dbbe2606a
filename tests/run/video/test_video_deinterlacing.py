"""Whole frames made of fields: which field's time they show, what is left alone, and what is lost between them."""

from __future__ import annotations

import numpy as np
import pytest
from videos import HEIGHT, RATE, WIDTH, damaged

from dcdr_deploy.run.video.convert import convert_video
from dcdr_deploy.run.video.frames import Selection
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.target import EncodeOptions

FIELDS = {"preset": "ultrafast", "qp": "4", "g": "1", "flags": "+ildct"}
FIRST_ROW = {"tff": 0, "bff": 1}
INNER = slice(20, 44)
"""Rows within the bar."""


def bar(field: int) -> np.ndarray:
    """Luma at the time of a field, of which a frame has two: a bar that moves by four pixels a field."""
    luma = np.full((HEIGHT, WIDTH), 60, np.uint8)
    left = 8 + 4 * field
    luma[16:48, left : left + 16] = 180
    return luma


def woven(order: str):
    """Frames of two fields, each as it is at its own time."""

    def paint(number: int) -> np.ndarray:
        luma, later = bar(2 * number), bar(2 * number + 1)
        rows = slice(1 - FIRST_ROW[order], None, 2)
        luma[rows] = later[rows]
        return luma

    return paint


def comb(luma: np.ndarray) -> float:
    """How far rows lie from the mean of their neighbours, codes."""
    rows = luma[INNER].astype(float)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


def lumas(source, **wishes) -> list[np.ndarray]:
    with open_video(source, **wishes) as video:
        return [frame.planes[0] for frame in video.frames()]


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_a_frame_is_whole_at_the_time_of_the_field_shown_first(make_clip, order):
    source = make_clip(paint=woven(order), frames=6, fields=order, options=FIELDS)
    found = lumas(source, deinterlace=True)
    assert len(found) == 6
    for number, luma in enumerate(found):
        assert comb(woven(order)(number)) > 8
        assert comb(luma) < 1
        here, later = (np.abs(luma[INNER].astype(float) - bar(2 * number + field)[INNER]).mean() for field in (0, 1))
        assert here < later / 4


def test_frames_that_are_whole_already_are_left_alone(make_clip):
    source = make_clip(frames=4)
    for before, after in zip(lumas(source), lumas(source, deinterlace=True), strict=True):
        assert (before == after).all()


@pytest.mark.parametrize(("policy", "shown"), [("skip", [0, 1, 2, 3, 5, 6, 7]), ("repeat", list(range(8)))])
def test_a_lost_frame_stays_behind_the_one_that_is_held_back(make_clip, policy, shown):
    """A deinterlacer gives a frame when it has seen the next one."""
    source = damaged(make_clip(paint=woven("tff"), frames=8, fields="tff", options=FIELDS), 4)
    options = VideoOptions(on_error=policy, deinterlace=True)
    with open_video(source, deinterlace=True) as video:
        pictures = list(iter(Selection(video, options).next, None))
        assert [round(picture.stamp * video.info.time_base * RATE) for picture in pictures] == shown
        assert not any(picture.mended for picture in pictures)
    assert [number for number, picture in zip(shown, pictures, strict=True) if picture.lost] == [5 - (policy != "skip")]


def test_a_lost_last_frame_is_told_behind_it_too(make_clip, runner):
    source = damaged(make_clip(paint=woven("tff"), frames=6, fields="tff", options=FIELDS), 5)
    settings = VideoSettings(video=VideoOptions(EncodeOptions("ffv1"), deinterlace=True))
    report = convert_video(source, source.with_name("o.mkv"), runner, settings)
    assert report.frames == 5
    assert report.notes[-1] == "it breaks off: what comes after 0.208 s cannot be decoded; frames left out: 1"
