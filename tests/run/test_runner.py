"""The runner with engines made of numpy: exact where they are the identity, equal to the whole frame elsewhere."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from ear import Ear
from hypothesis import given, settings
from hypothesis import strategies as st

from dcdr_deploy.engines.base import Engine, EngineInfo
from dcdr_deploy.errors import EngineError, EngineOutOfMemory, InputError, NonFiniteError
from dcdr_deploy.imaging.frame import Frame
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.run.runner import Runner


class NumpyEngine(Engine):
    """The identity; records the shape of every call."""

    def __init__(self, *, multiple: int = 4, overlap: int = 0, memory: int = 1 << 40, **info: object) -> None:
        settings = {"bytes_per_pixel": 100, "max_batch": None, **info}
        metadata = ModelMetadata(size_multiple=multiple, overlap=overlap, name="numpy net")
        self.info = EngineInfo("numpy", "CPU", "fp32", None, metadata, **settings)
        self.calls: list[tuple[int, ...]] = []
        self.memory = memory

    def available_memory(self) -> int:
        return self.memory

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        self.calls.append(batch.shape)
        return self.apply(batch)

    def apply(self, batch: np.ndarray) -> np.ndarray:
        return batch


class BoxFilter(NumpyEngine):
    """Mean over (2 r + 1)^2 pixels, zeros outside: every output pixel needs a context of exactly r."""

    def __init__(self, radius: int, **settings: object) -> None:
        super().__init__(**{"overlap": radius, **settings})
        self.radius = radius

    def apply(self, batch: np.ndarray) -> np.ndarray:
        size = 2 * self.radius + 1
        for axis in (2, 3):
            margins = [(0, 0)] * 4
            margins[axis] = (self.radius, self.radius)
            batch = np.lib.stride_tricks.sliding_window_view(np.pad(batch, margins), size, axis).mean(
                -1, dtype=np.float64
            )
        return batch.astype(np.float32)


class SmallMemory(NumpyEngine):
    """Fails above a number of pixels in a call."""

    def __init__(self, pixels: int, **settings: object) -> None:
        super().__init__(**settings)
        self.pixels = pixels

    def apply(self, batch: np.ndarray) -> np.ndarray:
        if batch.shape[0] * batch.shape[2] * batch.shape[3] > self.pixels:
            raise EngineOutOfMemory("no room")
        return batch


def noise(height: int, width: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(5).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)


def normalised(pixels: np.ndarray) -> np.ndarray:
    return Frame(pixels).normalised()


@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.one_of(st.none(), st.integers(24, 200)),
    st.integers(0, 40),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 5),
    st.sampled_from([np.uint8, np.uint16]),
)
@settings(max_examples=120, deadline=None)
def test_the_identity_is_reproduced_to_the_last_bit(
    height: int, width: int, tile: int | None, overlap: int, multiple: int, batch: int, dtype: type
):
    pixels = noise(height, width, dtype)
    engine = NumpyEngine(multiple=multiple, overlap=overlap)
    result = Runner(engine, tile=tile, batch=batch).run(pixels)
    np.testing.assert_array_equal(result, normalised(pixels))
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert len({shape[1:] for shape in engine.calls}) == 1  # all tiles of one size


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4095, 17), (17, 4095)])
@pytest.mark.parametrize("tile", [None, 64, "auto"])
def test_odd_sizes(size: tuple[int, int], tile: int | str | None):
    pixels = noise(*size)
    np.testing.assert_array_equal(Runner(NumpyEngine(overlap=8), tile=tile).run(pixels), normalised(pixels))


@pytest.mark.parametrize("radius", [1, 5, 9])
def test_an_overlap_of_the_receptive_field_equals_the_whole_frame(radius: int):
    pixels = noise(150, 203)
    whole = Runner(BoxFilter(radius), tile=None).run(pixels)
    runner = Runner(BoxFilter(radius), tile=72)
    np.testing.assert_allclose(runner.run(pixels), whole, atol=2e-7)
    assert runner.statistics.tiles > 6
    assert runner.statistics.overlap == radius


def test_too_small_an_overlap_does_not_equal_the_whole_frame():
    """Shows that the test above can tell the difference."""
    pixels = noise(150, 203)
    whole = Runner(BoxFilter(9), tile=None).run(pixels)
    assert np.abs(Runner(BoxFilter(9), tile=72, overlap=0).run(pixels) - whole).max() > 0.01


def test_automatic_overlap_is_bounded_by_the_tile():
    runner = Runner(NumpyEngine(overlap=300), tile=128)
    runner.run(noise(300, 300))
    assert runner.statistics.overlap == 24 * 24 // 300  # 2 x 24 and the least feather of 16 are half of 128


class TileMean(NumpyEngine):
    """The mean of all that a call is given: tiles differ wherever they meet, whatever their context."""

    def apply(self, batch: np.ndarray) -> np.ndarray:
        return np.broadcast_to(batch.mean((2, 3), keepdims=True), batch.shape).astype(np.float32)


def test_tiles_with_less_context_than_the_model_asks_for_go_over_into_each_other():
    ramp = np.broadcast_to(np.linspace(0, 255, 200).astype(np.uint8)[None, :, None], (60, 200, 3))
    runner = Runner(TileMean(overlap=1000), tile=128)
    line = runner.run(np.ascontiguousarray(ramp))[30, :, 0]
    assert runner.statistics.tiles == 3
    assert np.abs(np.diff(line)).max() < 0.02 * (line[-1] - line[0])  # a feather of 16 px: 0.05


def test_an_overlap_given_is_kept_or_refused():
    runner = Runner(NumpyEngine(overlap=300), tile=128, overlap=50)
    runner.run(noise(300, 300))
    assert runner.statistics.overlap == 50
    with pytest.raises(InputError, match="leaves nothing"):
        Runner(NumpyEngine(), tile=128, overlap=64).run(noise(300, 300))


def test_memory_decides_on_the_automatic_tile():
    roomy, tight = NumpyEngine(memory=300 * 300 * 100 * 2), NumpyEngine(memory=299 * 300 * 100 * 2)
    for engine in (roomy, tight):
        Runner(engine).run(noise(300, 300))
    assert roomy.calls == [(1, 3, 300, 300)]
    assert len(tight.calls) == 4
    assert all(shape[2] * shape[3] * 100 <= tight.memory / 2 for shape in tight.calls)


def test_an_overlap_given_makes_the_automatic_tile_large_enough():
    runner = Runner(NumpyEngine(memory=64 * 64 * 100 * 2), overlap=50)
    runner.run(noise(300, 300))
    assert (runner.statistics.overlap, runner.statistics.tile_size[0] > 150) == (50, True)


def test_running_out_of_memory_halves_the_tile_and_goes_on():
    pixels = noise(300, 300)
    engine = SmallMemory(100 * 100, overlap=8)
    runner = Runner(engine, tile=None)
    np.testing.assert_array_equal(runner.run(pixels), normalised(pixels))
    assert runner.statistics.retries == 2  # 300 -> 148 -> 72
    assert max(runner.statistics.tile_size) <= 72
    engine.calls.clear()
    runner.run(pixels)
    assert runner.statistics.retries == 0  # what was learnt is kept for the next frame
    assert max(max(shape[2:]) for shape in engine.calls) <= 72


def test_a_halved_run_equals_one_planned_with_that_tile():
    class Both(SmallMemory, BoxFilter):
        def __init__(self) -> None:
            BoxFilter.__init__(self, 7)
            self.pixels = 80 * 80

        def apply(self, batch: np.ndarray) -> np.ndarray:
            return BoxFilter.apply(self, SmallMemory.apply(self, batch))

    pixels = noise(200, 150)
    runner = Runner(Both(), tile=128)
    result = runner.run(pixels)
    assert runner.statistics.retries == 1
    np.testing.assert_array_equal(result, Runner(BoxFilter(7), tile=64).run(pixels))


def test_a_batch_is_halved_before_the_tile():
    runner = Runner(SmallMemory(2 * 64 * 64), tile=64, batch=8)
    pixels = noise(200, 200)
    np.testing.assert_array_equal(runner.run(pixels), normalised(pixels))
    assert (runner.statistics.batch, runner.statistics.retries, max(runner.statistics.tile_size) > 50) == (2, 2, True)


def test_when_the_smallest_tile_fails_the_error_names_it():
    engine = SmallMemory(10)
    with pytest.raises(EngineOutOfMemory, match="even with one tile of 60 x 64 pixels"):
        Runner(engine).run(noise(144, 160))
    assert [shape[2:] for shape in engine.calls] == [(144, 160), (80, 64), (60, 64)]


def test_a_fixed_model_that_does_not_fit_cannot_be_halved():
    with pytest.raises(EngineOutOfMemory, match="one tile of 96 x 128"):
        Runner(SmallMemory(10, fixed_size=(96, 128))).run(noise(200, 200))


@pytest.mark.parametrize(
    ("least", "sizes"),
    [((96, 96), [(96, 96)]), ((32, 128), [(200, 200), (80, 128), (64, 128)])],
)
def test_an_engine_that_takes_no_smaller_tiles_is_not_tried_for_ever(least, sizes):
    engine = SmallMemory(10, multiple=4, smallest_size=least, largest_size=(200, 200))
    with pytest.raises(EngineOutOfMemory, match="even with one tile of {} x {} pixels".format(*sizes[-1])):
        Runner(engine, tile=sizes[0][0]).run(noise(200, 200))
    assert [shape[2:] for shape in engine.calls] == sizes


@pytest.mark.parametrize("size", [(200, 210), (5, 3)])
def test_a_fixed_model_runs_any_frame(size: tuple[int, int]):
    engine = NumpyEngine(fixed_size=(96, 128), overlap=8, max_batch=1)
    pixels = noise(*size)
    np.testing.assert_array_equal(Runner(engine, batch=4).run(pixels), normalised(pixels))
    assert set(engine.calls) == {(1, 3, 96, 128)}


BOUNDS = {"smallest_size": (64, 64), "largest_size": (96, 128)}


@pytest.mark.parametrize("size", [(5, 3), (40, 100), (96, 128), (97, 20), (300, 200), (64, 500)])
@pytest.mark.parametrize("tile", [None, 72, "auto"])
def test_an_engine_with_bounds_runs_any_frame_within_them(size: tuple[int, int], tile: int | str | None):
    engine = NumpyEngine(overlap=8, **BOUNDS)
    pixels = noise(*size)
    np.testing.assert_array_equal(Runner(engine, tile=tile).run(pixels), normalised(pixels))
    assert all(64 <= height <= 96 and 64 <= width <= 128 for _, _, height, width in engine.calls)


def test_a_frame_within_the_bounds_is_not_cut():
    engine = NumpyEngine(overlap=8, **BOUNDS)
    Runner(engine).run(noise(96, 128))
    assert engine.calls == [(1, 3, 96, 128)]


def test_an_engine_that_takes_a_few_at_once_is_given_more_so_that_copies_overlap():
    pixels, room = noise(300, 300), 2 * 64 * 64 * 100 * 2
    for group, expected in ((None, 2), (2, 8), (4, 2)):
        runner = Runner(NumpyEngine(device_kind="cuda", memory=room, group=group), tile=64)
        runner.run(pixels)
        assert runner.statistics.batch == expected


def test_out_of_memory_halves_what_is_computed_at_once():
    class FewAtOnce(SmallMemory):
        def apply(self, batch: np.ndarray) -> np.ndarray:
            return np.concatenate([super(FewAtOnce, self).apply(part) for part in np.split(batch, [4])])

    pixels = noise(200, 200)
    runner = Runner(FewAtOnce(2 * 64 * 64, device_kind="cuda", group=4), tile=64)
    np.testing.assert_array_equal(runner.run(pixels), normalised(pixels))
    assert (runner.statistics.batch, runner.statistics.retries) == (2, 1)


def test_batches_follow_the_device():
    pixels = noise(300, 300)
    for kind, expected in (("cpu", 1), ("cuda", 8)):
        runner = Runner(NumpyEngine(device_kind=kind), tile=64)
        runner.run(pixels)
        assert runner.statistics.batch == expected
    tight = Runner(NumpyEngine(device_kind="cuda", memory=3 * 64 * 64 * 100 * 2), tile=64)
    tight.run(pixels)
    assert tight.statistics.batch in (3, 4)  # tiles come out a little smaller than 64


def test_nan_names_its_tile():
    class Broken(NumpyEngine):
        def apply(self, batch: np.ndarray) -> np.ndarray:
            output = batch.copy()
            if len(self.calls) == 2:
                output[0, 1, 3, 4] = np.nan
            return output

    with pytest.raises(NonFiniteError, match=r"numpy net gave NaN or infinity in the tile at x \d+\.\.99, y 0\.\.\d+"):
        Runner(Broken(), tile=64, batch=1).run(noise(100, 100))


def test_other_failures_pass_through():
    class Failing(NumpyEngine):
        def apply(self, batch: np.ndarray) -> np.ndarray:
            return batch[:, :, ::2]

    with pytest.raises(EngineError, match="returned shape"):
        Runner(Failing()).run(noise(8, 8))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_frame_is_refused(pixels: np.ndarray):
    with pytest.raises(InputError, match="a frame is"):
        Runner(NumpyEngine()).run(pixels)


@pytest.mark.parametrize("settings", [{"tile": 3}, {"overlap": -1}, {"batch": 0}])
def test_settings_out_of_range_are_refused(settings: dict[str, int]):
    with pytest.raises(InputError, match=next(iter(settings))):
        Runner(NumpyEngine(), **settings)


def test_a_frame_object_and_progress():
    ear = Ear()
    pixels = noise(100, 100)
    result = Runner(NumpyEngine(), tile=64).run(Frame(pixels), ear)
    np.testing.assert_array_equal(result, normalised(pixels))
    assert ear.steps == [(done, 4) for done in range(5)]


@pytest.mark.parametrize("tile", [None, 256])
def test_memory_beside_the_engine_stays_below_six_frames(tile: int | None):
    pixels = noise(700, 900)
    runner = Runner(NumpyEngine(overlap=16), tile=tile)
    runner.run(pixels)
    tracemalloc.start()
    result = runner.run(pixels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * result.nbytes
