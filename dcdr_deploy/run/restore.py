"""A picture through a runner at its working scale: averaged down, restored, and the excess put on the full picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import DEVICE_CPU
from dcdr_deploy.imaging.frame import Frame
from dcdr_deploy.run import working_scale
from dcdr_deploy.run.dials import NEUTRAL, Dials
from dcdr_deploy.run.gain import (
    BEGIN,
    Codes,
    ExcessField,
    WorkingPicture,
    code_tables,
    excess_field,
    is_gray,
    mean_excess,
    working_codes,
)
from dcdr_deploy.run.recovery import Recovery
from dcdr_deploy.run.runner import TILES, Runner, RunStatistics, no_memory, pixels_of
from dcdr_deploy.run.strips import Outcome, SecondPass, average_down
from dcdr_deploy.run.working_scale import NATIVE, Scale, working_sizes
from dcdr_deploy.system.progress import Event, Listener, silent

LARGE_PICTURE = 6_000_000
"""Pixels. Beside a larger picture, which takes 20 bytes for each of them, a CPU works in smaller tiles."""

MODEST_AREA = 140_000
"""Pixels of such tiles: some 600 MB of working memory, so that 24 megapixels stay below 1 GB in all."""


Steady = Callable[[ExcessField, WorkingPicture], ExcessField]
"""For frames of a video: takes what the network found in one, and the picture in which it did, both at the finest
working size, and returns what is put onto the full picture."""


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


class Found:
    """What the network found in a picture and is still to be put onto it, for which no engine is needed.

    Attributes:
        run: what the runner took.
    """

    def __init__(self, run: RunStatistics, rest: Callable[[], Restored]) -> None:
        """Set up.

        Args:
            run: what the runner took.
            rest: called once; let go with all that it holds.
        """
        self.run = run
        self._rest: Callable[[], Restored] | None = rest

    def put_on(self) -> Restored:
        """Return the restored picture; to be called once, from any thread.

        Raises:
            EngineOutOfMemory: there is no memory for it.
        """
        rest, self._rest = self._rest, None
        assert rest is not None  # once
        return rest()


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
    picture stays gray; and a picture in which nothing clips does not need the network at all.

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
    frame: Frame | Codes,
    runner: Runner,
    scale: Scale = working_scale.AUTO,
    dials: Dials = NEUTRAL,
    *,
    keep_gain: bool = False,
    listener: Listener = silent,
    steady: Steady | None = None,
) -> Callable[[], Found]:
    """Begin what the network has to do for :func:`restore`: at scale ``"native"`` as :meth:`Runner.start`, else all.

    Args:
        frame, runner, scale, dials, keep_gain, listener: as for :func:`restore`.
        steady: what is done with the excess at the working size before it goes onto the full picture; called once a
            frame, on the calling thread, in the order of the calls; not at scale ``"native"``.

    Returns:
        What waits for the network; to be called once, on the calling thread, while the engine is open. The picture must
        not change before what it gives is put on.

    Raises:
        DcdrError: as :func:`restore`; so does what is returned.
    """
    working_scale.checked(scale)
    codes = pixels_of(frame)
    started = time.perf_counter()
    with _naming_memory(codes):
        finish = _begun(codes, runner, scale, dials, keep_gain, listener, steady)

    def found() -> Found:
        with _naming_memory(codes):
            result = finish()
        waited = time.perf_counter() - started
        runner.statistics = result.run

        def put_on() -> Restored:
            begun = time.perf_counter()
            with _naming_memory(codes):
                restored = result.put_on()
            restored.run.seconds = waited + time.perf_counter() - begun
            return restored

        return Found(result.run, put_on)

    return found


@contextmanager
def _naming_memory(codes: Codes) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise no_memory(codes) from None


def _begun(
    codes: Codes,
    runner: Runner,
    scale: Scale,
    dials: Dials,
    keep_gain: bool,
    listener: Listener,
    steady: Steady | None,
) -> Callable[[], Found]:
    height, width = codes.shape[:2]
    protected = BEGIN if dials.protect_below is None else dials.protect_below
    peak = runner.engine.info.metadata.peak
    second = SecondPass(codes, code_tables(codes.dtype.itemsize * 8, protected), dials, peak, keep_gain)
    if scale == NATIVE:
        finish = runner.start(codes, listener)
        run = runner.statistics

        def native() -> Found:
            linear = finish()

            def measured() -> Restored:
                if dials.turned() or keep_gain:
                    outcome = second.from_result(linear, protected=dials.protect_below is not None)
                else:
                    outcome = Outcome(linear, second.recovery_of(linear))
                return Restored(outcome.linear, ((height, width),), outcome.recovery, outcome.gain_stops, run)

            return Found(run, measured)

        return native
    wanted = working_sizes(height, width, scale)
    finest = average_down(codes, second.tables, wanted[0][0])
    field, run = _excess(codes, finest, second, wanted, runner, listener)
    if steady is not None:
        field = steady(field, finest)
    sizes = tuple(size for size, _ in wanted)

    def enlarged() -> Restored:
        outcome = second.from_field(field)
        return Restored(outcome.linear, sizes, outcome.recovery, outcome.gain_stops, run)

    return lambda: Found(run, enlarged)


def _excess(
    codes: Codes,
    finest: WorkingPicture,
    second: SecondPass,
    wanted: list[tuple[tuple[int, int], float]],
    runner: Runner,
    listener: Listener,
) -> tuple[ExcessField, RunStatistics]:
    """Return what the network finds at its working sizes, and what that took; not run where nothing clips."""
    needed, gray, fields, run = bool(finest.clipped.any()), is_gray(codes), [], RunStatistics()
    modest = runner.engine.info.device_kind == DEVICE_CPU and codes.shape[0] * codes.shape[1] > LARGE_PICTURE
    area = MODEST_AREA if modest else None
    for size, weight in reversed(wanted):  # the coarse ones take no time; progress is that of the finest
        small = finest.reduced(size)
        if not needed:
            result = small.light
        else:
            given = codes if size == codes.shape[:2] else working_codes(small.light)
            result = runner.run(given, listener if size == finest.size else silent, largest_area=area)
            result *= np.float32(second.peak)
            run = _added(run, runner.statistics)
        cell = max(full / part for full, part in zip(codes.shape[:2], size, strict=True))
        fields.append((excess_field(small, result, second.peak, gray=gray, pixels_per_cell=cell), weight))
    if needed:
        runner.engine.rest()  # what it worked with would lie beside the full picture now
    else:
        listener(Event(TILES, 1, 1))
    return mean_excess(fields[::-1]), run


def _added(before: RunStatistics, last: RunStatistics) -> RunStatistics:
    """Return the last run's statistics with what was counted before."""
    return replace(
        last,
        tiles=before.tiles + last.tiles,
        retries=before.retries + last.retries,
        engine_seconds=before.engine_seconds + last.engine_seconds,
    )
