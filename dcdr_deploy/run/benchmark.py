"""How fast every backend runs a model here: all in one process, in turn, from host memory to host memory.

Whoever takes turns meets the same clocks and the same neighbours, so ratios hold where times do not. Each contender is
a backend with the model file that it takes; all are loaded before the first is timed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import DEVICE_CPU, DEVICE_CUDA, EngineOptions
from dcdr_deploy.engines.compare import sample_tiles
from dcdr_deploy.engines.registry import BACKENDS
from dcdr_deploy.errors import DcdrError, EngineError, InputError
from dcdr_deploy.imaging.decoders.common import MAX_PIXELS
from dcdr_deploy.metrics.psnr import psnr_l
from dcdr_deploy.run.contenders import Contender, LoadedContender
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.timings import Result, Size, Timing
from dcdr_deploy.system.progress import Event, Listener, silent

DEFAULT_SIZES: dict[str, tuple[Size, ...]] = {DEVICE_CUDA: ((1080, 1920), (2160, 3840)), DEVICE_CPU: ((360, 640),)}
"""Sizes that are timed, by the best kind of device among the contenders."""

LARGEST_SAMPLE: Size = (2160, 3840)
"""Size of the largest picture that is made as a whole."""

AGREEMENT_SIZE: Size = (192, 256)
"""Size of the pictures for which results are compared with FP32."""

FEWEST_ROUNDS = 3
MOST_ROUNDS = 50


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is to be timed.

    Attributes:
        sizes: (height, width) of the pictures; none for :data:`DEFAULT_SIZES`.
        seconds: time for the rounds of each size, 0 or more.
        rounds: at least so many are made, whatever time they take; 0 for none: the first frame is all that is run.
        engine: device, threads and precision of the contenders.

    Raises:
        InputError: a value out of range.
    """

    sizes: tuple[Size, ...] = ()
    seconds: float = 20.0
    rounds: int = FEWEST_ROUNDS
    engine: EngineOptions = field(default_factory=EngineOptions)

    def __post_init__(self) -> None:
        for height, width in self.sizes:
            if not 1 <= height * width <= MAX_PIXELS:
                raise InputError(f"`sizes` {height}x{width}: must be 1 to {MAX_PIXELS:,} pixels, as of pictures to run")
        if not self.seconds >= 0:  # NaN too
            raise InputError(f"`seconds` must be 0 or more, not {self.seconds:g}")
        if not 0 <= self.rounds <= MOST_ROUNDS:
            raise InputError(f"`rounds` must be 0 to {MOST_ROUNDS}, not {self.rounds}")


def benchmark(taking_part: Iterable[Contender], options: BenchmarkOptions, listener: Listener = silent) -> list[Result]:
    """Load all contenders, compare them with FP32, and time them in turn.

    Whoever cannot take part stays in the list with the reason.

    Args:
        taking_part: from :func:`contenders`.
        options: sizes and time.
        listener: told of each step.

    Raises:
        EngineError: nobody can take part.
    """
    with ExitStack() as stack:
        entries = [LoadedContender(each, stack, options.engine, listener) for each in taking_part]
        _compare([entry for entry in entries if entry.runner is not None], listener)
        running = [entry for entry in entries if not entry.result.note]
        if not running:
            reasons = "; ".join(f"{entry.result.backend}: {entry.result.note}" for entry in entries)
            raise EngineError(f"no backend can be timed here ({reasons or 'none takes the model'})")
        best = DEVICE_CUDA if any(entry.result.device_kind == DEVICE_CUDA for entry in running) else DEVICE_CPU
        for size in sorted(set(options.sizes or DEFAULT_SIZES[best])):
            _time(running, size, options, listener)
        return [entry.result for entry in entries]


