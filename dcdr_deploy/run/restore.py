"""A picture through a runner at its working scale: averaged down, restored, and the excess put on the full picture."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.frame import Frame
from dcdr_deploy.run import working_scale
from dcdr_deploy.run.dials import NEUTRAL, Dials
from dcdr_deploy.run.gain import (
    BEGIN,
    Codes,
    Light,
    WorkingPicture,
    code_tables,
    excess_field,
    is_gray,
    working_codes,
)
from dcdr_deploy.run.recovery import Recovery
from dcdr_deploy.run.runner import Progress, Runner, RunStatistics
from dcdr_deploy.run.strips import SecondPass, average_down
from dcdr_deploy.run.working_scale import NATIVE, Scale, working_size


@dataclass(frozen=True)
class Restored:
    """A restored picture.

    Attributes:
        linear: (H, W, 3) float32 in network units: 1.0 is ``peak`` x SDR white.
        working_size: (h, w) pixels at which the network worked; (H, W) for its own size.
        recovery: what was recovered of what had clipped.
        gain_stops: (H, W, 3) half floats, log2 of the gain over the SDR picture's light; ``None`` unless asked for.
        run: what the runner took.
    """

    linear: NDArray[np.float32]
    working_size: tuple[int, int]
    recovery: Recovery
    gain_stops: NDArray[np.float16] | None
    run: RunStatistics


def restore(
    frame: Frame | Codes,
    runner: Runner,
    scale: Scale = working_scale.AUTO,
    dials: Dials = NEUTRAL,
    *,
    keep_gain: bool = False,
    progress: Progress | None = None,
) -> Restored:
    """Restore what an SDR picture lost to clipping.

    At every scale but ``"native"`` channels that are not clipped, nor near a clipped one, keep their light; a gray
    picture stays gray; and a picture in which nothing clips does not need the network at all.

    Args:
        frame: a Frame or its pixels, (H, W, 3) uint8 or uint16, sRGB-encoded.
        runner: with the network.
        scale: at which size the network works, see working_scale.py. ``"native"`` gives what :meth:`Runner.run` gives,
            to the bit, unless a dial is turned.
        dials: how much of what was restored.
        keep_gain: give the gain too.
        progress: as for :meth:`Runner.run`.

    Raises:
        DcdrError: as :meth:`Runner.run`; InputError for a scale out of range.
    """
    working_scale.checked(scale)
    codes = frame if isinstance(frame, np.ndarray) else frame.pixels
    height, width = codes.shape[:2]
    started = time.perf_counter()
    peak = runner.engine.info.metadata.peak
    begin = BEGIN if dials.protect_below is None else dials.protect_below
    second = SecondPass(codes, code_tables(codes.dtype.itemsize * 8, begin), dials, peak, keep_gain)
    if scale == NATIVE:
        linear = runner.run(codes, progress)
        size, recovery, stops = (height, width), Recovery(), None
        if dials.turned() or keep_gain:
            outcome = second.from_result(linear, protected=dials.protect_below is not None)
            linear, recovery, stops = outcome.linear, outcome.recovery, outcome.gain_stops
        else:
            recovery = second.recovery_of(linear)
    else:
        size = working_size(height, width, scale)
        small = average_down(codes, second.tables, size)
        result = _network(small, codes, runner, peak, progress)
        cell = max(full / part for full, part in zip((height, width), size, strict=True))
        outcome = second.from_field(excess_field(small, result, peak, gray=is_gray(codes), pixels_per_cell=cell))
        linear, recovery, stops = outcome.linear, outcome.recovery, outcome.gain_stops
    runner.statistics.seconds = time.perf_counter() - started
    return Restored(linear, size, recovery, stops, runner.statistics)


def _network(small: WorkingPicture, codes: Codes, runner: Runner, peak: float, progress: Progress | None) -> Light:
    """Return the network's light at the working size in units of SDR white; not run where nothing clips."""
    if not small.clipped.any():
        runner.statistics = RunStatistics()
        if progress is not None:
            progress(1, 1)
        return small.light
    given = codes if small.light.shape == codes.shape else working_codes(small.light)
    result = runner.run(given, progress)
    result *= np.float32(peak)
    runner.engine.rest()  # what it worked with would lie beside the full picture now
    return result
