"""Colours in the headers of HEVC and AV1 are found whatever an encoder puts before them."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.imaging import av1_header, hevc_header
from dcdr_deploy.imaging.stream_bits import UnknownStreamError


def configuration(codec: str, options: dict[str, str], *, primaries: int, transfer: int) -> bytes:
    """The configuration record of a video of three frames, as MP4 and HEIF keep it."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.color_primaries = primaries
        stream.codec_context.color_trc = transfer
        stream.codec_context.colorspace = 1
        stream.codec_context.thread_count = 1
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((144, 128), 90, np.uint8), "yuv420p")
            frame.color_primaries, frame.color_trc, frame.colorspace = primaries, transfer, 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(io.BytesIO(file.getvalue())) as container:
        return bytes(container.streams.video[0].codec_context.extradata)


@pytest.mark.parametrize(
    "parameters",
    [
        "keyint=1",
        "bframes=3:temporal-layers=3",
        "scaling-list=default:sar=4",
        "sar=3:overscan=crop:ref=4:no-sao=1",
    ],
)
def test_colours_of_hevc(parameters):
    options = {"preset": "ultrafast", "x265-params": f"log-level=none:pools=1:{parameters}"}
    record = configuration("libx265", options, primaries=9, transfer=16)
    assert hevc_header.colours_of(record) == (9, 16)


@pytest.mark.parametrize("preset", ["8", "12"])
def test_colours_of_av1(preset):
    options = {"preset": preset, "svtav1-params": "lp=1"}
    record = configuration("libsvtav1", options, primaries=9, transfer=18)
    assert av1_header.colours_of(record[4:]) == (9, 18)


@given(st.binary(max_size=96))
def test_bytes_without_a_header_are_refused_and_nothing_else(stream):
    for read in (hevc_header.colours_of, av1_header.colours_of):
        try:
            found = read(stream)
        except UnknownStreamError:
            continue
        assert found is None or all(0 <= code < 256 for code in found)
