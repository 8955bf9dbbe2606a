"""Graphs by shape: recorded when a shape comes back, dropped when others are used more, and never without memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from dcdr_deploy.engines.torch.graphs import CudaRecorder, ShapeGraphs, _replay  # noqa: E402
from dcdr_deploy.errors import EngineOutOfMemory  # noqa: E402
from dcdr_deploy.system import hardware  # noqa: E402 - needs torch


class Recorder:
    """Records what was recorded and what was replayed; stands in for CUDA."""

    def __init__(self, error: Exception | None = None) -> None:
        self.recorded: list[tuple[int, ...]] = []
        self.replayed: list[tuple[int, ...]] = []
        self.error = error

    def __call__(self, function: Callable, example: torch.Tensor) -> Callable:
        if self.error:
            raise self.error
        self.recorded.append(tuple(example.shape))

        def replay(batch: torch.Tensor) -> torch.Tensor:
            assert batch.shape == example.shape
            self.replayed.append(tuple(batch.shape))
            return function(batch)

        return replay


def double(batch: torch.Tensor) -> torch.Tensor:
    return batch * 2


def test_the_first_call_with_a_shape_runs_without_a_graph():
    recorder = Recorder()
    graphs = ShapeGraphs(double, recorder)
    for size in range(1, 6):
        torch.testing.assert_close(graphs(torch.ones(size)), torch.full((size,), 2.0))
    assert recorder.recorded == []


def test_a_shape_that_comes_back_is_recorded_once_and_replayed():
    recorder = Recorder()
    graphs = ShapeGraphs(double, recorder)
    for value in range(4):
        torch.testing.assert_close(graphs(torch.full((3,), float(value))), torch.full((3,), 2.0 * value))
    assert recorder.recorded == [(3,)]
    assert recorder.replayed == [(3,)] * 3


def test_the_graph_used_longest_ago_goes_first():
    recorder = Recorder()
    graphs = ShapeGraphs(double, recorder, kept=2)
    for size in (1, 1, 2, 2, 1, 3, 3):  # 2 goes
        graphs(torch.ones(size))
    assert recorder.recorded == [(1,), (2,), (3,)]
    graphs(torch.ones(1))
    assert recorder.recorded == [(1,), (2,), (3,)]
    assert recorder.replayed[-1] == (1,)


def test_shapes_that_take_turns_are_not_recorded_at_every_call():
    recorder = Recorder()
    graphs = ShapeGraphs(double, recorder, kept=1)
    for _ in range(10):
        graphs(torch.ones(1))
        graphs(torch.ones(2))
    assert len(recorder.recorded) <= 10


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), EngineOutOfMemory("no room for a launch")],
)
def test_without_memory_for_a_graph_the_shape_goes_on_without_one(error: Exception):
    recorder = Recorder(error)
    graphs = ShapeGraphs(double, recorder)
    for _ in range(3):
        torch.testing.assert_close(graphs(torch.ones(2)), torch.full((2,), 2.0))
    recorder.error = None
    graphs(torch.ones(2))
    assert recorder.recorded == []


def test_other_errors_of_recording_are_shown():
    graphs = ShapeGraphs(double, Recorder(RuntimeError("operation not permitted when stream is capturing")))
    graphs(torch.ones(2))
    with pytest.raises(RuntimeError, match="not permitted"):
        graphs(torch.ones(2))


def test_cleared_graphs_are_recorded_anew():
    recorder = Recorder()
    graphs = ShapeGraphs(double, recorder)
    for _ in range(2):
        graphs(torch.ones(2))
    graphs.clear()
    for _ in range(2):
        graphs(torch.ones(2))
    assert recorder.recorded == [(2,), (2,)]


def test_a_graph_keeps_the_weights_that_it_reads():
    network = torch.nn.Conv2d(1, 1, 1)
    weight = weakref.ref(network.weight)
    played: list[None] = []
    graph = SimpleNamespace(replay=lambda: played.append(None))
    replay = _replay(graph, torch.zeros(2), torch.ones(2), network.forward)
    del network
    gc.collect()
    assert weight() is not None
    assert replay(torch.zeros(2)).tolist() == [1, 1]
    assert len(played) == 1
    del replay
    gc.collect()
    assert weight() is None


@pytest.mark.gpu
@pytest.mark.skipif(hardware.cuda_device_count() == 0, reason="no NVIDIA GPU")
def test_cuda_graphs_of_several_shapes_do_not_disturb_each_other():
    weight = torch.randn(3, 3, 3, 3, device="cuda")

    def convolve(batch: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(batch, weight, padding=1).relu().cumsum(-1)

    graphs = ShapeGraphs(convolve, CudaRecorder())
    with torch.inference_mode():
        for size in (8, 8, 16, 16, 8, 16, 12, 12, 8):
            batch = torch.randn(1, 3, size, size, device="cuda")
            torch.testing.assert_close(graphs(batch), convolve(batch), atol=1e-4, rtol=1e-4)
