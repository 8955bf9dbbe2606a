"""A frame of video as the passes of an engine's device take it: its samples, what their codes mean, and the signal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.passes import Clipping, Samples, Signal
from dcdr_deploy.imaging.delivery import Delivery
from dcdr_deploy.run.dials import Dials
from dcdr_deploy.run.gain import ExcessField, least_clipped, most_of_gray
from dcdr_deploy.run.preprocessing import tables_for
from dcdr_deploy.run.video.yuv import Layout, Luma, Plane, decoding_matrix, encoding_matrix

CODE_BITS = 16
"""Of the codes of R'G'B' that planes become."""


def samples_of(planes: tuple[Plane, ...], layout: Layout, luma: Luma, *, full_range: bool) -> Samples:
    """Return decoded planes Y', Cb and Cr, or Y' alone, with :func:`~dcdr_deploy.run.video.yuv.decoding_matrix`."""
    matrix = decoding_matrix(layout.bits, luma, full_range=full_range)
    return Samples(planes, matrix, layout.across, layout.down, layout.centred, layout.level)


def clipping_of(dials: Dials) -> Clipping:
    """Return what codes of 16 bits mean where the network's result is put on as the dials say."""
    tables = tables_for(CODE_BITS, dials)
    return Clipping(tables.light, tables.weight, least_clipped(np.uint16), most_of_gray(np.uint16))


def stacked(field: ExcessField) -> NDArray[np.float32]:
    """Return a field as a device takes it, (h, w, 5): weighted excess, certainty and nearness side by side."""
    return np.concatenate([field.weighted, field.certainty, field.near], axis=2)


def signal_of(delivery: Delivery, layout: Layout, dials: Dials, peak: float) -> Signal:
    """Return how restored light becomes samples.

    Args:
        delivery: into PQ or HLG.
        layout: of the samples.
        dials: that only change the exposure (``is_neutral``).
        peak: light of a network value of 1, in units of SDR white.
    """
    samples, offsets = encoding_matrix(layout.bits)
    return Signal(
        factor=2**dials.exposure / peak,
        curves=delivery.curves,
        samples=samples,
        offsets=offsets,
        across=layout.across,
        down=layout.down,
        level=layout.level,
    )
