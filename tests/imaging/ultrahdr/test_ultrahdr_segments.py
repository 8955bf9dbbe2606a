"""A JPEG is taken apart and put together without a byte changed."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dcdr_deploy.imaging.ultrahdr.segments import (
    LARGEST_PAYLOAD,
    NoJpegError,
    join,
    segment,
    split,
)


def encoded(**options) -> bytes:
    stream = io.BytesIO()
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(stream, "JPEG", **options)
    return stream.getvalue()


PLAIN = encoded()


@pytest.mark.parametrize("options", [
    {}, {"progressive": True}, {"restart_marker_blocks": 2}, {"optimize": True, "comment": b"\xff\xd9 no end"},
    {"quality": 100, "subsampling": 0},
])  # fmt: skip
def test_together_it_is_what_it_was(options):
    data = encoded(**options)
    parts = split(data)
    assert join(parts.segments, parts.scans) == data
    assert parts.beyond == b""


@given(st.binary(max_size=200))
def test_what_follows_the_picture_is_kept_apart(tail):
    parts = split(PLAIN + tail)
    assert join(parts.segments, parts.scans) == PLAIN
    assert parts.beyond == tail


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture():
    """Exif holds a whole JPEG of its own, and tables may lie between scans."""
    inner = segment(0xE1, b"Exif\0\0" + PLAIN[:3000])
    data = PLAIN[:2] + inner.raw + PLAIN[2:]
    parts = split(data)
    assert parts.segments[0] == inner
    assert join(parts.segments, parts.scans) == data


def test_fill_bytes_before_a_marker_stay():
    data = PLAIN[:2] + b"\xff\xff\xff" + PLAIN[2:]
    parts = split(data)
    assert join(parts.segments, parts.scans) == data


def test_a_missing_end_is_added():
    parts = split(PLAIN[:-2])
    assert join(parts.segments, parts.scans) == PLAIN


@given(st.integers(0, len(PLAIN) - 1))
def test_what_is_cut_off_is_refused_or_ends_where_the_file_does(length):
    try:
        parts = split(PLAIN[:length])
    except NoJpegError:
        return
    assert join(parts.segments, parts.scans) == PLAIN[:length] + (b"" if parts.scans == b"" else b"\xff\xd9")


@given(st.binary(max_size=64))
def test_other_bytes_are_refused(data):
    with pytest.raises(NoJpegError):
        split(data)


def test_a_segment_is_as_long_as_its_length_can_say():
    whole = segment(0xE1, bytes(LARGEST_PAYLOAD))
    assert struct.unpack(">H", whole.raw[2:4]) == (65535,)
    with pytest.raises(ValueError, match="65534 bytes"):
        segment(0xE1, bytes(LARGEST_PAYLOAD + 1))
