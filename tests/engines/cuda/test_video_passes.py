"""The passes of ``video.cu`` over whole frames: the real source on the CPU against the processor's own passes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from cubin import resource_usage
from emulated import EmulatedDriver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dcdr_deploy.engines import passes
from dcdr_deploy.engines.cuda import compiler, video
from dcdr_deploy.engines.cuda.driver import Library
from dcdr_deploy.engines.cuda.memory import Device
from dcdr_deploy.engines.cuda.video import FramesOnDevice, VideoKernels
from dcdr_deploy.errors import EngineOutOfMemory
from dcdr_deploy.imaging.delivery import Delivery
from dcdr_deploy.imaging.light import HLG, PQ, Light
from dcdr_deploy.run import recovery
from dcdr_deploy.run.dials import Dials
from dcdr_deploy.run.gain import ExcessField, code_tables
from dcdr_deploy.run.strips import SecondPass, average_down
from dcdr_deploy.run.video.passes import clipping_of, samples_of, signal_of, stacked
from dcdr_deploy.run.video.yuv import Layout, from_rgb, to_rgb

SM = 80
LUMA = (0.2126, 0.0722)
PEAK = 8.0
CELLS_OF_A_PIXEL = 4


@pytest.fixture(scope="module")
def driver(emulator: Callable[..., Path]) -> EmulatedDriver:
    return EmulatedDriver(emulator(SM, "video"), SM)


@pytest.fixture(scope="module")
def on_device(driver: EmulatedDriver) -> FramesOnDevice:
    return FramesOnDevice(Device(0, driver), VideoKernels(Library(driver, b"cubin")))


layouts = st.builds(
    Layout,
    bits=st.sampled_from([8, 10, 12]),
    across=st.sampled_from([1, 2]),
    down=st.sampled_from([1, 2]),
    centred=st.booleans(),
    level=st.booleans(),
)
sizes = st.tuples(st.integers(8, 90), st.integers(8, 130))
seeds = st.integers(0, 1000)


def planes_of(layout: Layout, size: tuple[int, int], seed: int, *, gray: bool = False) -> tuple[NDArray, ...]:
    """Smooth samples with a large white area, and noise in all codes, those beyond black and white too."""
    rng = np.random.default_rng(seed)
    top = (1 << layout.bits) - 1
    dtype = np.uint8 if layout.bits == 8 else np.uint16
    y = np.add.outer(np.linspace(0, 0.6, size[0]), np.linspace(0, 0.6, size[1])) + rng.normal(0, 0.05, size)
    luma = np.clip(y * top, 0, top).astype(dtype)
    if gray:
        return (luma,)
    chroma = (np.clip(rng.normal(0.5, 0.08, layout.chroma_size(*size)) * top, 0, top).astype(dtype) for _ in range(2))
    return luma, *chroma


def field_of(size: tuple[int, int], seed: int) -> ExcessField:
    rng = np.random.default_rng(seed)
    certainty = rng.uniform(1e-8, 1, (*size, 1)).astype(np.float32)
    excess = rng.uniform(0, PEAK - 1, (*size, 3)).astype(np.float32)
    return ExcessField(excess * certainty, certainty, (rng.random((*size, 1)) < 0.7).astype(np.float32))


def smaller(size: tuple[int, int], seed: int) -> tuple[int, int]:
    rng = np.random.default_rng(seed)
    return int(rng.integers(1, size[0] + 1)), int(rng.integers(1, size[1] + 1))


@given(layouts, sizes, seeds, st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_frame_is_averaged_down_as_on_the_processor(
    on_device: FramesOnDevice, layout: Layout, size: tuple[int, int], seed: int, gray: bool, full_range: bool
):
    planes = planes_of(layout, size, seed, gray=gray)
    rgb = to_rgb(planes, layout, LUMA, full_range=full_range)
    cells = smaller(size, seed)
    expected = average_down(rgb, code_tables(16), cells)
    found = on_device.average(samples_of(planes, layout, LUMA, full_range=full_range), clipping_of(Dials()), cells)
    # R'G'B' may differ by a code of 16 bits: 1/65535 of sRGB's slope at white, and of the weight's in its middle.
    for name, most in (("light", 4e-5), ("weight", 7e-4)):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=most, err_msg=name)
    apart = np.abs(found.clipped - expected.clipped) > 1e-5
    assert np.count_nonzero(apart) <= CELLS_OF_A_PIXEL  # of one that has the first clipped code here, and not there
    assert found.gray == gray


def rows_apart(planes: tuple[NDArray, ...]) -> tuple[NDArray, ...]:
    """Room for planes, within longer rows as FFmpeg's are."""
    return tuple(np.empty((len(plane), plane.shape[1] + 5), np.uint16)[:, : plane.shape[1]] for plane in planes)


