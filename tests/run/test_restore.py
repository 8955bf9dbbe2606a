"""A picture through a runner at its working scale: what it promises of every result."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bright_engine import PEAK, BrightEngine, brighter_where_clipped
from ear import Ear
from PIL import Image

from dcdr_deploy.engines.choice import load_engine
from dcdr_deploy.errors import EngineOutOfMemory, InputError
from dcdr_deploy.imaging.frame import Frame
from dcdr_deploy.imaging.transfer import linear_to_srgb, srgb_to_linear
from dcdr_deploy.metrics.psnr import clipped_region
from dcdr_deploy.run import restore as restoring
from dcdr_deploy.run import strips
from dcdr_deploy.run.dials import Dials
from dcdr_deploy.run.preprocessing import prepare
from dcdr_deploy.run.restore import MODEST_AREA, begin, restore
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.selection import DEMO_MODEL
from dcdr_deploy.run.working_scale import working_sizes
from dcdr_deploy.run.wrap import restore_panorama

SAMPLES = Path(__file__).parents[2] / "samples"
RNG = np.random.default_rng(7)


@pytest.fixture
def engine() -> BrightEngine:
    return BrightEngine()


@pytest.fixture
def photo() -> np.ndarray:
    """Noise with a blown area, 600 x 800."""
    codes = RNG.integers(10, 200, (600, 800, 3)).astype(np.uint8)
    codes[100:300, 200:500] = 255
    return codes


def noting(threads: set[threading.Thread], work: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that notes who calls it."""

    def noted(*arguments: Any, **named: Any) -> Any:
        threads.add(threading.current_thread())
        return work(*arguments, **named)

    return noted


def linear_of(codes: np.ndarray) -> np.ndarray:
    return srgb_to_linear(codes.astype(np.float64) / np.iinfo(codes.dtype).max)


def test_native_is_the_networks_own_result_to_the_bit(photo):
    tinted = BrightEngine(lambda light: light * np.array([1.1, 0.9, 2.0], np.float32)[:, None, None] - 0.01)
    runner = Runner(tinted, tile=256)
    assert np.array_equal(restore(photo, runner, "native").linear, runner.run(photo))


def test_the_network_works_at_the_size_that_the_rule_says(engine, photo):
    result = restore(photo, Runner(engine))
    assert result.working_sizes == tuple(working_sizes(600, 800, "auto"))
    assert engine.sizes == list(reversed(result.working_sizes))  # the finest last: progress is that of its tiles
    assert result.linear.shape == (600, 800, 3)
    assert result.linear.dtype == np.float32


@pytest.mark.parametrize(("scale", "size"), [(Fraction(1, 2), (304, 400)), (256, (192, 256)), (5000, (600, 800))])
def test_other_sizes_may_be_asked_for(engine, photo, scale, size):
    assert restore(photo, Runner(engine), scale).working_sizes == (size,)
    assert engine.sizes == [size]


def test_a_working_picture_that_is_too_large_goes_in_tiles(engine, photo):
    result = restore(photo, Runner(engine, tile=256, overlap=8), 512)
    assert result.run.tiles == 6
    np.testing.assert_allclose(result.linear[150:250, 250:450] * PEAK, 4, rtol=1e-3)


def test_beside_a_large_picture_a_cpu_works_in_modest_tiles(engine, monkeypatch):
    codes = np.full((2200, 2900, 3), 90, np.uint8)
    codes[:900] = 255
    restore(codes, Runner(engine))
    assert max(height * width for height, width in engine.sizes) <= MODEST_AREA
    engine.sizes.clear()
    restore(codes[:1600, :2200], Runner(engine))
    assert engine.sizes == working_sizes(1600, 2200, "auto")[::-1]


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_what_is_no_frame_is_refused_as_by_the_runner(engine, wrong):
    with pytest.raises(InputError, match=r"a frame is \(H, W, 3\) uint8 or uint16"):
        restore(wrong, Runner(engine))


def test_no_memory_is_told_with_the_frames_size(engine, photo, monkeypatch):
    def full(*arguments):
        raise MemoryError

    monkeypatch.setattr("dcdr_deploy.run.preprocessing.average_down", full)
    with pytest.raises(EngineOutOfMemory, match="no memory for a frame of 600 x 800 pixels"):
        restore(photo, Runner(engine))


@pytest.mark.parametrize("scale", ["auto", "native", Fraction(1), 200])
@pytest.mark.parametrize("dials", [Dials(), Dials(strength=0.5, protect_below=200)], ids=["neutral", "turned"])
def test_a_picture_made_ready_on_another_thread_gives_the_same_to_the_bit(engine, photo, scale, dials):
    with ThreadPoolExecutor(1) as pool:
        ready = pool.submit(prepare, photo, scale, dials).result()
    assert engine.sizes == []
    found = begin(ready, Runner(engine), scale, dials)().put_on()
    assert np.array_equal(found.linear, restore(photo, Runner(engine), scale, dials).linear)


