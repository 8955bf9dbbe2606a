"""Panoramas: pictures whose left and right edges are neighbours, restored without a seam at +-180 degrees.

To the network a picture's edge is an edge, and what it restores there depends on padding, so that the two sides of the
seam differ. A second run over the picture turned by half its width has the seam in its middle; the two are blended so
that each counts nothing where its own edges are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.frame import Frame
from dcdr_deploy.run.dials import NEUTRAL, Dials
from dcdr_deploy.run.gain import code_tables
from dcdr_deploy.run.preprocessing import seen_codes
from dcdr_deploy.run.restore import Restored, restore
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.strips import SecondPass
from dcdr_deploy.run.working_scale import AUTO, Scale
from dcdr_deploy.system.progress import Listener, silent


def restore_panorama(
    frame: Frame,
    runner: Runner,
    scale: Scale = AUTO,
    dials: Dials = NEUTRAL,
    *,
    keep_gain: bool = False,
    listener: Listener = silent,
) -> Restored:
    """Restore a picture whose left and right edges are neighbours; as :func:`restore`, in twice the time.

    Args:
        frame: the panorama, any whole turn of 360 degrees: equirectangular or cylindrical.
        runner, scale, dials, keep_gain: as for :func:`restore`.
        listener: as for :meth:`Runner.run`, for each of two runs.

    Raises:
        DcdrError: as :func:`restore`.
    """
    straight = restore(frame, runner, scale, dials, keep_gain=keep_gain, listener=listener)
    alpha = None if frame.alpha is None else half_turned(frame.alpha)
    other_way = Frame(half_turned(frame.pixels), alpha)
    turned = restore(other_way, runner, scale, dials, keep_gain=keep_gain, listener=listener)
    linear = blend(straight.linear, turned.linear)
    stops = straight.gain_stops
    if stops is not None and turned.gain_stops is not None:
        blend(stops, turned.gain_stops)
    tables = code_tables(frame.pixels.dtype.itemsize * 8)
    measure = SecondPass(frame.pixels, seen_codes(frame), tables, dials, runner.engine.info.metadata.peak)
    # The measure compares light before the exposure is put on.
    unexposed = linear if not dials.exposure else linear * np.float32(2**-dials.exposure)
    run = runner.statistics = straight.run + turned.run
    return Restored(linear, straight.working_sizes, measure.recovery_of(unexposed), stops, run)


def half_turned(pixels: NDArray[Any]) -> NDArray[Any]:
    """Turn (H, W) or (H, W, ...) by W // 2 columns to the right: the seam comes to column W // 2. C-contiguous copy."""
    return np.roll(pixels, pixels.shape[1] // 2, axis=1)


def blend(straight: NDArray[np.floating[Any]], turned: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Put together what came of a picture and of the picture after :func:`half_turned`.

    Args:
        straight: (H, W, C) of the picture as it is; overwritten.
        turned: (H, W, C) of the turned picture.

    Returns:
        ``straight``, of which the columns next to the seam are now those of ``turned``, and those half a turn away its
        own.
    """
    width = straight.shape[1]
    share = weights(width).astype(np.float32)[:, None]
    back = width // 2
    for row in range(straight.shape[0]):  # row by row: panoramas are large
        other = np.roll(turned[row], -back, axis=0).astype(np.float32)  # whatever it is stored in
        # Where both are equal they stay as they are, to the bit.
        straight[row] = other + share * (straight[row] - other)
    return straight


def weights(width: int) -> NDArray[np.float64]:
    """(width,): how much the straight result counts in each column: a smooth step from 0 at the seam to 1 opposite."""
    column = np.arange(width) + 0.5
    distance = np.minimum(column, width - column) / (width / 2)
    return distance**2 * (3 - 2 * distance)