def picture(size: Size) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) with what a network has to cope with; always the same for a size.

    Beyond :data:`LARGEST_SAMPLE` it is that one, turned over and over, as making a sample takes many times its memory.

    Raises:
        InputError: there is no memory for it.
    """
    sample: NDArray[np.uint8] = sample_tiles(*map(min, size, LARGEST_SAMPLE))[0]
    rows, columns = (_back_and_forth(length, there) for length, there in zip(size, sample.shape[:2], strict=True))
    try:
        return sample if sample.shape[:2] == size else sample[rows[:, None], columns]
    except MemoryError:
        raise InputError(
            f"there is no memory for a picture of {size[0]} x {size[1]} pixels; time a smaller one"
        ) from None


def _back_and_forth(length: int, there: int) -> NDArray[np.intp]:
    """Return ``length`` indices that go from 0 to ``there`` - 1, back to 0, and so on."""
    place = np.arange(length) % (2 * there)
    return np.minimum(place, 2 * there - 1 - place)


def _compare(entries: Sequence[LoadedContender], listener: Listener) -> None:
    """Note why there is no result, or how far it is from the reference: ONNX Runtime or torch in FP32, on the CPU."""
    listener(Event("comparing with FP32"))
    size = AGREEMENT_SIZE
    tile = picture(size)
    results: dict[int, NDArray[np.float32]] = {}
    for number, entry in enumerate(entries):
        try:
            results[number] = entry.run(tile)
        except DcdrError as error:
            entry.result.note = str(error)
    exact = _reference(entries, tile)
    if exact is None:
        return
    for number, found in results.items():
        entries[number].result.agreement = psnr_l(found, exact)


_REFERENCES = ("onnxruntime", "torch")


def _reference(entries: Sequence[LoadedContender], tile: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """Run the reference on the CPU: the first that there is for one of the models."""
    models = list(dict.fromkeys(entry.contender.model for entry in entries if entry.contender.model is not None))
    for name, model in ((name, model) for name in _REFERENCES for model in models):
        backend = BACKENDS.get(name)
        if backend is None or model.suffix.lower() not in backend.suffixes:
            continue
        try:
            with backend.import_module().load(model, EngineOptions(device=DEVICE_CPU, precision="fp32")) as engine:
                return Runner(engine).run(tile)
        except DcdrError:
            continue  # an FP16 file, or a package that is missing: the next may do
    return None


def _time(entries: Sequence[LoadedContender], size: Size, options: BenchmarkOptions, listener: Listener) -> None:
    """Time frames of one size: everybody's first, then all in turn, each round beginning with another."""
    frame = picture(size)
    times: dict[int, list[float]] = {}
    firsts: dict[int, float] = {}
    for number, entry in enumerate(entries):
        listener(Event(f"{size[1]} x {size[0]}: {entry.result.backend}, first frame"))
        with _failures(entry, size):
            firsts[number] = entry.first_seconds(frame)
            if not options.rounds:
                times[number] = [firsts[number]]
                continue
            if entry.result.device_kind == DEVICE_CUDA:
                entry.seconds(frame)  # what is recorded with the second frame is not timed
            times[number] = []
    end = time.perf_counter() + options.seconds
    for round_number in range(MOST_ROUNDS if options.rounds else 0):
        if not times or (round_number >= options.rounds and time.perf_counter() > end):
            break
        listener(Event(f"{size[1]} x {size[0]}: round {round_number + 1}"))
        order = deque(sorted(times))
        order.rotate(-round_number)
        for number in order:
            with _failures(entries[number], size) as failed:
                times[number].append(entries[number].seconds(frame))
            if failed:
                del times[number]
    for number, found in times.items():
        runner = entries[number].runner
        assert runner is not None
        timing = Timing(size, tuple(found), firsts[number], runner.statistics.tiles)
        entries[number].result.timings.append(timing)


class _failures:  # noqa: N801 - used like a function
    """Notes a failure of a contender as its timing; the value of the block is true once one has happened."""

    def __init__(self, entry: LoadedContender, size: Size) -> None:
        self._entry, self._size = entry, size
        self._happened = False

    def __enter__(self) -> _failures:
        return self

    def __bool__(self) -> bool:
        return self._happened

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        if not isinstance(error, DcdrError):
            return False
        self._happened = True
        self._entry.result.timings.append(Timing(self._size, note=str(error)))
        return True