def test_after_the_network_nothing_of_the_full_size_is_left_to_the_calling_thread(engine, photo, monkeypatch):
    ready, threads = prepare(photo), set()
    monkeypatch.setattr("dcdr_deploy.run.restore.excess_field", noting(threads, restoring.excess_field))
    monkeypatch.setattr("dcdr_deploy.run.strips.for_strips", noting(threads, strips.for_strips))
    found = begin(ready, Runner(engine))()
    assert threads == set()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(found.put_on).result()
    assert threads
    assert threading.current_thread() not in threads


def test_a_bad_scale_is_refused_before_anything_runs(engine, photo):
    with pytest.raises(InputError, match="too small"):
        restore(photo, Runner(engine), 5)
    assert engine.sizes == []


def test_blown_areas_come_back_and_all_else_keeps_its_light(engine, photo):
    light = restore(photo, Runner(engine)).linear * PEAK
    np.testing.assert_allclose(light[110:290, 210:490], 4, rtol=1e-3)
    sound = photo.max(axis=-1) < 254
    np.testing.assert_allclose(light[sound], linear_of(photo)[sound], rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", ["auto", 64])
def test_a_picture_in_which_nothing_clips_is_inverse_srgb_and_needs_no_network(engine, dtype, scale):
    top = int(np.iinfo(dtype).max)
    codes = RNG.integers(0, 253 * (top // 255), (90, 130, 3)).astype(dtype)
    ear = Ear()
    result = restore(codes, Runner(engine), scale, listener=ear)
    assert engine.sizes == []
    assert (result.run.tiles, ear.steps[-1]) == (0, (1, 1))
    back = linear_to_srgb(result.linear.astype(np.float64) * PEAK)
    assert np.abs(back - codes / top).max() <= 0.5 / 1023


def test_a_16_bit_picture_and_a_frame_are_taken_too(engine, photo):
    deep = photo.astype(np.uint16) * 257
    light = restore(Frame(deep), Runner(engine)).linear
    np.testing.assert_allclose(light, restore(photo, Runner(engine)).linear, rtol=1e-3, atol=1e-6)


def test_strength_0_gives_the_linearised_input(engine, photo):
    for scale in ("auto", "native"):
        light = restore(photo, Runner(engine), scale, Dials(strength=0)).linear * np.float32(PEAK)
        np.testing.assert_allclose(light, linear_of(photo), rtol=2e-7)


def test_exposure_multiplies_everything(engine, photo):
    plain, brighter = (restore(photo, Runner(engine), dials=Dials(exposure=stops)).linear for stops in (0, 1.5))
    np.testing.assert_allclose(brighter, plain * 2**1.5, rtol=1e-6)


def test_nothing_below_the_protected_code_changes_and_what_is_above_does():
    codes = np.zeros((64, 64, 3), np.uint8)
    codes[...] = np.arange(192, 256, dtype=np.uint8)[:, None, None]
    everywhere = BrightEngine(lambda light: light * 3)
    light = restore(codes, Runner(everywhere), dials=Dials(protect_below=230)).linear * PEAK
    np.testing.assert_allclose(light[:39], linear_of(codes)[:39], rtol=1e-6)  # up to code 230
    assert (light[62:] > 2).all()
    native = restore(codes, Runner(everywhere), "native", Dials(protect_below=200)).linear * PEAK
    np.testing.assert_allclose(native[:9], linear_of(codes)[:9], rtol=1e-6)
    assert (native[62:] > 2).all()


def test_the_gain_is_kept_in_stops_where_it_is_asked_for(engine, photo):
    assert restore(photo, Runner(engine)).gain_stops is None
    for scale in ("auto", "native"):
        result = restore(photo, Runner(engine), scale, Dials(exposure=0.5), keep_gain=True)
        assert result.gain_stops.dtype == np.float16
        np.testing.assert_allclose(result.gain_stops[150:250, 250:450].astype(float), 2.5, atol=0.01)
        np.testing.assert_allclose(result.gain_stops[400:].astype(float), 0.5, atol=0.01)


def test_keeping_the_gain_changes_nothing_of_the_picture(engine, photo):
    for scale in ("auto", "native"):
        plain = restore(photo, Runner(engine), scale).linear
        assert np.array_equal(restore(photo, Runner(engine), scale, keep_gain=True).linear, plain)


def test_the_gain_at_native_scale_says_too_where_the_network_took_light_away(photo):
    darker = Runner(BrightEngine(lambda light: light / 4))
    stops = restore(photo, darker, "native", keep_gain=True).gain_stops
    np.testing.assert_allclose(stops[150:250, 250:450].astype(float), -2, atol=0.01)


@pytest.mark.parametrize("scale", ["auto", 256, "native"])
def test_a_network_of_light_in_units_of_white_restores_at_every_scale(photo, scale):
    """Its peak is 1 x SDR white, which it goes beyond."""
    engine = BrightEngine(lambda light: PEAK * brighter_where_clipped(light))
    engine.info = replace(engine.info, metadata=replace(engine.info.metadata, peak=1.0))
    result = restore(photo, Runner(engine), scale)
    np.testing.assert_allclose(result.linear[150:250, 250:450], 4, rtol=0.01)
    assert result.recovery.stops_recovered == pytest.approx(2, abs=0.02)


def hidden_sky(photo: np.ndarray) -> Frame:
    """The photograph with its blown area cut out, and a visible one of 40 x 40 pixels."""
    codes = photo.copy()
    codes[400:440, 100:140] = 255
    alpha = np.ones(codes.shape[:2], np.float32)
    alpha[100:300, 200:500] = 0
    return Frame(codes, alpha)


@pytest.mark.parametrize("scale", ["auto", 256, "native"])
@pytest.mark.parametrize("way", [restore, restore_panorama])
def test_what_is_fully_transparent_has_not_clipped(engine, photo, scale, way):
    recovery = way(hidden_sky(photo), Runner(engine), scale).recovery
    assert recovery.clipped == 40 * 40


@pytest.mark.parametrize("way", [restore, restore_panorama])
def test_colours_under_full_transparency_are_kept_and_change_nothing_around_them(engine, photo, way):
    given = hidden_sky(photo)
    hidden = given.alpha == 0
    gray = replace(given, pixels=np.where(hidden[..., None], np.uint8(90), given.pixels))
    light, other = (way(frame, Runner(engine)).linear * PEAK for frame in (given, gray))
    np.testing.assert_allclose(light[hidden], 1)
    assert np.array_equal(light[~hidden], other[~hidden])


def test_the_report_says_what_was_recovered(engine, photo):
    for scale in ("auto", "native"):
        recovery = restore(photo, Runner(engine), scale).recovery
        assert recovery.clipped_share == pytest.approx(200 * 300 / (600 * 800))
        assert recovery.stops_recovered == pytest.approx(2, abs=0.02)
        assert recovery.word == "mostly guessed"


@pytest.mark.slow
def test_with_the_demo_weights_gray_stays_gray_and_unclipped_light_stays():
    with load_engine(DEMO_MODEL) as real:
        for name in ("china.jpg", "venice-sunset.png"):
            picture = Image.open(SAMPLES / name)
            for mode in ("L", "RGB"):
                codes = np.asarray(picture.convert(mode).convert("RGB"))
                light = restore(codes, Runner(real), 256).linear * PEAK
                if mode == "L":
                    assert np.ptp(light, axis=-1).max() == 0
                far = ~clipped_region(codes, surround=16)
                np.testing.assert_allclose(light[far], linear_of(codes)[far], rtol=0.01)


def test_what_was_found_can_be_steadied_before_it_goes_onto_the_picture(engine, photo):
    """Called once a frame with the finest working picture; a field without excess leaves the SDR picture's light."""
    runner, seen = Runner(engine), []

    def nothing(field, picture):
        seen.append((field.near.shape, picture.light.shape))
        return replace(field, log_gain=np.zeros_like(field.log_gain))

    found = begin(photo, runner, 64)().put_on(nothing)
    assert seen == [((*found.working_sizes[0], 1), (*found.working_sizes[0], 3))]
    assert np.array_equal(found.linear, restore(photo, runner, 64, Dials(strength=0)).linear)
    assert not np.array_equal(found.linear, restore(photo, runner, 64).linear)


def test_what_was_found_is_put_on_by_any_thread_while_the_network_is_at_the_next_picture(engine, photo):
    """Two pictures in the network before either is put on: each gets its own, and needs no engine any more."""
    runner, other = Runner(engine), np.ascontiguousarray(photo[::-1])
    found = [begin(each, runner)() for each in (photo, other)]
    runner.engine.close()
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda each: each.put_on(), found))
    fresh = Runner(BrightEngine())
    for codes, result in zip((photo, other), results, strict=True):
        assert np.array_equal(result.linear, restore(codes, fresh).linear)
        assert result.run.engine_seconds <= result.run.seconds


def test_a_picture_is_let_go_once_what_was_found_is_put_on(engine, photo):
    found = begin(photo, Runner(engine))()
    before = sys.getrefcount(photo)
    found.put_on()
    assert sys.getrefcount(photo) < before
