"""A network on the GPU whose launches can be taken apart: compared with other kernels' results, and timed by events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.compare import sample_tiles
from dcdr_deploy.engines.cuda.dcrb_from_hidden import FromHiddenArguments
from dcdr_deploy.engines.cuda.launches import Form, Shape
from dcdr_deploy.engines.cuda.memory import Device, Memory, Place, Stream
from dcdr_deploy.engines.cuda.network import CudaNetwork, NetworkKernels
from dcdr_deploy.engines.cuda.program import Arguments
from dcdr_deploy.engines.cuda.tiles import CHANNELS, FLAG_BYTES
from dcdr_deploy.engines.cuda.tuning.candidates import BLOCK
from dcdr_deploy.engines.cuda.tuning.decision import in_turns
from dcdr_deploy.engines.cuda.weights import WIDTH, Weights
from dcdr_deploy.errors import EngineError

Launch = Callable[[Arguments, int], None]
"""Puts a launch on a stream."""

Guard = Callable[[str], AbstractContextManager[object]]
"""Given the name of what is used in its block, which may break the GPU's context; left when that went well."""

ROUNDS = 9
LEAST_MILLISECONDS = 2.0
"""What is timed at once lasts at least so long, and is repeated if need be: events count half microseconds."""
MOST_REPEATS = 40
WARM_UP = 0.2
"""Seconds of work before something is timed: a GPU that waited for the host has lowered its clocks."""

_CODES = np.dtype(np.uint8)
_HALF: np.dtype[Any] = np.dtype(np.float16)
_FLOAT: np.dtype[Any] = np.dtype(np.float32)
_ELEMENTS = {"product": (_FLOAT, 4), "interleaved": (_FLOAT, CHANNELS), "planar": (_HALF, CHANNELS)}


def kind_of(arguments: Arguments) -> str:
    """Return what a launch's kernel is for: the name of its candidates."""
    return BLOCK if isinstance(arguments, FromHiddenArguments) else arguments.key


@dataclass(frozen=True)
class Region:
    """What a launch writes: elements of a type from an address on."""

    address: int
    count: int
    dtype: np.dtype[Any]


def written(arguments: Arguments) -> list[Region]:
    """Return what a launch writes, its scratch memory left out."""
    a = arguments
    if isinstance(a, FromHiddenArguments):
        addresses, elements = (a.workspace, a.out, a.next_out), WIDTH
        scalar, pixels = _HALF, a.batch * a.height * a.width
    else:
        rows, columns = a.output_size
        scalar, elements = _ELEMENTS.get(a.end, (_HALF, a.out_channels))
        addresses, pixels = (a.out, a.second, 0), a.batch * rows * columns
    return [Region(address, pixels * elements, scalar) for address in addresses if address]


def read(arguments: Arguments) -> set[int]:
    """Return the addresses of the maps that a launch reads, some of which may be those that it writes."""
    a = arguments
    return {a.u, a.z, a.skip} if isinstance(a, FromHiddenArguments) else {a.x, a.residual, a.image, a.tone}


def difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the relative difference (RMS) of two results; NaN where one of them is not finite."""
    wanted = expected.astype(np.float64)
    scale = float(np.linalg.norm(wanted))
    apart = float(np.linalg.norm(found.astype(np.float64) - wanted))
    return apart / scale if scale else (0.0 if apart == 0 else math.inf)


@cache
def _picture(shape: Shape) -> NDArray[np.uint8]:
    images, height, width = shape
    return np.repeat(sample_tiles(height, width)[:1], images, axis=0).reshape(-1)


class Bench:
    """See the module. To be closed; what was made of it before must not be used afterwards."""

    def __init__(
        self, device: Device, weights: Weights, kernels: NetworkKernels, shapes: Sequence[Shape], form: Form
    ) -> None:
        """Set up; pictures go to the GPU, and one frame of each shape is computed, so that its maps hold real numbers.

        Args:
            device: the GPU.
            weights: the network's.
            kernels: that frames are computed with.
            shapes: of frames.
            form: how they are cut into launches.

        Raises:
            EngineOutOfMemory: the GPU has no room for them.
            EngineError: the GPU failed.
        """
        self._device, self._kernels = device, kernels
        with ExitStack() as resources:
            self._network = CudaNetwork(device, weights, kernels, form)
            resources.callback(self._network.close)
            self._network.prepare(shapes)
            largest = max(int(np.prod(shape)) for shape in shapes)
            self._result = device.allocate(largest * CHANNELS * 4 + FLAG_BYTES)
            resources.callback(self._result.free)
            self._pictures = {}
            for shape in shapes:
                picture = _picture(shape)
                self._pictures[shape] = device.allocate(picture.nbytes)
                resources.callback(self._pictures[shape].free)
                self._put(self._pictures[shape], picture)
            self._begin, self._end = (device.create_event(timed=True) for _ in range(2))
            resources.callback(self._begin.close)
            resources.callback(self._end.close)
            for shape in shapes:
                self.put_frame(shape)
            self.stream.synchronise()
            self._resources = resources.pop_all()

    @property
    def stream(self) -> Stream:
        """Where everything is put."""
        return self._network.stream

    def close(self) -> None:
        """Release everything."""
        self._resources.close()

    def launches(self, kind: str, shape: Shape) -> list[Arguments]:
        """Return a frame's launches of a kind."""
        return [each for each in self._network.launches(shape, self._result) if kind_of(each) == kind]

    def put_frame(self, shape: Shape) -> None:
        """Put a whole frame into the stream."""
        self._network.enqueue(shape, _CODES, self._pictures[shape], self._result)

    def result(self, shape: Shape) -> NDArray[np.float32]:
        """Compute a frame; return (N, H, W, 3)."""
        self.put_frame(shape)
        values = self._get(Region(self._result.address, int(np.prod(shape)) * CHANNELS, _FLOAT))
        return values.reshape(*shape, CHANNELS)

    def differences(
        self, kind: str, others: Mapping[str, Launch], shape: Shape, trial: Guard = nullcontext
    ) -> dict[str, float | str]:
        """Compute a frame; compare other kernels of a kind with its own, on the same inputs.

        Args:
            kind: of the kernels.
            others: by name; each does what the frame's own kernel does.
            shape: of the frame.
            trial: entered for each use of one of the others.

        Returns:
            by name the largest relative difference of a result, or in words why a kernel cannot be launched.

        Raises:
            EngineError: a kernel broke the GPU's context; nothing can run in this process any more.
        """
        worst: dict[str, float | str] = dict.fromkeys(others, 0.0)
        stream = int(self.stream.handle)
        self._network.read(shape, _CODES, self._pictures[shape])
        for arguments in self._network.launches(shape, self._result):
            if kind_of(arguments) != kind:
                self._kernels.launch(arguments, stream)
                continue
            regions = written(arguments)
            inputs = read(arguments)
            # What is not an input holds no numbers before, so that one which is not written shows.
            before = [
                self._get(each) if each.address in inputs else np.full(each.count, np.nan, each.dtype)
                for each in regions
            ]
            self._kernels.launch(arguments, stream)
            expected = [self._get(region) for region in regions]
            for name, launch in others.items():
                so_far = worst[name]
                if isinstance(so_far, str):
                    continue
                with trial(name):
                    for region, values in zip(regions, before, strict=True):
                        self._put(Place(region.address), values)
                    try:
                        launch(arguments, stream)
                        found = [
                            difference(self._get(one), other) for one, other in zip(regions, expected, strict=True)
                        ]
                    except EngineError as error:
                        self._still_works(error)
                        worst[name] = str(error)
                        continue
                worst[name] = max(so_far, *found, key=lambda each: (each != each, each))  # NaN is the worst
            for region, values in zip(regions, expected, strict=True):
                self._put(Place(region.address), values)
        self.stream.synchronise()
        return worst

    def _still_works(self, error: EngineError) -> None:
        try:
            self.stream.synchronise()
        except EngineError:
            raise EngineError(f"it broke the GPU's context: {error}") from error

    def time_kind(
        self, kind: str, launches: Mapping[str, Launch], shape: Shape, trial: Guard = nullcontext
    ) -> dict[str, float]:
        """Time all launches of a kind in a frame, with several kernels in turns.

        Args:
            kind: of the kernels.
            launches: by name; the first is known to work.
            shape: of the frame.
            trial: entered for each use of one of them.

        Returns:
            by the kernels' names the milliseconds that a frame spends in them.
        """
        stream, own = int(self.stream.handle), self.launches(kind, shape)

        with ExitStack() as graphs:

            def recorded(launch: Launch, repeats: int) -> Callable[[], None]:
                def work() -> None:
                    for each in own * repeats:
                        launch(each, stream)

                graph = self.stream.capture(work)  # the host takes longer for a launch than the GPU for a small one
                graphs.callback(graph.close)
                return lambda: self.stream.launch(graph)

            once = recorded(next(iter(launches.values())), 1)
            repeats = repeats_of(self.warm_up(once))
            works: dict[str, Callable[[], None]] = {}
            for name, launch in launches.items():
                with trial(name):
                    works[name] = recorded(launch, repeats)
                    self._milliseconds(works[name])

            def measured(name: str) -> float:
                with trial(name):
                    return self._milliseconds(works[name])

            found = in_turns(list(works), measured, ROUNDS)
        return {name: each / repeats for name, each in found.items()}

    def warm_up(self, work: Callable[[], None]) -> float:
        """Do something until the GPU has its clocks; return the milliseconds that it took the last time."""
        end = time.monotonic() + WARM_UP
        while True:
            found = self._milliseconds(work)
            if time.monotonic() >= end:
                return found

    def _milliseconds(self, work: Callable[[], None]) -> float:
        work()  # while the GPU does this the host puts the rest into the stream, and no gap between is counted
        self.stream.record(self._begin)
        work()
        self.stream.record(self._end)
        self._end.synchronise()
        return self._end.since(self._begin)

    def frame_milliseconds(self, shape: Shape, repeats: int = 1) -> float:
        """Return the milliseconds of a frame, of several computed one after the other."""

        def work() -> None:
            for _ in range(repeats):
                self.put_frame(shape)

        return self._milliseconds(work) / repeats

    def _put(self, target: Memory | Place, values: NDArray[Any]) -> None:
        staged = self._device.allocate_pinned(values.nbytes)
        try:
            staged.view(values.shape, values.dtype)[...] = values
            self.stream.upload(target, staged, values.nbytes)
        finally:
            self.stream.synchronise()
            staged.free()

    def _get(self, region: Region) -> NDArray[Any]:
        size = region.count * region.dtype.itemsize
        staged = self._device.allocate_pinned(size)
        try:
            self.stream.download(staged, Place(region.address), size)
            self.stream.synchronise()
            return staged.view((region.count,), region.dtype).copy()
        finally:
            staged.free()


def repeats_of(milliseconds: float) -> int:
    """Return how often something is repeated to last long enough."""
    return min(max(math.ceil(LEAST_MILLISECONDS / max(milliseconds, 1e-3)), 1), MOST_REPEATS)
