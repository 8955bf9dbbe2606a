"""FFmpeg's frames as arrays and back."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("av")

from dcdr_deploy.run.video.planes import frame_of, pixel_format, planes_of
from dcdr_deploy.run.video.yuv import Layout

SIZE = (34, 70)  # FFmpeg's rows are longer than that


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("yuv420p10le", Layout(10, 2, 2)),
        ("p010le", Layout(10, 2, 2)),
        ("yuv422p10le", Layout(10, 2, 1)),
        ("yuv444p12le", Layout(12)),
    ],
)
def test_what_is_written_into_a_frame_is_what_a_reader_finds(name: str, layout: Layout):
    rng = np.random.default_rng(3)
    sizes = (SIZE, layout.chroma_size(*SIZE), layout.chroma_size(*SIZE))
    samples = [rng.integers(0, 1 << layout.bits, size).astype(np.uint16) for size in sizes]

    def write(planes):
        for plane, values in zip(planes, samples, strict=True):
            plane[...] = values

    frame = frame_of(SIZE, layout, name, write)
    assert (frame.format.name, frame.height, frame.width) == (name, *SIZE)
    found = planes_of(frame, pixel_format(name))
    assert all(map(np.array_equal, found, samples))


def test_what_is_unpacked_is_whole_every_time():
    layout = Layout(10, 2, 2)

    def write(planes):
        for plane in planes:
            plane[...] = 100

    for _ in range(500):
        found = planes_of(frame_of(SIZE, layout, "p010le", write), pixel_format("p010le"))
        assert all((plane == 100).all() for plane in found)
