"""Of a picture that is cut, by its stream or by its container, the part that is shown is taken."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from videos import copied

from dcdr_deploy.run.video import window
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.source import device_samples_of, rgb_of

TOP, BOTTOM, LEFT, RIGHT = 4, 2, 8, 6
CLUSTER = b"\x1f\x43\xb6\x75"


def pictures(path: Path) -> tuple[np.ndarray, tuple[int, int], tuple[str, ...]]:
    with open_video(path) as video:
        found = [rgb_of(frame, video.info) for frame in video.frames()]
        return np.stack(found), video.info.shown_size, video.info.notes


def filtered(source: Path, target: Path, by: str) -> Path:
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        track = before.streams.video[0]
        new = after.add_stream_from_template(track, opaque=True)
        bits = BitStreamFilterContext(by, track, new)
        for packet in before.demux(track):
            for each in bits.filter(packet if packet.size else None):
                each.stream = new
                after.mux(each)
    return target


def with_clean_aperture(path: Path, size: tuple[int, int], offset: tuple[int, int]) -> Path:
    """The same file, whose index comes last, with a box ``clap`` in its sample entry."""
    data = bytearray(path.read_bytes())
    (height, width), (y, x) = size, offset
    clap = struct.pack(">I4s8i", 40, b"clap", width, 1, height, 1, x, 1, y, 1)
    trail, begin, end = [], 0, len(data)
    for kind, skipped in ((b"moov", 8), (b"trak", 8), (b"mdia", 8), (b"minf", 8), (b"stbl", 8), (b"stsd", 16)):
        at = begin
        while data[at + 4 : at + 8] != kind:
            at += int.from_bytes(data[at : at + 4], "big")
        trail.append(at)
        begin, end = at + skipped, at + int.from_bytes(data[at : at + 4], "big")
    for at in (*trail, begin):
        struct.pack_into(">I", data, at, int.from_bytes(data[at : at + 4], "big") + len(clap))
    data[end:end] = clap
    path.write_bytes(data)
    return path


def with_pixel_crop(path: Path) -> Path:
    """The same Matroska file with PixelCrop elements in the place of its element Colour, which the stream repeats."""
    data = bytearray(path.read_bytes())
    at = data.index(b"\x55\xb0")
    size = 3 + (data[at + 2] & 0x7F)
    crops = b"".join(
        bytes([*kind, 0x81, value])
        for kind, value in ((b"\x54\xbb", TOP), (b"\x54\xaa", BOTTOM), (b"\x54\xcc", LEFT), (b"\x54\xdd", RIGHT))
    )
    void = size - len(crops) - 2
    data[at : at + size] = crops + bytes([0xEC, 0x80 | void]) + bytes(void)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv"])
def test_columns_at_the_left_are_cut_where_the_stream_says(make_clip, tmp_path, name):
    whole, size, _ = pictures(make_clip("whole.mp4", frames=3))
    crops = f"crop_left={LEFT}:crop_right={RIGHT}:crop_top={TOP}:crop_bottom={BOTTOM}"
    cut, shown, _ = pictures(filtered(tmp_path / "whole.mp4", tmp_path / name, f"h264_metadata={crops}"))
    assert shown == (size[0] - TOP - BOTTOM, size[1] - LEFT - RIGHT) == cut.shape[1:3]
    inner = whole[:, TOP : size[0] - BOTTOM, LEFT : size[1] - RIGHT]
    assert np.abs(cut[:, 1:-1, 2:-2].astype(int) - inner[:, 1:-1, 2:-2]).max() == 0  # chroma at the edges may differ


def test_a_clean_aperture_is_what_is_shown(make_clip):
    path = make_clip("in.mp4", frames=3)
    whole, size, _ = pictures(path)
    cut, shown, notes = pictures(with_clean_aperture(path, (size[0] - 6, size[1] - 14), (1, 1)))
    np.testing.assert_array_equal(cut, whole[:, 4:-2, 8:-6])
    assert shown == cut.shape[1:3]
    assert "cropped as its container says" in notes


def test_an_engine_that_takes_planes_gets_what_is_shown(make_clip):
    path = make_clip("in.mp4", frames=1)
    _, size, _ = pictures(path)
    with open_video(with_clean_aperture(path, (size[0] - 6, size[1] - 14), (1, 1))) as video:
        frame = next(iter(video.frames()))
        samples = device_samples_of(frame, video.info)
        assert samples.size == video.info.shown_size == (size[0] - 6, size[1] - 14)
        np.testing.assert_array_equal(samples.planes[0], rgb_of(frame, video.info))


def test_a_clean_aperture_is_turned_with_the_picture(make_clip, tmp_path):
    quarter = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    turned = copied(make_clip("plain.mp4", frames=1), tmp_path / "in.mp4", display_matrix=quarter)
    whole, size, _ = pictures(turned)
    cut, shown, _ = pictures(with_clean_aperture(turned, (size[1] - 6, size[0] - 14), (1, 1)))
    np.testing.assert_array_equal(cut, whole[:, 8:-6, 2:-4])
    assert shown == cut.shape[1:3]


def test_matroskas_cropping_is_what_is_shown(make_clip):
    path = make_clip("in.mkv", frames=3)
    whole, _, _ = pictures(path)
    cut, shown, notes = pictures(with_pixel_crop(path))
    np.testing.assert_array_equal(cut, whole[:, TOP:-BOTTOM, LEFT:-RIGHT])
    assert shown == cut.shape[1:3]
    assert "cropped as its container says" in notes


@pytest.mark.parametrize("read", [2, 4, 5])
def test_what_is_read_of_a_file_may_end_anywhere_behind_its_tracks(make_clip, monkeypatch, read):
    path = with_pixel_crop(make_clip("in.mkv", frames=3))
    monkeypatch.setattr(window, "_MATROSKA_HEAD", path.read_bytes().index(CLUSTER) + read)
    assert "cropped as its container says" in pictures(path)[2]


@pytest.mark.parametrize("size", [(10_000, 10_000), (0, 0), (-4, 8)])
def test_an_aperture_that_makes_no_sense_is_passed_over(make_clip, size):
    path = make_clip("in.mp4", frames=1)
    whole, shown, _ = pictures(path)
    again, shown_again, notes = pictures(with_clean_aperture(path, size, (0, 0)))
    np.testing.assert_array_equal(again, whole)
    assert shown_again == shown
    assert not notes
