"""Execution contexts: one a shape, memory shared, a graph from the second run on."""

from __future__ import annotations

import numpy as np
import pytest
from fake_cuda import FakeDriver
from fake_tensorrt import FakeTensorRT
from fake_trt_engine import engine_bytes

from dcdr_deploy.engines.cuda import memory as cuda
from dcdr_deploy.engines.cuda.memory import Device
from dcdr_deploy.engines.tensorrt import trt_api
from dcdr_deploy.engines.tensorrt.contexts import SHAPES_KEPT, Contexts, LibraryLog
from dcdr_deploy.errors import EngineError, EngineOutOfMemory

SMALL, LARGE = (1, 8, 8), (2, 16, 32)


class Setup:
    """Contexts of a fake engine that halves its input."""

    def __init__(self, memory: int = 1 << 30, **package: bool) -> None:
        self.driver = FakeDriver(memory=memory)
        self.trt = FakeTensorRT(driver=self.driver, **package)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cuda, "load_driver", lambda: self.driver)
            self.device = Device(0)
        self.log = LibraryLog("tensorrt")
        logger = trt_api.shared_logger(self.trt)
        logger.sink = self.log
        engine = self.trt.Runtime(logger).deserialize_cuda_engine(engine_bytes())
        self.contexts = Contexts(self.trt, engine, ("sdr", "hdr"), self.device, self.log)

    def run(self, shape: tuple[int, int, int]) -> bool:
        """Run a shape on new numbers; whether the result is right."""
        count = 3 * int(np.prod(shape))
        values = np.random.default_rng().random(count, np.float32)
        self.driver.values(self.contexts.source.address, count, np.float32)[:] = values
        self.contexts.enqueue(shape)
        self.contexts.stream.synchronise()
        return bool((self.driver.values(self.contexts.result.address, count, np.float32) == values / 2).all())

    def prepare_and_run(self, *shapes: tuple[int, int, int]) -> bool:
        self.contexts.prepare(shapes)
        return all(self.run(shape) for shape in shapes)

    @property
    def launches(self) -> int:
        return self.driver.calls["cuGraphLaunch"]


@pytest.mark.parametrize("rtx", [False, True], ids=["tensorrt", "tensorrt-rtx"])
def test_the_first_run_is_ordinary_the_second_is_recorded_later_ones_are_launched(rtx: bool):
    setup = Setup(rtx=rtx)
    for launches in (0, 1, 2, 3):
        assert setup.prepare_and_run(SMALL)
        assert setup.launches == launches
    assert (len(setup.trt.contexts), setup.trt.contexts[0].runs) == (1, 1)
    assert setup.driver.calls["cuStreamBeginCapture"] == 1


def test_two_shapes_in_turn_keep_their_contexts_and_graphs():
    setup = Setup()
    for _ in range(5):
        assert setup.prepare_and_run(LARGE, SMALL)
    assert [context.runs for context in setup.trt.contexts] == [1, 1]
    assert setup.driver.calls["cuStreamBeginCapture"] == 2
    assert setup.launches == 8


def test_growing_memory_throws_graphs_away_and_records_them_again():
    setup = Setup()
    for _ in range(3):
        assert setup.prepare_and_run(SMALL)
    place = setup.contexts.source.address
    assert setup.prepare_and_run(LARGE)
    assert setup.contexts.source.address != place
    for _ in range(3):  # the fake fails where freed memory is used
        assert setup.prepare_and_run(SMALL)
    assert setup.driver.calls["cuStreamBeginCapture"] == 2
    assert len(setup.trt.contexts) == 2


def test_memory_is_shared_among_shapes():
    setup = Setup()
    assert setup.prepare_and_run(LARGE)
    used = setup.driver.used
    assert setup.prepare_and_run(SMALL, (1, 16, 16))
    assert setup.driver.used == used


def test_only_some_shapes_are_kept():
    setup = Setup()
    shapes = [(1, 4, 4 * width) for width in range(1, SHAPES_KEPT + 2)]
    for shape in [*shapes, *shapes]:
        assert setup.prepare_and_run(shape)
    assert len(setup.trt.contexts) == 2 * len(shapes)  # the oldest is gone when its turn comes again


def test_what_cannot_be_recorded_runs_without_a_graph():
    for package in ({"rtx": True, "capturable": False}, {"rtx": False, "capturable": False}):
        setup = Setup(**package)
        for _ in range(4):
            assert setup.prepare_and_run(SMALL)
        assert setup.launches == 0
        assert setup.trt.contexts[0].runs == 4
        assert setup.driver.calls["cuStreamBeginCapture"] == (0 if package["rtx"] else 1)  # tried once, at most


def test_a_shape_outside_of_the_profile_is_refused_with_the_librarys_words():
    setup = Setup()
    with pytest.raises(EngineError, match=r"refuses 1 x 80 x 8: \(1, 80, 8\) is out of the profile's range"):
        setup.contexts.prepare([(1, 80, 8)])


def test_the_librarys_lack_of_memory_is_lack_of_memory():
    setup = Setup()
    setup.trt.most_contexts = 0
    with pytest.raises(EngineOutOfMemory, match="no execution context"):
        setup.contexts.prepare([SMALL])


def test_after_lack_of_memory_the_small_shape_still_runs():
    setup = Setup(memory=40_000)
    for _ in range(3):
        assert setup.prepare_and_run(SMALL)
    with pytest.raises(EngineOutOfMemory):
        setup.contexts.prepare([(2, 64, 64)])
    assert setup.prepare_and_run(SMALL)


def test_releasing_and_closing_leave_nothing_behind():
    setup = Setup()
    for _ in range(3):
        assert setup.prepare_and_run(SMALL, LARGE)
    setup.contexts.release()
    assert setup.driver.used == 0
    assert setup.prepare_and_run(SMALL)
    setup.contexts.close()
    setup.device.close()
    assert (setup.driver.used, setup.driver.live_handles) == (0, 0)


def test_words_are_told_once_and_on_one_line():
    log = LibraryLog("tensorrt")
    log("WARNING", "harmless")
    log("ERROR", "first\nproblem")
    log("INTERNAL_ERROR", "second")
    assert log.take() == "first problem; second"
    assert log.take() == "it gave no reason"
