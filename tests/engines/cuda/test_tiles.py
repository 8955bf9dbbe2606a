"""Tiles through a network on a GPU whose streams work late: every copy and run is waited for, and they overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from fake_cuda import FakeDriver
from hypothesis import given, settings
from hypothesis import strategies as st

from dcdr_deploy.engines.base import normalise
from dcdr_deploy.engines.cuda import memory as cuda
from dcdr_deploy.engines.cuda.frames import FrameKernels
from dcdr_deploy.engines.cuda.memory import Device, Event, Memory, Stream
from dcdr_deploy.engines.cuda.tiles import TilesInFlight
from dcdr_deploy.engines.tensorrt.planar import PlanarNetwork
from dcdr_deploy.errors import EngineError, EngineOutOfMemory

SEEDS = range(20)


class Network:
    """Halves its input; remembers the shapes it ran."""

    def __init__(self, driver: FakeDriver, device: Device) -> None:
        self._driver, self._device = driver, device
        self.stream = device.create_stream()
        self.source: Memory | None = None
        self.result: Memory | None = None
        self.ran: list[tuple[int, int, int]] = []

    def prepare(self, shapes: Iterable[tuple[int, int, int]]) -> None:
        size = max(12 * int(np.prod(shape)) for shape in shapes)
        if self.source is not None and self.source.size == size:
            return
        self.release()
        self.source, self.result = self._device.allocate(size), self._device.allocate(size)

    def enqueue(self, shape: tuple[int, int, int]) -> None:
        assert self.source is not None
        assert self.result is not None
        source, result, count = self.source.address, self.result.address, 3 * int(np.prod(shape))

        def run() -> None:
            self._driver.values(result, count, np.float32)[:] = self._driver.values(source, count, np.float32) / 2

        self.ran.append(shape)
        self._driver.put(self.stream.handle, run, "network")

    def release(self) -> None:
        for memory in (self.source, self.result):
            if memory is not None:
                memory.free()
        self.source = self.result = None


class Setup:
    """Tiles in flight over a fake driver."""

    def __init__(
        self,
        seed: int | None = None,
        memory: int = 1 << 30,
        images: tuple[int, int] = (1, 2),
        half: bool = False,
        kernels: bool = True,
    ) -> None:
        self.driver = FakeDriver(seed, memory)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cuda, "load_driver", lambda: self.driver)
            self.device = Device(0)
        self.network = Network(self.driver, self.device)
        frames = FrameKernels(self.device.load_library(b"cubin")) if kernels else None
        self.tiles = TilesInFlight(self.device, PlanarNetwork(self.network, frames, half=half), images)


def codes(tiles: int = 5, height: int = 4, width: int = 8, dtype: type = np.uint8, seed: int = 1) -> np.ndarray:
    shape = (tiles, height, width, 3)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@given(
    st.integers(1, 7),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([np.uint8, np.uint16, np.float32]),
    st.booleans(),
    st.one_of(st.none(), st.integers(0, 1000)),
)
@settings(max_examples=150, deadline=None)
def test_any_number_of_tiles_gives_what_each_alone_would(
    tiles: int, most: int, fewest: int, dtype: type, half: bool, seed: int | None
):
    setup = Setup(seed, images=(min(fewest, most), most), half=half)
    batch = normalise(codes(tiles)) if dtype == np.float32 else codes(tiles, dtype=dtype)
    expected = (batch if dtype == np.float32 else normalise(batch)) / 2
    for _ in range(2):
        found = setup.tiles.run(batch)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected.astype(np.float16) if half else expected)
    assert setup.driver.idle


def test_results_do_not_share_memory_with_later_calls():
    setup = Setup()
    first = setup.tiles.run(codes(seed=1))
    kept = first.copy()
    setup.tiles.run(codes(seed=2))
    np.testing.assert_array_equal(first, kept)


def test_the_last_group_is_as_small_as_what_is_left():
    setup = Setup(images=(1, 4))
    setup.tiles.run(codes(6))
    assert setup.network.ran == [(4, 4, 8), (2, 4, 8)]


def test_a_network_that_takes_no_fewer_gets_black_tiles_to_fill_up():
    setup = Setup(images=(4, 4))
    batch = codes(5)
    np.testing.assert_array_equal(setup.tiles.run(batch), normalise(batch) / 2)
    assert setup.network.ran == [(4, 4, 8), (4, 4, 8)]


def traffic(setup: Setup) -> list[str]:
    """What was put where, in order, without the events."""
    return [name for name, _ in setup.driver.trace if name not in ("wait", "record")]


RUN = ["upload", "codes8_to_planes", "network", "copy", "download"]


def test_two_groups_are_under_way_before_the_host_waits():
    setup = Setup(images=(1, 1))
    setup.tiles.run(codes(4))
    assert traffic(setup) == [*RUN, *RUN, "host waits", *RUN, "host waits", *RUN, "host waits"]


def test_a_batch_is_begun_while_the_one_before_is_computed():
    setup = Setup()
    first, second = codes(1, seed=1), codes(1, seed=2)
    pending = [setup.tiles.start(batch) for batch in (first, second)]
    assert traffic(setup) == [*RUN, *RUN]
    for batch, finish in zip((first, second), pending, strict=True):
        np.testing.assert_array_equal(finish(), normalise(batch) / 2)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_batches_that_are_begun_one_after_the_other_keep_their_results(counts: list[int], ahead: int, seed: int):
    setup = Setup(seed, half=bool(seed % 2))
    batches = [codes(count, seed=number) for number, count in enumerate(counts)]
    results, pending = [], []
    for batch in batches:
        pending.append(setup.tiles.start(batch))
        if len(pending) > ahead:
            results.append(pending.pop(0)())
    results += [finish() for finish in pending]
    for batch, result in zip(batches, results, strict=True):
        expected = normalise(batch) / 2
        np.testing.assert_array_equal(result, expected.astype(np.float16) if seed % 2 else expected)


def test_one_picture_at_a_time_needs_one_slot_only():
    setup = Setup(images=(1, 1))
    for _ in range(3):
        setup.tiles.run(codes(1))
    held = setup.driver.used
    setup.tiles.run(codes(2))
    assert setup.driver.used > held


def test_arrays_in_flight_go_up_from_where_they_are():
    setup = Setup()
    batch = setup.tiles.empty((1, 4, 8, 3), np.uint8)
    batch[...] = codes(1)
    locked = setup.driver.calls["cuMemHostAlloc"]
    np.testing.assert_array_equal(setup.tiles.run(batch), normalise(batch) / 2)
    assert setup.driver.calls["cuMemHostAlloc"] == locked + 1  # the result's


def test_each_way_and_the_network_have_a_stream():
    setup = Setup(images=(1, 1))
    setup.tiles.run(codes(3))
    streams = {name: {stream for n, stream in setup.driver.trace if n == name} for name in RUN}
    assert streams["network"] == streams["copy"] == streams["codes8_to_planes"]
    assert len({*streams["upload"], *streams["download"], *streams["network"]}) == 3


@pytest.mark.parametrize(("dtype", "size"), [(np.uint8, 1), (np.uint16, 2)])
@pytest.mark.parametrize(("half", "back"), [(False, 4), (True, 2)])
def test_codes_travel_as_they_are_and_results_in_the_networks_precision(
    monkeypatch: pytest.MonkeyPatch, dtype: type, size: int, half: bool, back: int
):
    travelled: dict[str, int] = {}
    for name in ("upload", "download"):
        original = getattr(Stream, name)

        def counted(self: Stream, target: Memory, source: Memory, count: int, name=name, original=original) -> None:
            travelled[name] = count
            original(self, target, source, count)

        monkeypatch.setattr(Stream, name, counted)
    Setup(half=half).tiles.run(codes(1, 4, 8, dtype))
    assert travelled == {"upload": 96 * size, "download": 96 * back}


def test_without_kernels_floats_travel_both_ways():
    setup = Setup(half=True, kernels=False)
    batch = normalise(codes())
    np.testing.assert_array_equal(setup.tiles.run(batch), batch / 2)
    assert setup.driver.calls["cuLaunchKernel"] == 0


def outcomes(seed: int | None) -> bool:
    """Whether a run with some wait left out still gives the right result."""
    try:
        setup = Setup(seed, images=(1, 1))
        batch = codes(6)
        return bool((setup.tiles.run(batch) == normalise(batch) / 2).all())
    except AssertionError:  # memory used in a way that the fake forbids
        return False


def left_out(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, which: Callable[[int], bool]) -> None:
    """Leave out those calls of a method for whose number, counted from 0, ``which`` holds."""
    original, count = getattr(owner, method), iter(range(10**9))

    def sometimes(self: object, *arguments: object) -> None:
        if not which(next(count)):
            original(self, *arguments)

    monkeypatch.setattr(owner, method, sometimes)


@pytest.mark.parametrize(
    ("owner", "method", "which"),
    [
        # Calls of Stream.wait: computation for upload, download for computation, and so on in turn.
        pytest.param(Stream, "wait", lambda n: n % 2 == 0, id="the computation does not wait for its upload"),
        pytest.param(Stream, "wait", lambda n: n % 2 == 1, id="the download does not wait for the computation"),
        pytest.param(Event, "synchronise", lambda n: True, id="the host does not wait for the download"),
    ],
)
def test_a_wait_that_is_missing_shows(
    monkeypatch: pytest.MonkeyPatch, owner: type, method: str, which: Callable[[int], bool]
):
    """Shows that the tests above can tell the difference."""
    assert all(outcomes(seed) for seed in (None, *SEEDS))
    left_out(monkeypatch, owner, method, which)
    assert not all(outcomes(seed) for seed in (None, *SEEDS))


def test_buffers_grow_and_are_kept():
    setup = Setup(half=True)
    for size in ((4, 4), (8, 16), (4, 8)):
        batch = codes(3, *size)
        np.testing.assert_array_equal(setup.tiles.run(batch), (normalise(batch) / 2).astype(np.float16))
    for _ in range(3):
        setup.tiles.run(codes(3, 8, 16))
    before = setup.driver.calls["cuMemHostAlloc"]
    for _ in range(3):
        setup.tiles.run(codes(3, 8, 16))
    assert setup.driver.calls["cuMemHostAlloc"] == before


def test_lack_of_memory_gives_everything_back_for_a_smaller_try():
    setup = Setup(memory=200_000)
    setup.tiles.run(codes(4, 8, 8))
    with pytest.raises(EngineOutOfMemory):
        setup.tiles.run(codes(4, 128, 128))
    assert setup.driver.used == 0
    batch = codes(4, 8, 8)
    np.testing.assert_array_equal(setup.tiles.run(batch), normalise(batch) / 2)


def test_after_a_failure_nothing_is_under_way():
    setup = Setup(images=(1, 1))
    original, calls = setup.network.enqueue, iter(range(9))

    def failing(shape: tuple[int, int, int]) -> None:
        if next(calls) == 2:
            raise EngineError("broke")
        original(shape)

    setup.network.enqueue = failing
    with pytest.raises(EngineError, match="broke"):
        setup.tiles.run(codes(4))
    assert setup.driver.idle
    batch = codes(4, seed=3)
    np.testing.assert_array_equal(setup.tiles.run(batch), normalise(batch) / 2)


def test_closing_leaves_nothing_behind():
    setup = Setup()
    setup.tiles.run(codes())
    setup.tiles.close()
    setup.network.release()
    setup.network.stream.close()
    setup.device.close()
    assert setup.driver.used == 0
    assert setup.driver.live_handles == 0
