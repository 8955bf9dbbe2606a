"""Views of panoramas point where they say, and the splits never share a place."""

from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcdr_deploy.errors import InputError
from dcdr_deploy.scenes.panorama import (
    SAME_PLACE,
    SPLITS,
    PanoramaSet,
    load_panorama,
    perspective,
    repair_ringing,
    ringing_mask,
    split_of,
)

HDRI = Path(__file__).parents[2] / "data" / "hdri"
HEIGHT, WIDTH = 64, 128
yaws = st.floats(-360, 720)
pitches = st.floats(-80, 80)
fovs = st.floats(30, 110)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((HEIGHT, WIDTH, 3), dtype=np.float32)


def write_exr(path: Path, channels: dict[str, np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    OpenEXR.File({"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION}, channels).write(str(path))
    return path


@settings(max_examples=25, deadline=None)
@given(yaw=yaws, pitch=pitches, fov=fovs)
def test_a_view_of_a_constant_panorama_is_constant(yaw, pitch, fov):
    view = perspective(np.full((HEIGHT, WIDTH, 3), 2.5, np.float32), yaw, pitch, fov, 16)
    assert view.shape == (16, 16, 3)
    assert view.dtype == np.float32
    np.testing.assert_allclose(view, 2.5, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(yaw=st.floats(0, 359), pitch=pitches, fov=fovs)
def test_yaw_wraps_round_at_360(yaw, pitch, fov):
    first, second = (perspective(noise(), angle, pitch, fov, 16) for angle in (yaw, yaw + 360))
    np.testing.assert_allclose(first, second, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(row=st.integers(8, HEIGHT - 9), column=st.integers(0, WIDTH - 1), fov=st.floats(30, 80))
def test_a_bright_pixel_lands_in_the_centre_of_a_view_towards_it(row, column, fov):
    panorama = np.zeros((HEIGHT, WIDTH), np.float32)
    panorama[row, column] = 100
    yaw = ((column + 0.5) / WIDTH - 0.5) * 360
    pitch = (0.5 - (row + 0.5) / HEIGHT) * 180
    view = perspective(panorama, yaw, pitch, fov, 33)
    assert np.unravel_index(view.argmax(), view.shape) == (16, 16)
    assert view[16, 16] == pytest.approx(100, rel=1e-2)


def test_the_centre_column_is_yaw_0_and_yaw_grows_to_the_right():
    columns = np.broadcast_to(np.arange(WIDTH, dtype=np.float32), (HEIGHT, WIDTH))
    ahead, right = (perspective(columns, yaw, 0, 60, 9)[4, 4] for yaw in (0, 90))
    assert ahead == pytest.approx(WIDTH / 2 - 0.5)
    assert right == pytest.approx(WIDTH * 3 / 4 - 0.5)


def test_a_view_is_not_mirrored_and_pitch_grows_upwards():
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    assert (np.diff(perspective(columns, 0, 0, 60, 16)[8]) > 0).all()
    assert (np.diff(perspective(rows, 0, 0, 60, 16)[:, 8]) > 0).all()
    assert perspective(rows, 0, 30, 60, 9)[4, 4] < perspective(rows, 0, 0, 60, 9)[4, 4]


def test_the_angle_of_view_is_that_between_the_edges():
    columns = np.broadcast_to(np.arange(WIDTH, dtype=np.float32), (HEIGHT, WIDTH))
    middle_row = perspective(columns, 0, 0, 90, 512)[256]
    assert middle_row[-1] - middle_row[0] == pytest.approx(WIDTH / 4, abs=0.2)


@pytest.mark.parametrize("grouped", [True, False])
def test_a_loaded_panorama_has_no_negative_values(tmp_path, grouped):
    pixels = noise() - 0.2
    channels = {"RGB": pixels} if grouped else {c: np.ascontiguousarray(pixels[..., i]) for i, c in enumerate("RGB")}
    loaded = load_panorama(write_exr(tmp_path / "a.exr", channels))
    np.testing.assert_array_equal(loaded, np.maximum(pixels, 0))
    assert loaded.dtype == np.float32


def test_only_values_well_below_zero_count_as_ringing():
    radiance = np.ones((4, 8, 3), np.float32)
    radiance[0, 0, 1], radiance[1, 1, 2] = -0.04, -0.06
    assert np.argwhere(ringing_mask(radiance)).tolist() == [[1, 1]]


def test_a_sun_that_lost_two_channels_is_repaired_with_its_neighbours_and_a_coloured_lamp_is_not():
    radiance = np.ones((16, 32, 3), np.float32)
    radiance[8, 8] = (0, 1e-5, 15000)  # the compression kept blue only
    radiance[4, 24] = (900, 90, 9)
    mask = ringing_mask(radiance)
    assert mask[7:10, 7:10].all()
    assert mask.sum() == 9
    np.testing.assert_allclose(repair_ringing(radiance, mask)[8, 8], 1, rtol=0.05)


def test_a_view_coarser_than_its_panorama_is_averaged_not_sampled():
    stripes = np.zeros((HEIGHT * 4, WIDTH * 4), np.float32)
    stripes[:, ::2] = 1
    view = perspective(stripes, 0, 0, 60, 12)
    np.testing.assert_allclose(view, 0.5, atol=0.15)


def test_a_ringing_pixel_takes_the_light_around_it_and_sound_ones_keep_theirs():
    radiance = np.full((16, 32, 3), (2.0, 3.0, 4.0), np.float32)
    radiance[8, 8] = (-5, 30, 30)
    radiance[2, 2] = 1000
    radiance[3, 20] = (-1e-3, 3, 4)  # noise, only clamped
    repaired = repair_ringing(radiance, ringing_mask(radiance))
    np.testing.assert_allclose(repaired[8, 8], (2, 3, 4), rtol=0.05)
    expected = np.maximum(radiance, 0)
    expected[8, 8] = repaired[8, 8]
    np.testing.assert_array_equal(repaired, expected)


def test_random_views_show_little_ringing(tmp_path):
    pixels = np.ones((HEIGHT, WIDTH, 3), np.float32)
    pixels[:, :40] = (-1, 9, 9)  # clamped, a view of it would have a red channel of 0
    write_exr(tmp_path / "set" / "half.exr", {"RGB": pixels})
    panoramas, rng = PanoramaSet(tmp_path), np.random.default_rng(0)
    for _ in range(30):
        np.testing.assert_allclose(panoramas.random_view(rng, 16), 1, atol=1e-3)


def test_a_panorama_full_of_ringing_is_an_error_not_an_endless_loop(tmp_path):
    pixels = np.ones((HEIGHT, WIDTH, 3), np.float32)
    pixels[..., 0] = -1
    pixels[..., 1:] = 9
    write_exr(tmp_path / "set" / "bad.exr", {"RGB": pixels})
    with pytest.raises(InputError, match="set/bad"):
        PanoramaSet(tmp_path).random_view(np.random.default_rng(0), 8)


def test_random_views_repeat_with_the_seed(tmp_path):
    for name in ("one", "two"):
        write_exr(tmp_path / "set" / f"{name}.exr", {"RGB": noise(len(name))})
    panoramas = PanoramaSet(tmp_path)
    assert panoramas.names == ["set/one", "set/two"]
    first, second = ([panoramas.random_view(r, 16) for _ in range(3)] for r in map(np.random.default_rng, (4, 4)))
    np.testing.assert_array_equal(first, second)


def test_user_mistakes_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_panorama(tmp_path / "missing.exr")
    (tmp_path / "text.exr").write_text("not an image")
    with pytest.raises(InputError, match="is no HDR picture"):
        load_panorama(tmp_path / "text.exr")
    with pytest.raises(InputError, match="twice as wide"):
        load_panorama(write_exr(tmp_path / "square.exr", {"RGB": np.ones((8, 8, 3), np.float32)}))
    with pytest.raises(InputError, match="not R, G, B"):
        load_panorama(write_exr(tmp_path / "depth.exr", {"Z": np.ones((8, 16), np.float32)}))
    with pytest.raises(InputError, match=r"no \.exr"):
        PanoramaSet(tmp_path / "empty")


def test_a_place_belongs_to_one_split():
    for group in SAME_PLACE:
        assert len({split_of(name) for name in group}) == 1, group


def test_no_panorama_is_held_back_twice():
    held_back = [name for names in SPLITS.values() for name in names]
    assert len(held_back) == len(set(held_back))
    assert {split_of(name) for name in held_back} == {"test", "validation"}
    assert split_of("bpy/city") == "train"


def test_the_folders_are_the_splits():
    found = {path.relative_to(HDRI).with_suffix("").as_posix() for path in HDRI.rglob("*.exr")}
    assert len(found) == 22
    for entry in found:
        split, name = entry.split("/", 1)
        assert split == split_of(name)
    assert {f"{split}/{name}" for split, names in SPLITS.items() for name in names} <= found


def test_the_held_back_panoramas_yield_bright_finite_views():
    panoramas, rng = PanoramaSet(HDRI / "validation"), np.random.default_rng(0)
    views = np.stack([panoramas.random_view(rng, 24) for _ in range(4)])
    assert np.isfinite(views).all()
    assert (views >= 0).all()
    assert (views.max(axis=(1, 2, 3)) > 0).all()
