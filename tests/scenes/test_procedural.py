"""Procedural scenes are reproducible, valid linear HDR, and of the kind that photographs clip."""

import multiprocessing

import numpy as np
import pytest
from ear import Ear
from hypothesis import given, settings
from hypothesis import strategies as st

from dcdr_deploy.errors import EngineError
from dcdr_deploy.scenes.paint import lens, sky, street
from dcdr_deploy.scenes.paint.canvas import Canvas, fractal_noise
from dcdr_deploy.scenes.paint.room import paint_room
from dcdr_deploy.scenes.paint.scene import indoor_scene, outdoor_scene
from dcdr_deploy.scenes.procedural import (
    LARGEST_STORED,
    STREET_LAYERS,
    TEST_SEEDS,
    TRAIN_SEEDS,
    VALIDATION_SEEDS,
    render_pool,
    street_scene,
)

SIZE = 64
seeds = st.integers(0, 10**9)


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    return np.stack([street_scene(seed, SIZE) for seed in range(60)])


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_every_scene_is_finite_linear_light(seed):
    scene = street_scene(seed, SIZE)
    assert scene.shape == (SIZE, SIZE, 3)
    assert scene.dtype == np.float32
    assert np.isfinite(scene).all()
    assert (scene >= 0).all()
    assert scene.max() > 0


@settings(max_examples=5, deadline=None)
@given(seeds)
def test_the_same_seed_gives_the_same_bytes(seed):
    assert street_scene(seed, SIZE).tobytes() == street_scene(seed, SIZE).tobytes()


def test_different_seeds_give_different_scenes(scenes):
    assert len({scene.tobytes() for scene in scenes}) == len(scenes)


def test_scenes_have_the_range_of_real_light(scenes):
    luminance = scenes.mean(axis=-1)
    peaks, medians = luminance.max(axis=(1, 2)), np.median(luminance, axis=(1, 2))
    assert 10 < np.median(peaks) < 5000
    assert peaks.max() < LARGEST_STORED
    assert 0.03 < np.median(medians) < 3
    assert np.median(peaks / np.maximum(medians, 1e-6)) > 30


def test_scenes_are_coloured_and_detailed(scenes):
    spread = scenes.max(axis=-1) - scenes.min(axis=-1)
    assert (spread.mean(axis=(1, 2)) > 0).all()
    steps = np.abs(np.diff(scenes.mean(axis=-1), axis=2)) > 0.05 * np.median(scenes)
    assert np.median(steps.mean(axis=(1, 2))) > 0.05


def test_a_supersampled_scene_has_the_requested_size():
    assert street_scene(5, 48, supersample=2).shape == (48, 48, 3)


def test_the_seed_ranges_of_the_splits_are_disjoint():
    assert TRAIN_SEEDS.start == 1_000
    assert VALIDATION_SEEDS.start == 500_000_000
    assert TEST_SEEDS.start == 700_000_000
    assert TRAIN_SEEDS.stop <= VALIDATION_SEEDS.start
    assert VALIDATION_SEEDS.stop <= TEST_SEEDS.start


def test_a_pool_holds_the_scenes_in_order_in_half_precision():
    ear = Ear()
    pool = render_pool(range(1_000, 1_005), 32, workers=2, listener=ear)
    assert pool.dtype == np.float16
    assert ear.steps == [(done, 5) for done in range(1, 6)]
    for scene, seed in zip(pool, range(1_000, 1_005), strict=True):
        np.testing.assert_allclose(scene, np.minimum(street_scene(seed, 32), LARGEST_STORED), rtol=1e-3, atol=1e-6)


def test_a_pool_whose_process_is_killed_says_so_and_what_helps():
    others = set(multiprocessing.active_children())

    def kill(event):
        for process in set(multiprocessing.active_children()) - others:
            process.kill()

    with pytest.raises(EngineError, match=r"a worker process ended without a word.*fewer cores"):
        render_pool(range(1_000, 1_040), 32, workers=2, listener=kill)


def test_an_empty_pool_is_empty():
    assert render_pool([], 16).shape == (0, 16, 16, 3)


