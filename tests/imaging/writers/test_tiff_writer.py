"""TIFF of floats, and of linear light in other primaries, as tifffile and LittleCMS read it."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ImageCms

from dcdr_deploy.imaging import WriteOptions, write_image
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.light import PRIMARIES, Light
from dcdr_deploy.imaging.read_hdr import read_hdr

PEAK = 8.0
RNG = np.random.default_rng(8)
LINEAR = (RNG.random((150, 40, 3), dtype=np.float32) * 1.5).astype(np.float32)
"""In more rows than a strip has, and above the model's peak."""


def options(floats: bool, primaries: str | None = None) -> WriteOptions:
    return WriteOptions(float32=floats, light=Light(primaries=primaries))


def test_floats_are_light_in_units_of_sdr_white_without_a_limit(tmp_path):
    write_image(tmp_path / "a.tif", LINEAR, peak=PEAK, options=options(True))
    pixels = tifffile.imread(tmp_path / "a.tif")
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, LINEAR * np.float32(PEAK))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED)[..., ::-1], pixels)


def test_floats_with_alpha(tmp_path):
    alpha = RNG.random((150, 40), dtype=np.float32)
    write_image(tmp_path / "a.tif", LINEAR, peak=PEAK, alpha=alpha, options=options(True))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[0]
        assert (page.sampleformat, page.extrasamples, page.predictor.name) == (3, (2,), "FLOATINGPOINT")
        pixels = page.asarray()
    np.testing.assert_array_equal(pixels, np.dstack([LINEAR * np.float32(PEAK), alpha]))


@pytest.mark.parametrize("floats", [False, True], ids=["integers", "floats"])
@pytest.mark.parametrize("primaries", PRIMARIES)
def test_primaries_are_converted_and_named_by_the_profile(tmp_path, primaries, floats):
    path = tmp_path / "a.tif"
    linear = LINEAR * np.float32(0.6)
    write_image(path, linear, peak=PEAK, options=options(floats, primaries))
    with tifffile.TiffFile(path) as file:
        pixels, profile = file.pages[0].asarray(), file.pages[0].iccprofile
    expected = linear.astype(np.float64) @ p.from_rec709(PRIMARIES[primaries]).T
    if floats:
        np.testing.assert_allclose(pixels, expected * PEAK, rtol=3e-6)
    else:
        np.testing.assert_allclose(pixels, expected * 65535, atol=0.52)
    read = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    adapted = p.adaptation(PRIMARIES[primaries][6:], (0.34567, 0.35850)) @ p.to_xyz(PRIMARIES[primaries])
    for channel, name in enumerate(("red", "green", "blue")):
        assert getattr(read, f"{name}_colorant")[0] == pytest.approx(adapted[:, channel], abs=4e-4)
    again = read_hdr(path).pixels / (PEAK if floats else 1)
    np.testing.assert_allclose(again, linear, atol=3e-4)


def test_profiles_have_names_people_know(tmp_path):
    write_image(tmp_path / "a.tif", LINEAR, peak=PEAK, options=options(False, "acescg"))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        read = ImageCms.ImageCmsProfile(io.BytesIO(file.pages[0].iccprofile))
    assert read.profile.profile_description == "Linear ACES AP1"
