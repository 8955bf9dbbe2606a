"""FFmpeg's frames as arrays and back."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("av")

from dcdr_deploy.errors import InputError
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
        return "written"

    frame, told = frame_of(SIZE, layout, name, write)
    assert told == "written"
    assert (frame.format.name, frame.height, frame.width) == (name, *SIZE)
    found = planes_of(frame, pixel_format(name))
    assert all(map(np.array_equal, found, samples))


def test_what_is_unpacked_is_whole_every_time():
    layout = Layout(10, 2, 2)

    def write(planes):
        for plane in planes:
            plane[...] = 100

    for _ in range(500):
        frame, _ = frame_of(SIZE, layout, "p010le", write)
        found = planes_of(frame, pixel_format("p010le"))
        assert all((plane == 100).all() for plane in found)


def filled(name: str, rng: np.random.Generator):
    """A frame of random samples."""
    import av

    kind = pixel_format(name)
    frame = av.VideoFrame(SIZE[1], SIZE[0], name)
    for plane in frame.planes:
        samples = np.frombuffer(plane, np.uint8 if kind.layout.bits == 8 else np.uint16)
        samples[...] = rng.integers(0, 1 << kind.layout.bits, samples.size)
    return frame


PACKED = """
    nv12 nv21 nv16 nv24 nv42 p010le p210le p410le uyvy422 yuyv422 yvyu422 y210le ya8 gray16be ya16le rgb24 bgr24
    rgba bgra argb abgr rgb0 0bgr rgb48be rgba64le bgr48le x2rgb10le x2bgr10le vuya xv36le gbrp10be yuv420p10be
    yuva444p10be
"""


@pytest.mark.parametrize("name", PACKED.split())
def test_what_is_packed_is_unpacked_without_a_change(name):
    import av

    kind = pixel_format(name)
    plain = kind.name if kind.name != name else name.replace("be", "le")
    frame = filled(plain, np.random.default_rng(4))
    packed = frame.reformat(format=name, threads=1)
    assert av.VideoFormat(name).name == packed.format.name
    assert all(map(np.array_equal, planes_of(packed, kind), planes_of(frame, pixel_format(plain))))


@pytest.mark.parametrize("name", ["gbrap", "gbrap10le", "gbrap12le", "yuva420p", "yuva444p12le", "yuv411p", "yuv440p"])
def test_what_has_planes_is_read_from_them(name):
    """swscale gave other memory's bytes for gbrap12le."""
    frame = filled(name, np.random.default_rng(5))
    kind = pixel_format(name)
    found = planes_of(frame, kind)
    assert (kind.name, len(found)) == (name, 3)
    for number, plane in zip((2, 0, 1) if kind.is_rgb else (0, 1, 2), found, strict=True):
        stored = np.frombuffer(frame.planes[number], plane.dtype)
        row = frame.planes[number].line_size // plane.itemsize
        assert (stored.reshape(-1, row)[: plane.shape[0], : plane.shape[1]] == plane).all()


@pytest.mark.parametrize("name", ["grayf32le", "gbrpf32le", "bayer_rggb8", "xyz12le", "cuda", "rgbf16le"])
def test_what_is_no_picture_of_codes_is_refused(name):
    with pytest.raises(InputError, match=f"has the pixel format {name}, which is not read"):
        pixel_format(name)