@pytest.mark.parametrize("paint", STREET_LAYERS, ids=lambda layer: layer.__name__)
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_each_street_layer_paints_valid_light_by_itself(paint, seed):
    scene = outdoor_scene(np.random.default_rng(seed), SIZE, 1)
    scene.canvas.image[:] = scene.sky_luminance
    paint(scene)
    assert np.isfinite(scene.canvas.image).all()
    assert (scene.canvas.image >= 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_a_room_leaves_no_hole(seed):
    scene = indoor_scene(np.random.default_rng(seed), SIZE, 1)
    paint_room(scene)
    assert (scene.canvas.image.max(axis=-1) > 0).all()


def test_wires_darken_a_bright_sky_and_nothing_else():
    darkened = []
    for seed in range(12):
        scene = outdoor_scene(np.random.default_rng(seed), SIZE, 1)
        scene.canvas.image[:] = 10.0
        street.paint_wires(scene)
        assert scene.canvas.image.max() <= 10 + 1e-5
        darkened.append(float((scene.canvas.image < 6).mean()))
    assert max(darkened) > 0.02


def test_the_sun_is_the_brightest_of_a_day():
    day = next(
        scene
        for scene in (outdoor_scene(np.random.default_rng(seed), SIZE, 1) for seed in range(50))
        if not scene.night and 0.1 < scene.sun[0] < 0.9 and scene.sun[1] > 0.1
    )
    sky.paint_sky(day)
    sky.paint_sun(day)
    luminance = day.canvas.image.mean(axis=-1)
    row, column = np.unravel_index(luminance.argmax(), luminance.shape)
    assert np.hypot(column / SIZE - day.sun[0], row / SIZE - day.sun[1]) < 0.05
    assert luminance.max() > 50 * np.median(luminance)


def test_the_lens_spreads_light_around_a_lamp_but_adds_little():
    scene = outdoor_scene(np.random.default_rng(0), SIZE, 1)
    scene.canvas.image[:] = 0.01
    scene.canvas.paint(scene.canvas.ellipse((32, 32), (3, 3)), np.full(3, 500.0))
    before = scene.canvas.image.sum()
    picture = lens.photograph(scene, SIZE)
    assert picture[32, 44].mean() > 0.02
    assert picture.sum() < 1.6 * before


@settings(max_examples=30, deadline=None)
@given(x=st.floats(-100, 200), y=st.floats(-100, 200), a=st.floats(0, 80), b=st.floats(0, 80), angle=st.floats(0, 180))
def test_shapes_are_clipped_to_the_canvas(x, y, a, b, angle):
    canvas = Canvas(40)
    shapes = (
        canvas.ellipse((x, y), (a, b), angle),
        canvas.polygon([(x, y), (x + a, y), (x + a, y + b)]),
        canvas.strokes([np.array([(x, y), (x + a, y + b)])], 2),
        canvas.box(x, y, x + a, y + b),
    )
    for patch in shapes:
        if patch is not None:
            assert canvas.image[patch.rows, patch.columns].shape[:2] == patch.shape
            assert 0 <= patch.coverage.min() <= patch.coverage.max() <= 1
            canvas.paint(patch, (1.0, 2.0, 3.0))
    assert canvas.image.max() <= 3


def test_shapes_lie_where_they_are_asked_for():
    canvas = Canvas(40)
    canvas.paint(canvas.box(10, 20, 30, 25), (1.0, 1.0, 1.0))
    assert canvas.image[..., 0].sum() == 20 * 5
    disc = Canvas(40)
    disc.paint(disc.ellipse((12.5, 30.0), (4, 4)), (1.0, 1.0, 1.0))
    rows, columns = np.mgrid[0:40, 0:40]
    weight = disc.image[..., 0]
    assert (weight * columns).sum() / weight.sum() == pytest.approx(12.5, abs=0.1)
    assert (weight * rows).sum() / weight.sum() == pytest.approx(30, abs=0.1)


def test_scaling_changes_the_light_only_where_the_patch_is():
    canvas = Canvas(10)
    canvas.image[:] = 2
    canvas.scale(canvas.box(0, 0, 5, 10), 3.0)
    assert (canvas.image[:, :5] == 6).all()
    assert (canvas.image[:, 5:] == 2).all()


def test_noise_is_centred_and_fills_its_range():
    field = fractal_noise(np.random.default_rng(0), 96, 128, 6)
    assert field.shape == (96, 128)
    assert field.mean() == pytest.approx(0.5, abs=0.12)
    assert 0.02 < field.std() < 0.4
