"""The network on a GPU whose streams work late: arena, graphs, errors. The kernels are stand-ins that leave traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_cuda import CUresult, FakeDriver

from dcdr_deploy.engines.base import EngineOptions, normalise
from dcdr_deploy.engines.cuda import engine as backend
from dcdr_deploy.engines.cuda import memory as cuda
from dcdr_deploy.engines.cuda import network as networks
from dcdr_deploy.engines.cuda.dcrb_from_hidden import FromHiddenArguments
from dcdr_deploy.engines.cuda.engine import CudaEngine
from dcdr_deploy.engines.cuda.measures import by_table
from dcdr_deploy.engines.cuda.network import SHAPES_KEPT
from dcdr_deploy.engines.cuda.weights import read_onnx
from dcdr_deploy.errors import EngineError, EngineOutOfMemory, NonFiniteError
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.system import hardware, packages

DEMO = Path(backend.__file__).parents[2] / "weights" / "dcdr-unet-demo.onnx"


class Kernels:
    """Leave the picture where the tone map should be, and half of it as the result; other maps get rubbish."""

    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver
        self.launched = 0
        self.measures = by_table(86)
        self.broken = 0.0  # what the last value of a result becomes, if it is not 0

    def read(self, a, stream: int) -> None:
        def work() -> None:
            count = int(np.prod(a.shape))
            values = self._driver.values(a.source, 3 * count, a.dtype)
            if a.dtype == np.float32:
                pixels = values.reshape(a.shape[0], 3, -1).transpose(0, 2, 1)
            else:
                pixels = values.reshape(a.shape[0], -1, 3) / np.float32(np.iinfo(a.dtype).max)
            image = self._driver.values(a.image, 4 * count, np.float16).reshape(a.shape[0], -1, 4)
            image[..., :3], image[..., 3] = pixels, 0

        self._driver.put(stream, work, "read")

    def check(self, values: int, count: int, found: int, stream: int) -> None:
        def work() -> None:
            if not np.isfinite(self._driver.values(values, count, np.float32)).all():
                self._driver.values(found, 1, np.uint32)[:] = 1

        self._driver.put(stream, work, "check")

    def launch(self, a, stream: int) -> None:
        self.launched += 1
        self._driver.put(stream, lambda: self._run(a), "launch")

    def _run(self, a) -> None:
        values, pixels = self._driver.values, a.batch * a.height * a.width
        if isinstance(a, FromHiddenArguments):
            for target in filter(None, (a.workspace, a.out, a.next_out)):
                values(target, 64 * pixels, np.float16)[:] = np.nan
        elif a.end == "product":
            values(a.out, 4 * pixels, np.float32)[:] = values(a.image, 4 * pixels, np.float16)
        elif a.end == "interleaved":
            tone = values(a.tone, 4 * pixels, np.float32).reshape(-1, 4)
            values(a.out, 3 * pixels, np.float32).reshape(-1, 3)[:] = tone[:, :3] / 2
            if self.broken:
                values(a.out, 3 * pixels, np.float32)[-1] = self.broken
        else:
            rows, columns = a.output_size
            for target in filter(None, (a.out, a.second)):
                count = a.batch * rows * columns * (64 if a.shuffle else a.channels_out)
                values(target, count, np.float16)[:] = np.nan


class Setup:
    """An engine with the demo weights over a fake driver."""

    def __init__(self, patch: pytest.MonkeyPatch, seed: int | None = None, memory: int = 1 << 30) -> None:
        self.driver = FakeDriver(seed, memory)
        self.kernels = Kernels(self.driver)
        patch.setattr(cuda, "load_driver", lambda: self.driver)
        patch.setattr(networks, "compile_kernels", lambda device: self.kernels)
        self.engine = CudaEngine(DEMO, read_onnx(DEMO))


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Setup:
    return Setup(monkeypatch)


def codes(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (*shape, 3), dtype, endpoint=True)


def expected(batch: np.ndarray) -> np.ndarray:
    return normalise(batch).astype(np.float16).astype(np.float32) / 2


@pytest.mark.parametrize("seed", [None, *range(5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_codes_and_floats_give_the_same_whatever_the_streams_do_first(
    monkeypatch: pytest.MonkeyPatch, seed: int | None, dtype: type
):
    engine = Setup(monkeypatch, seed).engine
    for number in range(4):
        batch = codes(3, 8, 12, dtype=dtype, seed=number)
        np.testing.assert_array_equal(engine.infer_codes(batch), expected(batch))
        np.testing.assert_array_equal(engine.infer(normalise(batch)), expected(batch))


def test_a_shape_is_recorded_with_its_second_frame_and_then_launched_as_a_whole(setup: Setup):
    batch = codes(1, 8, 8)
    counts = []
    for _ in range(4):
        setup.engine.infer_codes(batch)
        counts.append((setup.kernels.launched, setup.driver.calls["cuGraphLaunch"]))
    launches = counts[0][0]
    # Ordinary; recorded; then only the last launch, which knows the result's place, stays outside.
    assert [count for count, _ in counts] == [launches, 2 * launches, 2 * launches + 1, 2 * launches + 2]
    assert [graphs for _, graphs in counts] == [0, 1, 2, 3]


def test_the_shape_that_was_used_longest_ago_loses_its_graph(setup: Setup):
    def run(width: int) -> None:
        batch = codes(1, 4, width)
        np.testing.assert_array_equal(setup.engine.infer_codes(batch), expected(batch))

    widths = [4 * number for number in range(SHAPES_KEPT + 1, 0, -1)]  # the largest first: the arena stays
    for width in widths:
        run(width)
        run(width)
    instantiated = setup.driver.calls["cuGraphInstantiate"]
    assert instantiated == len(widths)
    assert setup.driver.calls["cuGraphExecDestroy"] == 1
    run(widths[-1])
    assert setup.driver.calls["cuGraphInstantiate"] == instantiated
    run(widths[0])
    run(widths[0])
    assert setup.driver.calls["cuGraphInstantiate"] == instantiated + 1


def test_a_larger_frame_moves_the_arena_and_graphs_are_made_anew(setup: Setup):
    small, large = codes(1, 8, 8), codes(1, 16, 24)
    for batch in (small, small, large, small, small, large, large):
        np.testing.assert_array_equal(setup.engine.infer_codes(batch), expected(batch))


def test_lack_of_memory_names_the_size_and_leaves_the_engine_usable(monkeypatch: pytest.MonkeyPatch):
    setup = Setup(monkeypatch, memory=8 << 20)
    small = codes(1, 16, 16)
    np.testing.assert_array_equal(setup.engine.infer_codes(small), expected(small))
    with pytest.raises(
        EngineOutOfMemory, match=r"1 x 512 x 512 pixels take 0\.08 GiB on the GPU, which has 0\.0\d GiB"
    ):
        setup.engine.infer_codes(codes(1, 512, 512))
    np.testing.assert_array_equal(setup.engine.infer_codes(small), expected(small))


def test_pictures_that_other_backends_take_in_tiles_stay_in_one_piece(monkeypatch: pytest.MonkeyPatch):
    runner = Runner(Setup(monkeypatch, memory=80 << 30).engine)
    assert len(runner._sizing.plan(4320, 7680)) == 1
    small = Runner(Setup(monkeypatch, memory=8 << 30).engine)
    assert len(small._sizing.plan(2160, 3840)) == 1
    assert len(small._sizing.plan(4320, 7680)) > 1


def test_the_runner_goes_on_with_smaller_tiles(monkeypatch: pytest.MonkeyPatch):
    setup = Setup(monkeypatch, memory=40 << 20)
    runner = Runner(setup.engine, tile=None, overlap=0)
    frame = codes(256, 512)
    np.testing.assert_allclose(runner.run(frame), expected(frame[None])[0].transpose(1, 2, 0), atol=1e-6)
    assert runner.statistics.retries >= 1


def test_more_pixels_than_the_kernels_can_count_are_an_error_in_a_line(setup: Setup):
    with pytest.raises(EngineError, match=r"1 x 65536 x 65536 pixels are more than the kernels can count"):
        setup.engine._network.prepare([(1, 1 << 16, 1 << 16)])


def test_where_a_graph_cannot_be_recorded_frames_are_launched_one_by_one(setup: Setup):
    setup.driver.cuGraphInstantiate = lambda graph, flags: (CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, None)
    batch = codes(1, 8, 8)
    for _ in range(3):
        np.testing.assert_array_equal(setup.engine.infer_codes(batch), expected(batch))


def test_frames_can_be_begun_one_after_the_other(setup: Setup):
    runner = Runner(setup.engine)
    frames = [codes(12, 20, seed=number) for number in range(4)]
    pending = [runner.start(frame) for frame in frames[:2]]
    results = []
    for frame in frames[2:]:
        pending.append(runner.start(frame))
        results.append(pending.pop(0)())
    results += [finish() for finish in pending]
    for frame, result in zip(frames, results, strict=True):
        assert result.flags.c_contiguous
        np.testing.assert_array_equal(result, expected(frame[None])[0].transpose(1, 2, 0))


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_tiles_of_a_frame_are_joined_while_the_next_are_computed(monkeypatch: pytest.MonkeyPatch, seed: int | None):
    setup = Setup(monkeypatch, seed)
    frame = codes(200, 300)
    result = Runner(setup.engine, tile=64, overlap=8, batch=3).run(frame)
    np.testing.assert_array_equal(result, expected(frame[None])[0].transpose(1, 2, 0))


def test_pictures_of_a_few_sizes_in_turn_are_overlapped_as_those_of_one_are(setup: Setup):
    frames = [codes(1, *size, seed=number) for number, size in enumerate(2 * [(24, 16), (16, 24), (20, 20)])]
    for frame in frames:
        setup.engine.infer_codes(frame)
    pinned, waits = setup.driver.calls["cuMemHostAlloc"], setup.driver.calls["cuStreamSynchronize"]
    pending = [setup.engine.start_codes(frame) for frame in frames[:2]]
    for frame, finish in zip(frames, pending, strict=False):
        np.testing.assert_array_equal(finish(), expected(frame))
    assert setup.driver.calls["cuStreamSynchronize"] == waits
    assert setup.driver.calls["cuMemHostAlloc"] <= pinned + 2  # two are held at a time now


def test_a_result_that_nobody_asks_for_leaves_nothing_behind(setup: Setup):
    setup.engine.start_codes(codes(1, 8, 8))
    setup.engine.close()
    assert setup.driver.live_handles == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_results_that_are_no_numbers_are_told_by_the_engine_and_the_tile_by_the_runner(setup: Setup, value: float):
    batch = codes(3, 8, 8)
    setup.kernels.broken = value
    with pytest.raises(NonFiniteError) as caught:
        setup.engine.infer_codes(batch)
    assert caught.value.tile == 1  # the last of the first group of two
    with pytest.raises(NonFiniteError, match="gave NaN or infinity in the tile at"):
        Runner(setup.engine).run(batch[0])
    setup.kernels.broken = 0.0
    np.testing.assert_array_equal(setup.engine.infer_codes(batch), expected(batch))


def test_closing_leaves_nothing_behind(setup: Setup):
    result = setup.engine.infer_codes(codes(1, 8, 8))
    kept = result.copy()
    setup.engine.close()
    assert setup.driver.used == 0
    assert setup.driver.live_handles == 1  # the context, which the result's memory belongs to
    np.testing.assert_array_equal(result, kept)
    del result
    assert setup.driver.live_handles == 0
    assert not setup.driver._pinned
    with pytest.raises(EngineError, match="closed"):
        setup.engine.infer_codes(codes(1, 8, 8))


def test_an_engine_says_what_it_is(setup: Setup):
    info = setup.engine.info
    assert (info.backend, info.precision, info.device_kind) == ("cuda", "fp16", "cuda")
    assert "Fake GPU" in info.device
    assert 300 < info.bytes_per_pixel < 500  # a frame of 4K: below three gigabytes and its copies


def available(
    monkeypatch: pytest.MonkeyPatch, sms: list[int], driver: tuple[int, int] = (13, 0), compiler: str = "13.2"
):
    versions = dict.fromkeys(("cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-cuda-runtime"), compiler)
    monkeypatch.setattr(packages, "versions", lambda names: {n: versions[n] for n in names if n in versions})
    monkeypatch.setattr(hardware, "compute_capabilities", lambda: sms)
    monkeypatch.setattr(hardware, "cuda_driver_version", lambda: driver)
    return backend.availability()


def test_gpus_that_are_new_enough_are_offered(monkeypatch: pytest.MonkeyPatch):
    assert available(monkeypatch, [75, 61, 90]).devices == ("cuda:0", "cuda:2")


def test_old_gpus_and_old_drivers_are_named(monkeypatch: pytest.MonkeyPatch):
    assert available(monkeypatch, []).reason == "no NVIDIA GPU or driver found"
    assert available(monkeypatch, [61]).reason == "the GPU is too old (SM61): the kernels take SM75 (Turing) or later"
    state = available(monkeypatch, [86], driver=(12, 4))
    assert not state.ok
    assert state.reason == (
        "the driver knows CUDA 12.4, and the kernels are compiled by CUDA 13: update the driver of the GPU"
    )
    assert available(monkeypatch, [86], driver=(12, 4), compiler="12.9").ok


def test_without_the_packages_the_line_that_installs_them_is_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packages, "versions", lambda names: {})
    state = backend.availability()
    assert not state.ok
    assert state.install == packages.install_line("cuda-kernels")


def test_a_gpu_that_is_not_there_or_too_old_is_an_error_in_a_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware, "compute_capabilities", lambda: [61])
    with pytest.raises(EngineError, match="there is no GPU 1; this machine has 1"):
        backend.load(DEMO, EngineOptions(device="cuda:1"))
    with pytest.raises(EngineError, match=r"GPU 0 \(SM61\) is too old: backend cuda takes SM75 or later"):
        backend.load(DEMO)
