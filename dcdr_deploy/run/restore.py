"""A picture through a runner at its working scale: averaged down, restored, and the excess put on the full picture."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import DEVICE_CPU
from dcdr_deploy.imaging.frame import Frame
from dcdr_deploy.run import working_scale
from dcdr_deploy.run.dials import NEUTRAL, Dials
from dcdr_deploy.run.gain import (
    Codes,
    ExcessField,
    Light,
    WorkingPicture,
    excess_field,
    reconciled,
)
from dcdr_deploy.run.preprocessing import NetworkInput, naming_memory, prepare
from dcdr_deploy.run.recovery import Recovery
from dcdr_deploy.run.runner import TILES, Runner, RunStatistics
from dcdr_deploy.run.smoothing import smoothed
from dcdr_deploy.run.strips import Outcome, SecondPass
from dcdr_deploy.run.working_scale import NATIVE, Scale
from dcdr_deploy.system.progress import Event, Listener, silent

LARGE_PICTURE = 6_000_000
"""Pixels. Beside a larger picture, which takes 20 bytes for each of them, a CPU works in smaller tiles."""

MODEST_AREA = 140_000
"""Pixels of such tiles: some 600 MB of working memory, so that 24 megapixels stay below 1 GB in all."""


Steady = Callable[[ExcessField, WorkingPicture], ExcessField]
"""For frames of a video: takes what the network found in one, and the picture in which it did, both at the finest
working size, and returns what is put onto the full picture. Called on the thread that puts it on."""


@dataclass(frozen=True)
class Restored:
    """A restored picture.

    Attributes:
        linear: (H, W, 3) float32 in network units: 1.0 is ``peak`` x SDR white. It may exceed 1 and fall below 0, as
            the network's results do; what a file keeps of that is decided in imaging/write.py.
        working_sizes: (h, w) pixels at which the network worked, the finest first; (H, W) for its own size.
        recovery: what was recovered of what had clipped.
        gain_stops: (H, W, 3) half floats, log2 of the gain over the SDR picture's light; ``None`` unless asked for.
        run: what the runner took.
    """

    linear: NDArray[np.float32]
    working_sizes: tuple[tuple[int, int], ...]
    recovery: Recovery
    gain_stops: NDArray[np.float16] | None
    run: RunStatistics


class NetworkResult:
    """What the network found in a picture and is still to be put onto it, for which no engine is needed.

    Attributes:
        run: what the runner took.
    """

    def __init__(self, size: tuple[int, int], run: RunStatistics, rest: Rest, field: FieldOf | None = None) -> None:
        """Set up.

        Args:
            size: (H, W) of the picture in pixels.
            run: what the runner took.
            rest: called once, or ``field`` is; let go with all that they hold.
            field: gives what is put on; ``None`` at scale ``"native"``.
        """
        self.run = run
        self._size = size
        self._rest: Rest | None = rest
        self._field = field

    def put_on(self, steady: Steady | None = None) -> Restored:
        """Return the restored picture; to be called once, from any thread.

        Args:
            steady: what is done with the excess at the working size before it goes onto the full picture; not at scale
                ``"native"``.

        Raises:
            EngineOutOfMemory: there is no memory for it.
        """
        rest, self._rest, self._field = self._rest, None, None
        assert rest is not None  # once
        begun = time.perf_counter()
        with naming_memory(self._size):
            restored = rest(steady)
        restored.run.seconds += time.perf_counter() - begun
        return restored

    def field(self, steady: Steady | None = None) -> ExcessField:
        """Return what is to be put on, at the finest working size, for those who do so elsewhere.

        Instead of :meth:`put_on`: once, from any thread, not at scale ``"native"``.

        Raises:
            EngineOutOfMemory: there is no memory for it.
        """
        field, self._rest, self._field = self._field, None, None
        assert field is not None  # once
        with naming_memory(self._size):
            return field(steady)


Rest = Callable[[Steady | None], Restored]
"""What :meth:`NetworkResult.put_on` has still to do."""

FieldOf = Callable[[Steady | None], ExcessField]
"""What :meth:`NetworkResult.field` has still to do."""


def restore(
    frame: Frame | Codes,
    runner: Runner,
    scale: Scale = working_scale.AUTO,
    dials: Dials = NEUTRAL,
    *,
    keep_gain: bool = False,
    listener: Listener = silent,
) -> Restored:
    """Restore what an SDR picture lost to clipping.

    At every scale but ``"native"`` pixels that are not clipped, nor near a clipped one, keep their light; a gray
    picture stays gray; and a picture in which nothing clips does not need the network at all. What is fully transparent
    is black to all of this, and keeps its light.

    Args:
        frame: a Frame or its pixels, (H, W, 3) uint8 or uint16, sRGB-encoded.
        runner: with the network.
        scale: at which size the network works, see working_scale.py. ``"native"`` gives what :meth:`Runner.run` gives,
            to the bit, unless a dial is turned.
        dials: how much of what was restored.
        keep_gain: give the gain too.
        listener: as for :meth:`Runner.run`.

    Raises:
        DcdrError: as :meth:`Runner.run`; InputError for a scale out of range.
    """
    return begin(frame, runner, scale, dials, keep_gain=keep_gain, listener=listener)().put_on()


def begin(
    frame: Frame | Codes | NetworkInput,
    runner: Runner,
    scale: Scale = working_scale.AUTO,
    dials: Dials = NEUTRAL,
    *,
    keep_gain: bool = False,
    listener: Listener = silent,
) -> Callable[[], NetworkResult]:
    """Begin what the network has to do for :func:`restore`: at scale ``"native"`` as :meth:`Runner.start`, else all.

    Args:
        frame: as for :func:`restore`, or what :func:`prepare` made of it with this scale and these dials.
        runner, scale, dials, keep_gain, listener: as for :func:`restore`.

    Returns:
        What waits for the network; to be called once, on the calling thread, while the engine is open. The picture must
        not change before what it gives is put on.

    Raises:
        DcdrError: as :func:`restore`; so does what is returned.
    """
    started = time.perf_counter()
    ready = frame if isinstance(frame, NetworkInput) else prepare(frame, scale, dials)
    size = ready.size
    with naming_memory(size):
        finish = _begun(ready, runner, dials, keep_gain, listener)

    def found() -> NetworkResult:
        with naming_memory(size):
            result = finish()
        result.run.seconds = time.perf_counter() - started
        runner.statistics = result.run
        return result

    return found


def _begun(
    ready: NetworkInput, runner: Runner, dials: Dials, keep_gain: bool, listener: Listener
) -> Callable[[], NetworkResult]:
    if ready.scale == NATIVE:
        return _begun_natively(ready, runner, dials, keep_gain, listener)
    peak = runner.engine.info.metadata.peak
    results, run = _results(ready, runner, listener)
    size, sizes = ready.size, tuple(each.picture.size for each in ready.working)
    rest = [functools.partial(_field_to_put_on, ready, results, peak)]
    second = _second_pass(ready, dials, peak, keep_gain)

    def field(steady: Steady | None) -> ExcessField:
        return rest.pop()(steady)  # working pictures are let go before the full one is made

    def enlarged(steady: Steady | None) -> Restored:
        assert second is not None  # who leaves the picture out takes the field
        outcome = second.from_field(field(steady))
        return Restored(outcome.linear, sizes, outcome.recovery, outcome.gain_stops, run)

    return lambda: NetworkResult(size, run, enlarged, field)


def _begun_natively(
    ready: NetworkInput, runner: Runner, dials: Dials, keep_gain: bool, listener: Listener
) -> Callable[[], NetworkResult]:
    size, second = ready.size, _second_pass(ready, dials, runner.engine.info.metadata.peak, keep_gain)
    assert second is not None  # prepare keeps the picture
    finish = runner.start(second.codes, listener)
    run = runner.statistics

    def native() -> NetworkResult:
        linear = finish()

        def measured(steady: Steady | None) -> Restored:
            if dials.turned():
                outcome = second.from_result(linear, protected=dials.protect_below is not None)
            else:
                stops = second.stops_of(linear) if keep_gain else None
                outcome = Outcome(linear, second.recovery_of(linear), stops)
            return Restored(outcome.linear, (size,), outcome.recovery, outcome.gain_stops, run)

        return NetworkResult(size, run, measured)

    return native


def _second_pass(ready: NetworkInput, dials: Dials, peak: float, keep_gain: bool) -> SecondPass | None:
    full = ready.full
    return None if full is None else SecondPass(full.codes, full.seen, full.tables, dials, peak, keep_gain)


def _field_to_put_on(ready: NetworkInput, results: list[Light], peak: float, steady: Steady | None) -> ExcessField:
    picture, field = ready.working[0].picture, excess_found(ready, results, peak)
    return smoothed(field if steady is None else steady(field, picture), picture.light)


def _results(ready: NetworkInput, runner: Runner, listener: Listener) -> tuple[list[Light], RunStatistics]:
    """Return what the network gives at the working sizes, in network units, and what that took; none if not needed."""
    results, run = list[Light](), RunStatistics()
    modest = runner.engine.info.device_kind == DEVICE_CPU and ready.size[0] * ready.size[1] > LARGE_PICTURE
    for each in reversed(ready.working):  # the coarse ones take no time; progress is that of the finest
        if each.given is None:
            listener(Event(TILES, 1, 1))
            return [], run
        told = listener if each is ready.working[0] else silent
        results.append(runner.run(each.given, told, largest_area=MODEST_AREA if modest else None))
        run = run + runner.statistics
    runner.engine.rest()  # what it worked with would lie beside the full picture now
    return results[::-1], run


def excess_found(ready: NetworkInput, results: list[Light], peak: float) -> ExcessField:
    """Return what the network found, at the finest working size; overwrites its results.

    Args:
        ready: the picture.
        results: (h, w, 3) for each of its working sizes, in network units; none where the network was not needed.
        peak: linear value of 1.0 in units of SDR white.
    """
    fields = []
    for place, each in enumerate(ready.working):
        light = each.picture.light
        if results:
            light = results[place]
            light *= np.float32(peak)
        pairs = zip(ready.size, each.picture.size, strict=True)
        cell = max(full / part for full, part in pairs)
        most = _most(peak, light)
        fields.append(excess_field(each.picture, light, most, gray=ready.gray, pixels_per_cell=cell))
    return functools.reduce(reconciled, fields)


def _most(peak: float, light: Light) -> float:
    """Return the most light that a network can give, in units of SDR white.

    A peak of SDR white is none: it stands where weights name no other, and networks of light without an end, such as
    those whose output is a logarithm, have 1.0 at SDR white and go beyond it.
    """
    return peak if peak > 1 else max(1.0, float(light.max()))
