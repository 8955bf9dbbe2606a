"""Light as the frames that encoders take: what strips and threads make of it is what the whole picture gives."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dcdr_deploy.imaging.delivery import Delivery
from dcdr_deploy.imaging.light import HLG, PQ, Light
from dcdr_deploy.run.video.encoding import frame_of_light, padded_size, samples_of_light
from dcdr_deploy.run.video.planes import pixel_format, planes_of
from dcdr_deploy.run.video.target import EncodeOptions, resolve
from dcdr_deploy.run.video.yuv import from_rgb

PEAK = 8.0


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize(("codec", "suffix"), [("hevc", ".mp4"), ("prores", ".mov"), ("ffv1", ".mkv")])
@pytest.mark.parametrize("size", [(64, 20), (129, 35), (200, 36)])  # one strip, a last one of a row, whole samples
def test_a_frame_is_that_of_the_whole_picture(codec: str, suffix: str, transfer: str, size: tuple[int, int]):
    rng = np.random.default_rng(2)
    linear = rng.uniform(0, 1, (*size, 3)).astype(np.float32) ** 4
    target = resolve(Path(f"o{suffix}"), EncodeOptions(codec), transfer)
    delivery = Delivery(Light(transfer=transfer), PEAK)
    signal, brightness = delivery.signals(linear)
    rows, columns = padded_size(size, target.codec)
    padded = np.pad(signal, ((0, rows - size[0]), (0, columns - size[1]), (0, 0)), mode="edge")
    expected = from_rgb(cv2.split(padded), target.codec.layout)
    frame, light = frame_of_light(linear, delivery, target)
    assert (light.max_cll, light.max_fall) == pytest.approx((brightness.max_cll, brightness.max_fall), rel=1e-6)
    for planes in (planes_of(frame, pixel_format(frame.format.name)), samples_of_light(linear, delivery, target)):
        for found, wanted in zip(planes, expected, strict=True):
            apart = np.abs(found.astype(int) - wanted)  # OpenCV rounds the last pixels of an array otherwise
            assert apart.max() <= 1
            assert np.count_nonzero(apart) <= 2
