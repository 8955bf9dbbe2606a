"""Pictures to be shown: their light, their inputs, smaller ones."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import WriteOptions, srgb_to_linear, write_image
from dcdr_deploy.imaging.light import Light
from dcdr_deploy.view.picture import fitting, load, to_codes


def some_light(size=(24, 32)) -> np.ndarray:
    return np.random.default_rng(0).random((*size, 3), dtype=np.float32)


@pytest.mark.parametrize("suffix", [".exr", ".hdr", ".png", ".tif"])
def test_every_format_that_run_writes_has_its_light_in_units_of_sdr_white(tmp_path, suffix):
    write_image(tmp_path / f"a{suffix}", some_light(), peak=8, metadata={"peak": "8"})
    shown = load(tmp_path / f"a{suffix}")
    assert np.abs(shown.light - 8 * some_light()).max() < 0.04  # a step of RGBE
    assert shown.peak == 8


def test_a_picture_with_a_gain_map_is_its_base_times_the_map(tmp_path):
    light = np.tile(np.geomspace(0.1, 6, 64, dtype=np.float32)[None, :, None], (48, 1, 3))
    Image.fromarray(to_codes(light)).save(tmp_path / "a.png")
    write_image(tmp_path / "a.jpg", light / 8, peak=8, source=tmp_path / "a.png")
    shown = load(tmp_path / "a.jpg", tmp_path / "a.png")
    assert "gain map" in " ".join(shown.notes)
    assert np.abs(np.log2(shown.light / light)).max() < 0.1


def test_pq_is_light_in_units_of_its_own_sdr_white(tmp_path):
    options = WriteOptions(light=Light(transfer="pq", peak_nits=10000, reference_white=100))
    write_image(tmp_path / "a.png", some_light(), peak=8, options=options)
    np.testing.assert_allclose(load(tmp_path / "a.png").light, 8 * some_light(), rtol=0.01, atol=2e-3)


def test_an_array_is_light_as_it_is(tmp_path):
    np.save(tmp_path / "a.npy", some_light())
    np.testing.assert_array_equal(load(tmp_path / "a.npy").light, some_light())


def test_integers_without_a_scale_are_told_and_can_be_given_one(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4, 3), 65535, np.uint16))
    shown = load(tmp_path / "a.png")
    assert shown.light.max() == 1
    assert "`full_scale`" in shown.notes[-1]
    scaled = load(tmp_path / "a.png", full_scale=16)
    assert (scaled.light.max(), scaled.notes) == (16, shown.notes[:-1])


@pytest.mark.parametrize("nonsense", [0, -1, 1e300, float("nan"), float("inf")])
def test_a_full_scale_that_is_none_is_refused(nonsense):
    with pytest.raises(InputError, match="above 0"):
        load(Path("a.png"), full_scale=nonsense)


def test_an_input_of_16_bits_is_shown_with_8(tmp_path):
    import cv2

    write_image(tmp_path / "a.exr", some_light(), peak=8)
    codes = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), codes[..., ::-1] * 257)
    np.testing.assert_array_equal(load(tmp_path / "a.exr", tmp_path / "a.png").sdr, codes)


def test_an_input_of_another_size_is_refused(tmp_path):
    write_image(tmp_path / "a.exr", some_light(), peak=8)
    Image.new("RGB", (30, 24)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: has 30x24 pixels and .*a\.exr 32x24"):
        load(tmp_path / "a.exr", tmp_path / "a.png")


def mean_of_blocks(light: np.ndarray) -> np.ndarray:
    return light.reshape(6, 4, 8, 4, 3).mean((1, 3))


def test_a_smaller_picture_has_the_mean_light_of_the_larger_one(tmp_path):
    write_image(tmp_path / "a.exr", some_light(), peak=8)
    shown = load(tmp_path / "a.exr")
    np.testing.assert_allclose(shown.reduced((6, 8)).light, mean_of_blocks(shown.light), rtol=1e-5)
    assert shown.reduced(shown.size) is shown


def test_a_smaller_picture_differs_from_its_input_only_where_the_larger_one_does(tmp_path):
    codes = to_codes(some_light())
    light = srgb_to_linear(codes / 255).astype(np.float32)
    light[:12] += 3 * some_light()[:12]
    Image.fromarray(codes).save(tmp_path / "a.png")
    write_image(tmp_path / "a.exr", light / 8, peak=8)
    shown = load(tmp_path / "a.exr", tmp_path / "a.png")
    small = shown.reduced((6, 8))
    np.testing.assert_array_equal(small.sdr, to_codes(mean_of_blocks(srgb_to_linear(codes / 255)).astype(np.float32)))
    of_code = srgb_to_linear(np.arange(256) / 255).astype(np.float16)
    np.testing.assert_array_equal(small.light[3:], of_code[small.sdr[3:]])
    step = np.diff(of_code.astype(np.float64))[np.minimum(small.sdr, 254)]
    assert (np.abs(small.light - mean_of_blocks(shown.light)) <= 0.55 * step + 1e-3 * small.light).all()


def test_codes_are_srgb_and_clip_at_white():
    codes = to_codes(np.array([[-1, 0.18, 0.5], [1, 2, 1e9]], np.float32))
    assert codes.tolist() == [[0, 118, 188], [255, 255, 255]]
    assert to_codes(np.array([4, 0.72, 2], np.float32), -2).tolist() == [255, 118, 188]


@given(st.tuples(st.integers(1, 9000), st.integers(1, 9000)), st.integers(1, 5000), st.floats(1, 1e8))
def test_a_picture_is_never_larger_than_allowed_and_keeps_its_shape(size, edge, pixels):
    height, width = fitting(size, edge=edge, pixels=pixels)
    assert 1 <= height <= size[0]
    assert 1 <= width <= size[1]
    assert max(height, width) <= edge
    assert height * width <= pixels or 1 in (height, width)
    if (height, width) != size:
        assert abs(height / size[0] - width / size[1]) <= 1 / min(size)


def test_a_picture_that_fits_stays():
    assert fitting((427, 640)) == fitting((427, 640), edge=640) == fitting((427, 640), pixels=427 * 640) == (427, 640)
