"""Turns and mirrorings of files, as players show them."""

from __future__ import annotations

import numpy as np
import pytest
from videos import copied

from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.orientation import Orientation, of_matrix
from dcdr_deploy.run.video.source import rgb_of

ONE = 1 << 16

SHOWN = {
    "as it is": ((1, 0, 0, 1), lambda stored: stored),
    "a quarter to the right": ((0, 1, -1, 0), lambda stored: np.rot90(stored, -1)),
    "half a turn": ((-1, 0, 0, -1), lambda stored: stored[::-1, ::-1]),
    "a quarter to the left": ((0, -1, 1, 0), lambda stored: np.rot90(stored)),
    "left is right": ((-1, 0, 0, 1), lambda stored: stored[:, ::-1]),
    "upside down in a mirror": ((1, 0, 0, -1), lambda stored: stored[::-1]),
    "rows are columns": ((0, 1, 1, 0), lambda stored: np.swapaxes(stored, 0, 1)),
    "rows are columns from the end": ((0, -1, -1, 0), lambda stored: np.swapaxes(stored[::-1, ::-1], 0, 1)),
}
"""Where (p, q) goes, y downwards, as ISO/IEC 14496-12 has it; what is then seen."""


@pytest.mark.parametrize("name", SHOWN)
def test_a_picture_is_taken_as_players_show_it(make_clip, name):
    (a, b, c, d), shown = SHOWN[name]
    plain = make_clip("plain.mp4", frames=1)
    source = copied(
        plain, plain.with_name("in.mp4"), display_matrix=[a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30]
    )
    pictures = []
    for path in (plain, source):
        with open_video(path) as video:
            pictures.append(rgb_of(next(iter(video.frames())), video.info))
            assert video.info.shown_size == pictures[-1].shape[:2]
    assert (pictures[1] == shown(pictures[0])).all()
    assert pictures[1].flags.c_contiguous


def test_a_slanted_picture_is_turned_to_the_nearest_quarter():
    assert of_matrix([9, 5, 0, -5, 9, 0, 0, 0, 1]) == Orientation()
    assert of_matrix([5, 9, 0, -9, 5, 0, 0, 0, 1]) == Orientation(quarters=3)
