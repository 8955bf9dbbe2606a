"""What is left of a frame is as far from it as what H.264 leaves, and nothing drifts."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcdr_deploy.scenes.video_blocks import HIGHEST_QP, video_round_trip

SAMPLES = Path(__file__).parents[2] / "samples"


def crop(name: str) -> np.ndarray:
    """The middle 192 x 192 pixels of a sample, RGB."""
    picture = cv2.imread(str(SAMPLES / name))
    top, left = (side // 2 - 96 for side in picture.shape[:2])
    return np.ascontiguousarray(picture[top : top + 192, left : left + 192, ::-1])


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def by_x264(frame: np.ndarray, qp: int) -> np.ndarray:
    """A frame through libx264 at a constant quantisation parameter."""
    av = pytest.importorskip("av")
    stream = io.BytesIO()
    with av.open(stream, "w", format="matroska") as output:
        video = output.add_stream("libx264", rate=25)
        video.height, video.width, video.pix_fmt = *frame.shape[:2], "yuv420p"
        video.options = {"qp": str(qp), "x264-params": "ipratio=1"}
        shown = av.VideoFrame.from_ndarray(frame, format="rgb24")
        colours = {"format": "yuv420p", "dst_colorspace": "ITU709", "dst_color_range": "MPEG"}
        output.mux(video.encode(shown.reformat(**colours)))
        output.mux(video.encode(None))
    stream.seek(0)
    with av.open(stream) as source:
        decoded = next(source.decode(video=0))
    back = decoded.reformat(format="rgb24", src_colorspace="ITU709", src_color_range="MPEG")
    return np.asarray(back.to_ndarray())


@pytest.mark.parametrize("name", ["coffee.png", "forest-sky.png", "rocket.jpg"])
@pytest.mark.parametrize("qp", [24, 30, 36])
def test_as_much_is_lost_as_x264_loses(name: str, qp: int) -> None:
    frame = crop(name)
    assert psnr(video_round_trip(frame, qp), frame) == pytest.approx(psnr(by_x264(frame, qp), frame), abs=1.0)


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, HIGHEST_QP), st.integers(0, 2**32 - 1))
def test_gray_stays_gray_and_the_size_stays(height: int, width: int, qp: int, seed: int) -> None:
    gray = np.random.default_rng(seed).integers(0, 256, (height, width, 1), np.uint8)
    frame = np.repeat(gray, 3, axis=-1)
    decoded = video_round_trip(frame, qp)
    assert (decoded.dtype, decoded.shape) == (np.uint8, frame.shape)
    assert (decoded == decoded[..., :1]).all()


@settings(max_examples=50)
@given(st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 36))
def test_a_plain_colour_keeps_itself(colour: tuple[int, int, int], qp: int) -> None:
    decoded = video_round_trip(np.full((32, 32, 3), colour, np.uint8), qp)
    step = 2 ** (
        (qp - 4) / 6
    )  # of a block's mean: an eighth of it, half of that by rounding; colours are scaled by 1.9
    assert np.abs(decoded.astype(int) - colour).max() <= 2.5 + step / 4


def test_little_is_lost_of_a_smooth_frame_at_the_best_quality_and_more_with_each_step() -> None:
    frame = cv2.GaussianBlur(crop("coffee.png"), (0, 0), 6)
    assert np.abs(video_round_trip(frame, 0).astype(int) - frame).max() <= 4
    kept = [psnr(video_round_trip(crop("coffee.png"), qp), crop("coffee.png")) for qp in range(0, 50, 7)]
    assert kept == sorted(kept, reverse=True)


def test_edges_of_blocks_are_smoothed_where_the_frame_is_flat_and_kept_where_it_is_not() -> None:
    ramp = np.repeat(np.linspace(100, 130, 64).round().astype(np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    steps = np.abs(np.diff(video_round_trip(ramp, 36)[..., 0].astype(int), axis=1))
    assert steps.max() <= 3  # rounding alone makes steps of 5 and more at the edges of flat blocks
    edge = np.full((64, 64, 3), 30, np.uint8)
    edge[:, 32:] = 220
    assert np.diff(video_round_trip(edge, 36)[..., 0].astype(int), axis=1)[:, 31].min() > 170
