"""Sizes and pixels on the command line: a pair of whole numbers, or a usage error."""

from __future__ import annotations

import click
import pytest

from dcdr_deploy.commands.options.types import PlaceType, SizeType


def test_a_size_is_height_and_width_and_a_pixel_is_x_and_y():
    assert SizeType().convert("1080x1920", None, None) == (1080, 1920)
    assert PlaceType().convert("120,48", None, None) == (120, 48)
    assert SizeType().convert((2, 3), None, None) == (2, 3)


@pytest.mark.parametrize("text", ["1080", "1080*1920", "-1x2", "x", "", f"{'9' * 5000}x1"])
def test_anything_else_says_how_it_is_written(text: str):
    with pytest.raises(click.BadParameter, match="is no size; write HEIGHTxWIDTH, for example 1080x1920"):
        SizeType().convert(text, None, None)
    with pytest.raises(click.BadParameter, match="is no pixel; write X,Y, for example 120,48"):
        PlaceType().convert(text.replace("x", ","), None, None)