def finished_by_processor(rgb: NDArray, field: ExcessField, delivery: Delivery, layout: Layout, dials: Dials):
    outcome = SecondPass(rgb, rgb, code_tables(16), dials, PEAK).from_field(field)
    signal, brightness = delivery.signals(outcome.linear)
    missing = (-rgb.shape[0] % layout.down, -rgb.shape[1] % layout.across)
    padded = np.pad(signal, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    return from_rgb(cv2.split(padded), layout), outcome.recovery, brightness


@given(
    layouts,
    st.sampled_from([Layout(10, 2, 2, level=True), Layout(10, 2, 2), Layout(10, 2, 1), Layout(12, 1, 1)]),
    sizes,
    seeds,
    st.sampled_from([(PQ, 1000.0), (PQ, 10000.0), (HLG, 1000.0)]),
    st.sampled_from([0.0, -1.5, 2.0]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_found_becomes_the_samples_that_the_processor_makes(
    on_device: FramesOnDevice,
    layout: Layout,
    target: Layout,
    size: tuple[int, int],
    seed: int,
    light: tuple[str, float],
    exposure: float,
    as_pixels: bool,
):
    planes = planes_of(layout, size, seed)
    rgb = to_rgb(planes, layout, LUMA, full_range=False)
    field = field_of(smaller(size, seed), seed)
    delivery = Delivery(Light(transfer=light[0], peak_nits=light[1]), PEAK)
    dials = Dials(exposure=exposure)
    expected, recovered, brightness = finished_by_processor(rgb, field, delivery, target, dials)
    samples = passes.Samples((rgb,)) if as_pixels else samples_of(planes, layout, LUMA, full_range=False)
    planes, signal = rows_apart(expected), signal_of(delivery, target, dials, PEAK)
    found = on_device.finish(samples, clipping_of(Dials()), stacked(field), signal, planes)
    for made, wanted in zip(planes, expected, strict=True):
        difference = np.abs(made.astype(int) - wanted.astype(int))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01
    assert abs(int(found.stops.sum()) - recovered.clipped) <= 1
    assert abs(found.whole - recovered.whole) <= 1
    # A gain at the edge of two bins may fall into either.
    assert np.abs(np.cumsum(found.stops) - np.cumsum(recovered.stops)).max() <= max(2, 0.01 * recovered.clipped)
    assert found.largest == pytest.approx(brightness.max_cll, rel=1e-3)
    assert found.total / rgb[..., 0].size == pytest.approx(brightness.max_fall, rel=1e-3)


def test_a_picture_keeps_its_light_where_nothing_clips(on_device: FramesOnDevice):
    rgb = np.full((16, 24, 3), 20_000, np.uint16)
    target, delivery = Layout(10, 2, 2, level=True), Delivery(Light(transfer=PQ), PEAK)
    field = field_of((4, 6), 0)
    expected, _, _ = finished_by_processor(rgb, field, delivery, target, Dials())
    signal = signal_of(delivery, target, Dials(), PEAK)
    planes = rows_apart(expected)
    found = on_device.finish(passes.Samples((rgb,)), clipping_of(Dials()), stacked(field), signal, planes)
    for made, wanted in zip(planes, expected, strict=True):
        np.testing.assert_array_equal(made, wanted)
    assert not found.stops.any()


def test_many_threads_get_each_their_own_frame(on_device: FramesOnDevice):
    layout = Layout(8, 2, 2)
    frames = [planes_of(layout, (40 + number, 60), number) for number in range(8)]
    samples = [samples_of(planes, layout, LUMA, full_range=False) for planes in frames]
    work = functools.partial(on_device.average, clipping=clipping_of(Dials()), size=(5, 7))
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(work, samples))
    for one, other in zip(together, map(work, samples), strict=True):
        np.testing.assert_array_equal(one.light, other.light)


def test_lack_of_memory_is_told_and_leaves_nothing_behind(emulator: Callable[..., Path]):
    driver = EmulatedDriver(emulator(SM, "video"), SM, memory=1 << 20)
    frames = FramesOnDevice(Device(0, driver), VideoKernels(Library(driver, b"cubin")))
    big = passes.Samples((np.zeros((500, 500, 3), np.uint16),))
    with pytest.raises(EngineOutOfMemory):
        frames.average(big, clipping_of(Dials()), (5, 5))
    small = passes.Samples((np.zeros((50, 50, 3), np.uint16),))
    assert frames.average(small, clipping_of(Dials()), (5, 5)).gray
    frames.close()
    assert driver.used == 0
    assert driver.idle


def test_all_memory_is_given_back(emulator: Callable[..., Path]):
    driver = EmulatedDriver(emulator(SM, "video"), SM)
    device = Device(0, driver)
    frames = FramesOnDevice(device, VideoKernels(Library(driver, b"cubin")))
    rgb = np.full((16, 24, 3), 60_000, np.uint16)
    signal = signal_of(Delivery(Light(transfer=HLG), PEAK), Layout(10), Dials(), PEAK)
    planes = tuple(np.empty((16, 24), np.uint16) for _ in range(3))
    frames.finish(passes.Samples((rgb,)), clipping_of(Dials()), stacked(field_of((4, 6), 0)), signal, planes)
    frames.close()
    device.close()
    assert driver.used == 0
    assert driver.live_handles == 0


def test_the_histogram_is_the_recovery_s():
    assert (passes.STOPS_BINS, passes.LARGEST_STOPS) == (recovery.STOPS_BINS, recovery.LARGEST_STOPS)
    text = compiler.source_text(video.SOURCE)
    assert f"BINS = {passes.STOPS_BINS}, STOPS = {passes.LARGEST_STOPS};" in text


@pytest.mark.parametrize("sm", compiler.SUPPORTED_SMS)
def test_the_source_compiles_for_every_gpu_without_spills(sm: int):
    pytest.importorskip("cuda.bindings.nvrtc")
    usage = resource_usage(compiler.compile_cubin(video.SOURCE, sm))
    kinds = ("planes8", "planes16", "pixels")
    assert set(usage) == {f"{part}_{kind}" for part in ("average", "finish") for kind in kinds}
    assert all(kernel.local_bytes == 0 for kernel in usage.values())
