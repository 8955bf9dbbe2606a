"""CUDA graphs for a function of one tensor: a shape that comes back is recorded once and then replayed.

A network of a hundred small kernels costs the processor more time to start than some of them run. A graph starts them
all at once. Its input and its output lie at fixed places.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dcdr_deploy.errors import EngineOutOfMemory
from dcdr_deploy.system.faults import is_out_of_memory

KEPT_GRAPHS = 4
"""Shapes of which the graphs are kept: whole frames of a size or two, or full and last batches of tiles."""

Function = Callable[[Tensor], Tensor]


class ShapeGraphs:
    """Calls a function, by a graph from the second call with a shape on.

    The first call runs the function as it is, so that a single picture pays nothing for recording. Where there is no
    memory for a graph, the shape goes on without one.
    """

    def __init__(self, function: Function, record: Callable[[Function, Tensor], Function], kept: int = KEPT_GRAPHS):
        """Set up.

        Args:
            function: gives a tensor for a tensor; free of side effects, and of all that CUDA cannot record.
            record: makes a graph of the function for an example, e.g. :class:`CudaRecorder`; calling the graph may
                overwrite the result of its call before.
            kept: most graphs that are kept; the one that was used longest ago goes.
        """
        self._function = function
        self._record = record
        self._kept = kept
        self._graphs: OrderedDict[tuple[int, ...], Function] = OrderedDict()
        self._seen: set[tuple[int, ...]] = set()
        self._without: set[tuple[int, ...]] = set()

    def __call__(self, batch: Tensor) -> Tensor:
        """Return ``function(batch)``; the result may lie where the next call writes its own."""
        shape = tuple(batch.shape)
        if shape in self._seen and shape not in self._graphs and shape not in self._without:
            self._try_to_record(shape, batch)
        self._seen.add(shape)
        graph = self._graphs.get(shape)
        if graph is None:
            return self._function(batch)
        self._graphs.move_to_end(shape)
        return graph(batch)

    def _try_to_record(self, shape: tuple[int, ...], batch: Tensor) -> None:
        while len(self._graphs) >= self._kept:
            old, _ = self._graphs.popitem(last=False)
            self._seen.discard(old)  # or shapes that take turns would be recorded at every call
        try:
            self._graphs[shape] = self._record(self._function, batch)
        except (RuntimeError, EngineOutOfMemory) as error:  # torch's, or of our kernel's launch
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            self._without.add(shape)
            self._graphs.clear()

    def clear(self) -> None:
        """Drop all graphs and their memory."""
        self._graphs.clear()
        self._seen.clear()


class CudaRecorder:
    """Records functions as CUDA graphs that share their scratch memory, so they must not run at the same time."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, function: Function, example: Tensor) -> Function:
        """Record a function.

        Args:
            function: see :class:`ShapeGraphs`.
            example: input of the shape and type that the graph will take, on the GPU.

        Returns:
            A function that copies its argument to the graph's input, replays it, and returns the graph's output, which
            its next call overwrites. It keeps the recorded function alive.

        Raises:
            RuntimeError: CUDA's, e.g. out of memory.
        """
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        return _record(function, example, self._pool)


def _record(function: Function, example: Tensor, pool: Any) -> Function:
    place = example.clone()
    with torch.cuda.device(example.device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        # Who records a shape will use it often: it pays to let cuDNN try its algorithms.
        settings: Any = torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled, benchmark=True, allow_tf32=torch.backends.cudnn.allow_tf32
        )
        with settings:
            # Libraries set themselves up at their first call on a stream, which must not be recorded.
            with torch.cuda.stream(stream):
                function(place)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the GPU meanwhile.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                result = function(place)

    return _replay(graph, place, result, function)


def _replay(graph: Any, place: Tensor, result: Tensor, recorded: Function) -> Function:
    # The graph holds addresses only: were the function to go, its weights' memory would be given to others.
    def replay(batch: Tensor, _kept: Function = recorded) -> Tensor:
        place.copy_(batch)
        graph.replay()
        return result

    return replay
